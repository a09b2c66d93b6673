import NIOCore
import NIOPosix

/// Opens connections to other members.
enum PeerDialer {
    private static let connectTimeout = TimeAmount.seconds(2)

    /// The callbacks get the connection's frames; they are called on `loop`, which has to be the
    /// one that this is called on.
    ///
    /// - Parameter patience: how long sent bytes may stay unacknowledged by the peer's kernel: one
    ///   that vanished without a word is noticed by that. A peer that has no room for more is waited
    ///   for no longer, so that it must be able to make room in this time.
    static func connect(
        to endpoint: Endpoint, on loop: EventLoop, patience: TimeAmount = .seconds(5),
        _ callbacks: PeerFrameHandler.Callbacks
    ) -> EventLoopFuture<Channel> {
        let guarded = NIOLoopBound(callbacks, eventLoop: loop)
        return ClientBootstrap(group: loop)
            .connectTimeout(connectTimeout)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(
                ChannelOptions.Types.SocketOption(
                    level: .tcp, name: .init(rawValue: TCP_USER_TIMEOUT)),
                value: .init(patience.nanoseconds / 1_000_000)
            )
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        PeerFrameHandler(guarded.value))
                }
            }
            .connect(host: endpoint.host, port: endpoint.port)
            .hop(to: loop)
    }
}
