/// A thread that carries out disk work. It knows nothing about logs or snapshots.
typealias DiskThread = WorkThread<PosixDisk>

extension WorkThread where State == PosixDisk {
    /// A thread for the files of a directory.
    convenience init(directory: String, niceness: Int32 = 0) {
        self.init(
            niceness: niceness, makeState: { PosixDisk(directory: directory) },
            finish: { $0.closeAll() })
    }
}
