import DurableLog
import Foundation

/// A thread that carries out disk work in order. It knows nothing about logs or snapshots.
///
/// `@unchecked Sendable`: the queue is touched under the condition's lock only, and the disk by the
/// thread alone.
final class DiskThread: @unchecked Sendable {
    /// One piece of work; it gets the thread's disk.
    typealias Work = @Sendable (inout PosixDisk) -> Void

    private let condition = NSCondition()
    private var queue: [Work] = []
    private var isClosed = false
    private var thread: Thread?

    init(name: String, directory: String) {
        let thread = Thread { [self] in run(PosixDisk(directory: directory)) }
        thread.name = name
        thread.stackSize = 1 << 20
        self.thread = thread
        thread.start()
    }

    func submit(_ work: @escaping Work) {
        condition.lock()
        queue.append(work)
        condition.signal()
        condition.unlock()
    }

    /// Lets the thread end when its queue is empty.
    func close() {
        condition.lock()
        isClosed = true
        condition.signal()
        condition.unlock()
    }

    private func run(_ initial: PosixDisk) {
        var disk = initial
        while let batch = take() {
            for work in batch { work(&disk) }
        }
        disk.closeAll()
    }

    private func take() -> [Work]? {
        condition.lock()
        defer { condition.unlock() }
        while queue.isEmpty, !isClosed { condition.wait() }
        guard !queue.isEmpty else { return nil }
        defer { queue.removeAll(keepingCapacity: true) }
        return queue
    }
}
