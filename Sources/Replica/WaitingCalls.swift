import RaftCore

/// When a call that waits is answered with an error, and whose limit that is.
struct CallDeadline {
    var time: Microseconds
    /// The client said how long it waits; otherwise it is this member's own limit.
    var isClients: Bool
}

/// Calls that wait here, by ascending number, each with a deadline of its own.
///
/// To add, find or remove one costs O(1) amortised, a deadline that passed O(log n).
struct WaitingCalls<Call> {
    private struct Slot {
        var call: Call
        var deadline: CallDeadline
    }
    private var slots: NumberedRing<Slot>
    /// Answered calls are swept out when they are the larger part.
    private(set) var deadlines = MinHeap<UInt64>()

    /// Answered calls whose deadlines are kept on top of as many as wait.
    private static var sweepSlack: Int { 64 }

    init(firstNumber: UInt64) { slots = NumberedRing(firstNumber: firstNumber) }

    var nextNumber: UInt64 { slots.nextNumber }
    var count: Int { slots.count }
    /// The calls that wait, ascending.
    var numbers: [UInt64] { slots.numbers }

    /// Takes a call in and returns its number.
    mutating func add(_ call: consuming Call, deadline: CallDeadline) -> UInt64 {
        let number = slots.append(Slot(call: call, deadline: deadline))
        deadlines.push(deadline.time, number)
        return number
    }

    subscript(number: UInt64) -> Call? { slots[number]?.call }

    /// Changes a call that waits.
    mutating func update(_ number: UInt64, _ change: (inout Call) -> Void) {
        slots.update(number) { change(&$0.call) }
    }

    /// Takes a call out.
    mutating func remove(_ number: UInt64) -> Call? {
        guard let slot = slots.remove(number) else { return nil }
        if deadlines.count > 2 * count + Self.sweepSlack {
            // A copy: the heap can't be changed by a look at the whole.
            var kept = deadlines
            kept.removeAll { slots[$0.value] == nil }
            deadlines = kept
        }
        return slot.call
    }

    /// The earliest deadline, or an earlier one of a call that was answered meanwhile.
    var nextDeadline: Microseconds? { deadlines.first?.key }

    /// Takes out a call whose deadline has passed.
    mutating func removeExpired(now: Microseconds) -> (call: Call, deadline: CallDeadline)? {
        while let first = deadlines.first, first.key <= now {
            deadlines.popFirst()
            guard let deadline = slots[first.value]?.deadline, let call = remove(first.value)
            else { continue }
            return (call, deadline)
        }
        return nil
    }
}
