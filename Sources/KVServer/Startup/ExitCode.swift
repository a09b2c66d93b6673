import NIOCore

/// The code the process will end with, once somebody has decided it.
final class ExitCode: Sendable {
    private let promise: EventLoopPromise<Int32>

    init(loop: EventLoop) { promise = loop.makePromise() }

    /// Decides; later decisions change nothing.
    func set(_ code: Int32) { promise.succeed(code) }

    /// Blocks until it is decided.
    func wait() -> Int32 { (try? promise.futureResult.wait()) ?? 1 }
}
