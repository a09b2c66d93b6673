import HTTP2
import Logging
import NIOCore
import Replica
import SocketTransport

/// The clients' port: HTTP/2 goes to the etcd services, HTTP/1.1 to the endpoints.
final class ClientListener {
    private let loop: SocketLoop
    private let service: EtcdService
    private let health: HealthCheck
    private let limits: HTTP2Limits
    private let logger: Logger
    private var servers: [SocketListener] = []

    init(
        replica: ReplicaLoop, configuration: ServerConfiguration, loop: SocketLoop, logger: Logger
    ) {
        self.loop = loop
        self.logger = logger
        var limits = HTTP2Limits()
        limits.maximumMessageBytes = configuration.maxRequestBytes + Self.messageOverheadBytes
        self.limits = limits
        let service = EtcdService(
            replica: replica, configuration: configuration, limits: limits, logger: logger)
        let health = HealthCheck(replica: replica)
        self.service = service
        self.health = health
        replica.outlets = ReplicaLoop.Outlets(
            answer: { request, message in
                if !service.answer(request, message) { health.answer(request) }
            },
            fail: { request, failure in
                if !service.fail(request, failure) { health.fail(request, failure) }
            },
            readRange: { service.read($0, $1, on: $2) },
            watchResponse: { service.watchResponse($0, $1) },
            watchFailed: { service.watchFailed($0, $1) },
            leaderChanged: { service.leaderChanged($0) },
            turnEnded: { service.turnEnded() })
    }

    /// A message may be this much larger than the largest request, as in etcd.
    static let messageOverheadBytes = 512 << 10

    /// Binds the addresses.
    ///
    /// - Throws: what `SocketListener` throws of the first that can't be bound.
    func listen(on endpoints: [Endpoint]) throws {
        let (service, health, limits, logger) = (service, health, limits, logger)
        servers = try SocketListener.all(
            of: endpoints, backlog: 1_024, loop: loop, logger: logger
        ) { channel in
            try channel.pipeline.syncOperations.addHandler(
                ProtocolSniffer(
                    http2: { channel in
                        let handler = GRPCServerHandler(service: service, limits: limits)
                        try channel.pipeline.syncOperations.addHandler(handler)
                        // A `SocketListener` makes no other, and nothing else stays in the pipeline.
                        let socket = channel as! SocketChannel
                        socket.read(by: handler)
                        handler.write { socket.writeDirectly($0) }
                    },
                    http1: { channel in
                        try ProtocolSniffer.addHTTP1Handlers(
                            HTTPEndpoints(health: health, logger: logger), to: channel)
                    }))
        }
    }

    /// Whether every accepted call has been answered.
    var isIdle: Bool { service.isIdle }

    func stopAccepting() {
        for server in servers { server.close() }
        service.stopAccepting()
    }

    /// Sends what is left and closes every connection.
    func close() { service.closeAll() }
}

extension GRPCServerHandler: DirectHandler {}
