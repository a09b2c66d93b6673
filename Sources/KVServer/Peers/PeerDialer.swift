import NIOCore
import NIOPosix

/// Opens connections to other members.
enum PeerDialer {
    private static let connectTimeout = TimeAmount.seconds(2)
    /// How long sent bytes may stay unacknowledged by the peer's kernel: a peer that vanished
    /// without a word is noticed by that.
    private static let unacknowledgedMilliseconds: ChannelOptions.Types.SocketOption.Value = 5_000

    /// The callbacks get the connection's frames; they are called on `loop`, which has to be the
    /// one that this is called on.
    static func connect(
        to endpoint: Endpoint, on loop: EventLoop, _ callbacks: PeerFrameHandler.Callbacks
    ) -> EventLoopFuture<Channel> {
        let guarded = NIOLoopBound(callbacks, eventLoop: loop)
        return ClientBootstrap(group: loop)
            .connectTimeout(connectTimeout)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(
                ChannelOptions.Types.SocketOption(
                    level: .tcp, name: .init(rawValue: TCP_USER_TIMEOUT)),
                value: unacknowledgedMilliseconds
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
