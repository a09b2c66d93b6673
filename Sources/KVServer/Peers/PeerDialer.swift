import NIOCore
import SocketTransport

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
        to endpoint: Endpoint, on loop: SocketLoop, patience: TimeAmount = .seconds(5),
        _ callbacks: PeerFrameHandler.Callbacks
    ) -> EventLoopFuture<SocketChannel> {
        SocketConnector.connect(
            host: endpoint.host, port: endpoint.port, timeout: connectTimeout, patience: patience,
            loop: loop
        ) { channel in
            try channel.pipeline.syncOperations.addHandler(PeerFrameHandler(callbacks))
        }
    }
}
