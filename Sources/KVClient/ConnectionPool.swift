import Glibc
import HTTP2
import NIOCore
import NIOPosix

/// One connection per endpoint, made when it is needed.
actor ConnectionPool {
    private enum Slot {
        case empty
        case dialing(Task<GRPCClientConnection, any Error>)
        case open(GRPCClientConnection)
    }

    /// Largest message taken from a server: what etcd's own clients accept, less the sign bit.
    private static let maximumMessageBytes = 1 << 30
    /// A silent server is asked for a sign of life after this long; etcd forbids less than 5 s.
    private static let keepaliveIntervalNanoseconds: Int64 = 6_000_000_000
    private static let keepaliveTimeoutNanoseconds: Int64 = 4_000_000_000

    nonisolated let endpoints: [Endpoint]
    private let dialTimeout: Duration
    private let userAgent: String
    private let eventLoops: any EventLoopGroup
    private var slots: [Slot]
    private var isShutDown = false
    /// The endpoint that calls go to first.
    private(set) var preferred = 0

    init(_ configuration: KVClientConfiguration, eventLoops: any EventLoopGroup) {
        endpoints = configuration.endpoints
        dialTimeout = configuration.dialTimeout
        userAgent = configuration.userAgent
        self.eventLoops = eventLoops
        slots = Array(repeating: .empty, count: configuration.endpoints.count)
    }

    /// The open connection to an endpoint, or a new one.
    func connection(_ index: Int) async throws(KVClientError) -> GRPCClientConnection {
        guard !isShutDown else {
            throw KVClientError(.cancelled, cause: "the client is shut down")
        }
        let task: Task<GRPCClientConnection, any Error>
        switch slots[index] {
        case .open(let connection) where connection.channel.isActive: return connection
        case .dialing(let running): task = running
        case .open, .empty:
            let configuration = self.configuration(endpoints[index])
            let endpoint = endpoints[index]
            let timeout = TimeAmount(dialTimeout)
            let eventLoops = self.eventLoops
            task = Task {
                try await Self.dial(endpoint, configuration, timeout, on: eventLoops)
            }
            slots[index] = .dialing(task)
        }
        do {
            let connection = try await task.value
            if case .dialing(task) = slots[index] { slots[index] = .open(connection) }
            if isShutDown { await connection.close() }
            return connection
        } catch {
            if case .dialing(task) = slots[index] { slots[index] = .empty }
            throw dialError(error, endpoints[index])
        }
    }

    /// Forgets a connection that failed a call; what still runs on it may end.
    func discard(_ connection: GRPCClientConnection, _ index: Int) {
        guard case .open(let current) = slots[index], current === connection else { return }
        slots[index] = .empty
        connection.drain()
    }

    /// Calls go to this endpoint first from now on.
    func prefer(_ index: Int) {
        preferred = index
    }

    func shutdown() async {
        isShutDown = true
        for index in slots.indices {
            guard case .open(let connection) = slots[index] else { continue }
            slots[index] = .empty
            await connection.close()
        }
    }

    private func configuration(_ endpoint: Endpoint) -> GRPCClientConfiguration {
        var limits = HTTP2Limits()
        limits.maximumMessageBytes = Self.maximumMessageBytes
        limits.maximumAssemblyBytes = Self.maximumMessageBytes
        return GRPCClientConfiguration(
            authority: endpoint.authority, userAgent: userAgent, limits: limits,
            keepaliveIntervalNanoseconds: Self.keepaliveIntervalNanoseconds,
            keepaliveTimeoutNanoseconds: Self.keepaliveTimeoutNanoseconds)
    }

    private static func dial(
        _ endpoint: Endpoint, _ configuration: GRPCClientConfiguration, _ timeout: TimeAmount,
        on eventLoops: any EventLoopGroup
    ) async throws -> GRPCClientConnection {
        try await ClientBootstrap(group: eventLoops)
            .connectTimeout(timeout)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .connect(host: endpoint.host, port: endpoint.port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try GRPCClientConnection.add(to: channel, configuration: configuration)
                }
            }
    }

    private func dialError(_ error: any Error, _ endpoint: Endpoint) -> KVClientError {
        let cause: String
        var remedy = "is kvserver running there?"
        switch error {
        case let failure as NIOConnectionError:
            if let first = failure.connectionErrors.first {
                cause = Self.text(first.error)
            } else {
                cause = "the host name \"\(failure.host)\" can't be resolved"
                remedy = "check the endpoint"
            }
        default: cause = Self.text(error)
        }
        return KVClientError(
            .unreachable, endpoint: endpoint.description, cause: "no connection: \(cause)",
            remedy: remedy)
    }

    private static func text(_ error: any Error) -> String {
        switch error {
        case let error as IOError: String(cString: strerror(error.errnoCode))
        case ChannelError.connectTimeout(let time):
            "no answer within \(time.nanoseconds / 1_000_000) ms"
        default: "\(error)"
        }
    }
}

extension TimeAmount {
    /// The same length of time.
    init(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        self = .nanoseconds(seconds * 1_000_000_000 + attoseconds / 1_000_000_000)
    }
}
