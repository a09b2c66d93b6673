import Foundation

/// A thread that carries out work in order on a state of its own. It knows nothing about what the
/// work means.
///
/// `@unchecked Sendable`: the queue is touched under the condition's lock only, and the state by the
/// thread alone, which also makes it.
final class WorkThread<State>: @unchecked Sendable {
    /// One piece of work; it gets the thread's state.
    typealias Work = @Sendable (inout State) -> Void

    private let condition = NSCondition()
    private var queue: [Work] = []
    private var isClosed = false
    private var thread: Thread?
    private let makeState: @Sendable () -> State
    private let finish: @Sendable (inout State) -> Void

    /// Starts the thread, whose state begins as `makeState` says and goes through `finish` at last.
    init(
        name: String, makeState: @escaping @Sendable () -> State,
        finish: @escaping @Sendable (inout State) -> Void = { _ in }
    ) {
        self.makeState = makeState
        self.finish = finish
        let thread = Thread { [self] in run() }
        thread.name = name
        thread.stackSize = 1 << 20
        self.thread = thread
        thread.start()
    }

    func submit(_ work: @escaping Work) {
        condition.lock()
        queue.append(work)
        condition.signal()
        condition.unlock()
    }

    /// Lets the thread end when its queue is empty.
    func close() {
        condition.lock()
        isClosed = true
        condition.signal()
        condition.unlock()
    }

    private func run() {
        var state = makeState()
        while let batch = take() {
            for work in batch { work(&state) }
        }
        finish(&state)
    }

    private func take() -> [Work]? {
        condition.lock()
        defer { condition.unlock() }
        while queue.isEmpty, !isClosed { condition.wait() }
        guard !queue.isEmpty else { return nil }
        defer { queue.removeAll(keepingCapacity: true) }
        return queue
    }
}
