import CEpoll
import Glibc
import NIOCore

/// An event counter (`man 2 eventfd`) that the kernel or another thread raises, heard on a loop.
///
/// `@unchecked Sendable`: used on its loop only.
package final class EventSignal: EventSource, @unchecked Sendable {
    private let descriptor: Int32
    private let loop: SocketLoop
    private let raised: () -> Void
    private var isClosed = false

    /// Takes over a non-blocking event counter; to be called on the loop.
    ///
    /// - Parameter raised: is called on the loop each time the counter was raised, once for all that
    ///   came together.
    /// - Throws: `IOError` if the kernel refuses; the descriptor is still the caller's then.
    package init(descriptor: Int32, loop: SocketLoop, raised: @escaping () -> Void) throws {
        loop.preconditionInEventLoop()
        self.descriptor = descriptor
        self.loop = loop
        self.raised = raised
        try loop.add(self, descriptor, EPOLLIN.rawValue)
    }

    func ready(_ events: UInt32) {
        var count: eventfd_t = 0
        eventfd_read(descriptor, &count)
        raised()
    }

    /// Lets go of the counter.
    package func close() {
        guard !isClosed else { return }
        isClosed = true
        loop.remove(descriptor)
        Glibc.close(descriptor)
    }

    func loopEnds() { close() }
}
