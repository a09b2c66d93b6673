import CEpoll
import Glibc
import NIOCore

/// A listening TCP socket, whose connections become channels.
///
/// `@unchecked Sendable`: used on its loop only.
package final class SocketListener: EventSource, @unchecked Sendable {
    /// Connections accepted in one turn; those that are served come in between.
    private static let acceptsATurn = 16
    /// How long nobody is accepted when there is no room for a connection.
    private static let pause = TimeAmount.seconds(1)

    private let loop: SocketLoop
    private var descriptor: Int32
    private let addHandlers: (SocketChannel) throws -> Void
    private let paused: (IOError) -> Void

    /// Listens on an address; to be called on the loop.
    ///
    /// - Parameters:
    ///   - host: an address or a name; resolving a name may block.
    ///   - backlog: connections that the kernel keeps until they are accepted.
    ///   - addHandlers: gets each connection's channel before it is active.
    ///   - paused: hears why nobody is accepted for a second: the process or the machine has no room
    ///     for a connection.
    /// - Throws: `IOError` when the address can't be bound, `SocketAddressError` when the name is
    ///   unknown.
    package init(
        host: String, port: Int, backlog: Int32, loop: SocketLoop,
        addHandlers: @escaping (SocketChannel) throws -> Void,
        paused: @escaping (IOError) -> Void = { _ in }
    ) throws {
        loop.preconditionInEventLoop()
        self.loop = loop
        self.addHandlers = addHandlers
        self.paused = paused
        let address = try SocketAddress.makeAddressResolvingHost(host, port: port)
        descriptor = try makeSocket(for: address)
        do {
            setSocketOption(descriptor, level: SOL_SOCKET, SO_REUSEADDR, to: 1)
            guard address.withSockAddr({ bind(descriptor, $0, socklen_t($1)) }) == 0 else {
                throw IOError(errnoCode: errno, reason: "bind \(host):\(port)")
            }
            guard listen(descriptor, backlog) == 0 else {
                throw IOError(errnoCode: errno, reason: "listen on \(host):\(port)")
            }
            try loop.add(self, descriptor, EPOLLIN.rawValue)
        } catch {
            Glibc.close(descriptor)
            descriptor = -1
            throw error
        }
    }

    /// Where it listens, with the port that the kernel chose for port 0.
    package var localAddress: SocketAddress? { SocketAddress(nameOf: descriptor, getsockname) }

    /// Accepts nobody any more; connections stay.
    package func close() {
        guard descriptor >= 0 else { return }
        loop.remove(descriptor)
        Glibc.close(descriptor)
        descriptor = -1
    }

    func loopEnds() { close() }

    func ready(_ events: UInt32) {
        for _ in 0..<Self.acceptsATurn where descriptor >= 0 {
            let accepted = accept(descriptor, nil, nil)
            guard accepted >= 0 else { return acceptFailed(errno) }
            _ = fcntl(accepted, F_SETFL, O_NONBLOCK)
            _ = fcntl(accepted, F_SETFD, FD_CLOEXEC)
            // One that can't be started is closed, which is all its client needs to know.
            try? SocketChannel(descriptor: accepted, loop: loop).start(addHandlers)
        }
    }

    private func acceptFailed(_ code: Int32) {
        // Of anything else the next event tells: nobody was there (any more).
        guard code == EMFILE || code == ENFILE || code == ENOBUFS || code == ENOMEM else { return }
        paused(IOError(errnoCode: code, reason: "accept"))
        loop.change(descriptor, 0)
        loop.scheduleTask(in: Self.pause) { [self] in
            if descriptor >= 0 { loop.change(descriptor, EPOLLIN.rawValue) }
        }
    }
}
