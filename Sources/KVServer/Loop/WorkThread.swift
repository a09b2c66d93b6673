import Glibc
import NIOCore
import NIOPosix

/// A thread that carries out work in order on a state of its own. It knows nothing about what the
/// work means. It is an event loop that serves nobody: a Foundation thread would bring 7 MB of
/// libraries into every member's memory.
///
/// `@unchecked Sendable`: the state is made, changed and finished on the thread alone.
final class WorkThread<State>: @unchecked Sendable {
    /// One piece of work; it gets the thread's state.
    typealias Work = @Sendable (inout State) -> Void

    private let group: MultiThreadedEventLoopGroup
    private let loop: any EventLoop
    private var state: State?
    private let finish: @Sendable (inout State) -> Void

    /// Starts the thread, whose state begins as `makeState` says and goes through `finish` at last.
    ///
    /// - Parameter niceness: how far it stands back behind other threads where cores are short, from
    ///   0 (not at all) to 19, as `nice` has it.
    init(
        niceness: Int32 = 0,
        makeState: @escaping @Sendable () -> State,
        finish: @escaping @Sendable (inout State) -> Void = { _ in }
    ) {
        self.finish = finish
        group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        loop = group.next()
        loop.execute {
            // For Linux the process 0 is the calling thread. Standing back is a courtesy: where it
            // is refused, work goes on.
            if niceness > 0 { _ = setpriority(Int32(PRIO_PROCESS.rawValue), 0, niceness) }
            self.state = makeState()
        }
    }

    func submit(_ work: @escaping Work) {
        loop.execute { self.perform(work) }
    }

    private func perform(_ work: Work) {
        guard state != nil else { return }
        work(&state!)
    }

    /// Lets the thread end when all that was submitted is done.
    func close() {
        loop.execute { [self] in
            perform(finish)
            state = nil
            group.shutdownGracefully { _ in }
        }
    }
}
