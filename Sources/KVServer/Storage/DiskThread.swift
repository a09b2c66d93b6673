/// A thread that carries out disk work. It knows nothing about logs or snapshots.
typealias DiskThread = WorkThread<PosixDisk>

extension WorkThread where State == PosixDisk {
    /// A thread for the files of a directory.
    ///
    /// - Parameters:
    ///   - isBulk: whether it writes so much that others would suffer: it stands back behind threads
    ///     that clients wait for, and rests after each sync.
    ///   - writesDirectly: see `PosixDisk`.
    convenience init(directory: String, isBulk: Bool = false, writesDirectly: Bool = false) {
        self.init(
            niceness: isBulk ? Node.bulkNiceness : 0,
            makeState: {
                PosixDisk(
                    directory: directory, isBulk: isBulk, writesDirectly: writesDirectly)
            },
            finish: { $0.closeAll() })
    }
}
