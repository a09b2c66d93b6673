import HTTP2
import Logging
import NIOCore
import NIOPosix
import Replica

/// The clients' port: HTTP/2 goes to the etcd services, HTTP/1.1 to the endpoints.
final class ClientListener {
    private let loop: EventLoop
    private let service: EtcdService
    private let health: HealthCheck
    private let limits: HTTP2Limits
    private let logger: Logger
    private var servers: [Channel] = []

    init(
        replica: ReplicaLoop, configuration: ServerConfiguration, loop: EventLoop, logger: Logger
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
            respond: { request, result in
                if !service.respond(request, result) { health.respond(request, result) }
            },
            readRange: { service.read($0, $1, on: $2) },
            watchResponse: { service.watchResponse($0, $1) },
            watchFailed: { service.watchFailed($0, $1) },
            leaderChanged: { service.leaderChanged($0) },
            turnEnded: { service.turnEnded() })
    }

    /// A message may be this much larger than the largest request, as in etcd.
    static let messageOverheadBytes = 512 << 10

    func listen(on endpoints: [Endpoint]) -> EventLoopFuture<Void> {
        let guarded = NIOLoopBound(self, eventLoop: loop)
        let binds = endpoints.flatMap { endpoint in
            endpoint.bindHosts.map { host in
                ServerBootstrap(group: loop)
                    .serverChannelOption(.backlog, value: 1_024)
                    .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                    .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
                    // One read a turn: a second one would only find the socket empty.
                    .childChannelOption(.maxMessagesPerRead, value: 1)
                    .childChannelInitializer { channel in
                        channel.eventLoop.makeCompletedFuture {
                            try guarded.value.configure(channel)
                        }
                    }
                    .bind(host: host, port: endpoint.port)
                    .map { guarded.value.servers.append($0) }
                    .optionalIfIPv6(host)
            }
        }
        return EventLoopFuture.andAllSucceed(binds, on: loop)
    }

    private func configure(_ channel: Channel) throws {
        let service = service
        let health = health
        let limits = limits
        let logger = logger
        try channel.pipeline.syncOperations.addHandler(
            ProtocolSniffer(
                http2: { channel in
                    try channel.pipeline.syncOperations.addHandler(
                        GRPCServerHandler(service: service, limits: limits))
                },
                http1: { channel in
                    try ProtocolSniffer.addHTTP1Handlers(
                        HTTPEndpoints(health: health, logger: logger), to: channel)
                }))
    }

    /// Whether every accepted call has been answered.
    var isIdle: Bool { service.isIdle }

    func stopAccepting() {
        for server in servers { server.close(promise: nil) }
        service.stopAccepting()
    }

    /// Sends what is left and closes every connection.
    func close() { service.closeAll() }
}
