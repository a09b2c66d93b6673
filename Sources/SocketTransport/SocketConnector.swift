import CEpoll
import Dispatch
import Glibc
import NIOCore

/// Why no connection came about.
package struct ConnectError: Error, CustomStringConvertible {
    /// What became of each address of the host, in the order of the attempts; empty when the host
    /// has none.
    package var failures: [(address: SocketAddress, error: any Error)]
    /// Why the name has no address; nil when it has.
    package var resolution: String?

    /// Whether the machine is there and nobody listens on it.
    package var isRefusal: Bool {
        !failures.isEmpty
            && failures.allSatisfy { ($0.error as? IOError)?.errnoCode == ECONNREFUSED }
    }

    package var description: String {
        if let resolution { return resolution }
        return failures.map { "\($0.address): \($0.error)" }.joined(separator: "; ")
    }
}

/// Connects to a host: to one of its addresses after the other, until one answers.
///
/// `@unchecked Sendable`: used on its loop only; a thread that resolves a name gives back to it.
package final class SocketConnector: EventSource, @unchecked Sendable {
    private static let timeBeforeNext = TimeAmount.milliseconds(250)

    private let loop: SocketLoop
    let promise: EventLoopPromise<SocketChannel>
    private let timeout: TimeAmount
    private let patience: TimeAmount
    private let addHandlers: (SocketChannel) throws -> Void
    private var addresses: ArraySlice<SocketAddress> = []
    private var failures: [(address: SocketAddress, error: any Error)] = []
    private var descriptor: Int32 = -1
    private var limit: Scheduled<Void>?

    /// Connects; to be called on the loop, where the future comes true.
    ///
    /// - Parameters:
    ///   - host: an address or a name.
    ///   - timeout: how long the last address may take to answer; those before it have a quarter of a
    ///     second.
    ///   - patience: how long sent bytes may stay unacknowledged before the kernel gives the
    ///     connection up (`TCP_USER_TIMEOUT`).
    ///   - addHandlers: gets the channel before it is active.
    /// - Returns: the channel, or a `ConnectError`.
    package static func connect(
        host: String, port: Int, timeout: TimeAmount, patience: TimeAmount, loop: SocketLoop,
        addHandlers: @escaping (SocketChannel) throws -> Void
    ) -> EventLoopFuture<SocketChannel> {
        loop.preconditionInEventLoop()
        let connector = SocketConnector(
            timeout: timeout, patience: patience, loop: loop, addHandlers: addHandlers)
        if let address = try? SocketAddress(ipAddress: host, port: port) {
            connector.attempt([address])
        } else {
            // May block for seconds; so it has a thread of its own for that time.
            DispatchQueue.global().async {
                let resolved = resolve(host, port: port)
                loop.execute { connector.resolved(resolved) }
            }
        }
        return connector.promise.futureResult
    }

    /// To be followed by `attempt`.
    init(
        timeout: TimeAmount, patience: TimeAmount, loop: SocketLoop,
        addHandlers: @escaping (SocketChannel) throws -> Void
    ) {
        self.loop = loop
        self.timeout = timeout
        self.patience = patience
        self.addHandlers = addHandlers
        promise = loop.makePromise()
    }

    private func resolved(_ result: Result<[SocketAddress], ConnectError>) {
        switch result {
        case .success(let addresses): attempt(addresses[...])
        case .failure(let error): promise.fail(error)
        }
    }

    func attempt(_ addresses: ArraySlice<SocketAddress>) {
        self.addresses = addresses
        guard let address = addresses.first else {
            promise.fail(ConnectError(failures: failures))
            return
        }
        do {
            descriptor = try makeSocket(for: address)
            try begin(address)
        } catch {
            failed(error)
        }
    }

    private func begin(_ address: SocketAddress) throws {
        setSocketOption(
            descriptor, level: Int32(IPPROTO_TCP), TCP_USER_TIMEOUT,
            to: Int32(clamping: patience.nanoseconds / 1_000_000))
        guard
            address.withSockAddr({ Glibc.connect(descriptor, $0, socklen_t($1)) }) == 0
                || errno == EINPROGRESS
        else { throw IOError(errnoCode: errno, reason: "connect") }
        try loop.add(self, descriptor, EPOLLOUT.rawValue)
        // Another address of the host waits no longer than people notice (RFC 8305).
        let time = addresses.count > 1 ? min(timeout, Self.timeBeforeNext) : timeout
        limit = loop.scheduleTask(in: time) { [self] in
            loop.remove(descriptor)
            failed(ChannelError.connectTimeout(time))
        }
    }

    func ready(_ events: UInt32) {
        limit?.cancel()
        loop.remove(descriptor)
        if let error = takeError(of: descriptor, reason: "connect") { return failed(error) }
        let channel = SocketChannel(descriptor: descriptor, loop: loop)
        descriptor = -1
        do {
            try channel.start(addHandlers)
            promise.succeed(channel)
        } catch {
            failed(error)
        }
    }

    private func failed(_ error: any Error) {
        if descriptor >= 0 { Glibc.close(descriptor) }
        descriptor = -1
        failures.append((addresses.first!, error))
        attempt(addresses.dropFirst())
    }

    func loopEnds() {
        limit?.cancel()
        loop.remove(descriptor)
        Glibc.close(descriptor)
        promise.fail(ChannelError.ioOnClosedChannel)
    }
}
