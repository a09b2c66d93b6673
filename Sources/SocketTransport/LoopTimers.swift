import HeapModule
import NIOCore

/// What is to be done at a time.
///
/// `@unchecked Sendable`: handed to its loop once, and used there.
final class LoopTimer: Comparable, @unchecked Sendable {
    let deadline: NIODeadline
    /// Tells timers of the same time apart, in the order in which they were added.
    fileprivate var number: UInt64 = 0
    fileprivate var isQueued = false
    /// Nil once it ran or was cancelled, so that what it holds goes at once.
    fileprivate var action: (() -> Void)?
    /// Is called instead when the loop ends before.
    fileprivate let abandoned: () -> Void

    init(
        deadline: NIODeadline, action: @escaping () -> Void,
        abandoned: @escaping () -> Void = {}
    ) {
        self.deadline = deadline
        self.action = action
        self.abandoned = abandoned
    }

    static func < (a: LoopTimer, b: LoopTimer) -> Bool {
        (a.deadline, a.number) < (b.deadline, b.number)
    }

    static func == (a: LoopTimer, b: LoopTimer) -> Bool { a === b }
}

/// Timers in the order of their deadlines.
struct LoopTimers {
    private var heap = Heap<LoopTimer>()
    private var nextNumber: UInt64 = 0
    private var cancelledCount = 0

    mutating func add(_ timer: LoopTimer) {
        guard timer.action != nil else { return }
        timer.number = nextNumber
        timer.isQueued = true
        nextNumber += 1
        heap.insert(timer)
    }

    /// Timers that wait, cancelled ones included.
    var count: Int { heap.count }

    /// The next deadline; a cancelled timer's counts until it is over.
    var first: NIODeadline? { heap.min?.deadline }

    /// Takes the next action that is due.
    mutating func popDue(_ now: NIODeadline) -> (() -> Void)? {
        while let timer = heap.min, timer.deadline <= now {
            heap.removeMin()
            if let action = timer.action {
                timer.action = nil
                return action
            }
            cancelledCount -= 1
        }
        return nil
    }

    /// Abandons those that haven't run.
    mutating func removeAll() {
        for timer in heap.unordered where timer.action != nil {
            timer.action = nil
            timer.abandoned()
        }
        heap = Heap()
        cancelledCount = 0
    }

    /// Does nothing if the timer has run.
    mutating func cancel(_ timer: LoopTimer) {
        guard timer.action != nil else { return }
        timer.action = nil
        guard timer.isQueued else { return }
        cancelledCount += 1
        // Swept when most are cancelled: deadlines that are moved all the time would pile up.
        if cancelledCount > 64, cancelledCount > heap.count / 2 {
            heap = Heap(heap.unordered.filter { $0.action != nil })
            cancelledCount = 0
        }
    }
}
