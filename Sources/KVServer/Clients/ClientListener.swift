import Logging
import NIOCore

final class ClientListener {
    init(
        replica: ReplicaLoop, clusterID: UInt64, maxRequestBytes: Int, loop: EventLoop,
        logger: Logger
    ) {}
    func listen(on endpoints: [Endpoint]) -> EventLoopFuture<Void> { fatalError() }
    func stopAccepting() {}
    var isIdle: Bool { true }
    func close() -> EventLoopFuture<Void> { fatalError() }
}
