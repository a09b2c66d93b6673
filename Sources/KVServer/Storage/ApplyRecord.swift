import Glibc

/// Remembers across crashes which entry was being applied.
///
/// An entry that stops a member would stop it again at every restart. The record is a page shared
/// with a file: a store to it costs no system call and survives the process, though not a loss of
/// power, which it needn't: it only has to tell a member that stops at the same entry twice.
///
/// `@unchecked Sendable`: written by the replica's event loop alone once the member runs, and read
/// by the main thread before that.
final class ApplyRecord: @unchecked Sendable {
    private enum Slot {
        /// The entry being applied; zero between entries.
        static let current = 0
        /// The entry at which the member stopped last.
        static let stopped = 1
        /// How often in a row it stopped there.
        static let count = 2
    }
    private static let byteCount = 24
    /// Stops at one entry after which the member no longer tries.
    static let patience: UInt64 = 2

    private let slots: UnsafeMutablePointer<UInt64>

    /// Opens the record of a data directory and notes how the last run ended.
    init(directory: String) throws(StartupError) {
        let path = directory + "/applying"
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0, ftruncate(descriptor, off_t(Self.byteCount)) == 0 else {
            throw StartupError(
                "\(path) can't be opened: \(String(cString: strerror(errno)))",
                remedy: "check that --data-dir is writable and its disk has room")
        }
        defer { close(descriptor) }
        guard
            let page = mmap(
                nil, Self.byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0),
            page != MAP_FAILED
        else {
            throw StartupError(
                "\(path) can't be mapped: \(String(cString: strerror(errno)))",
                remedy: "check the file system of --data-dir")
        }
        // The mapping has room for the three numbers and lives as long as the process.
        slots = page.bindMemory(to: UInt64.self, capacity: 3)
        noteLastRun()
    }

    private func noteLastRun() {
        let current = slots[Slot.current]
        guard current != 0 else { return }
        slots[Slot.count] = slots[Slot.stopped] == current ? slots[Slot.count] + 1 : 1
        slots[Slot.stopped] = current
        slots[Slot.current] = 0
    }

    /// The entry that stopped this member too often, if there is one.
    var hopelessEntry: UInt64? {
        slots[Slot.count] >= Self.patience ? slots[Slot.stopped] : nil
    }

    /// The entry is about to be applied.
    func begin(_ index: UInt64) { slots[Slot.current] = index }

    /// It was applied.
    func end() { slots[Slot.current] = 0 }
}
