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
    /// Calls of one deadline that came one after the other, as those of one turn mostly do.
    struct Group: Comparable {
        var first: UInt64
        var count: UInt64

        var end: UInt64 { first &+ count }

        /// The first number in it that a condition holds for.
        func first(where holds: (UInt64) -> Bool) -> UInt64? {
            (0..<count).lazy.map { first &+ $0 }.first(where: holds)
        }

        static func < (a: Group, b: Group) -> Bool { a.first < b.first }
    }
    private var slots: NumberedRing<Slot>
    /// Groups whose calls are all answered are swept out when they are the larger part.
    private(set) var deadlines = MinHeap<Group>()
    /// The group that the next call may belong to; not among `deadlines`.
    private var newest: (deadline: Microseconds, group: Group)?

    /// Groups that are kept on top of as many as there are calls.
    private static var sweepSlack: Int { 64 }

    init(firstNumber: UInt64) { slots = NumberedRing(firstNumber: firstNumber) }

    var nextNumber: UInt64 { slots.nextNumber }
    var count: Int { slots.count }
    /// The calls that wait, ascending.
    var numbers: [UInt64] { slots.numbers }

    /// Takes a call in and returns its number.
    mutating func add(_ call: consuming Call, deadline: CallDeadline) -> UInt64 {
        let number = slots.append(Slot(call: call, deadline: deadline))
        if newest?.deadline == deadline.time {
            newest!.group.count += 1
        } else {
            closeNewest()
            newest = (deadline.time, Group(first: number, count: 1))
        }
        return number
    }

    private mutating func closeNewest() {
        guard let (deadline, group) = newest else { return }
        newest = nil
        deadlines.push(deadline, group)
        guard deadlines.count > 2 * count + Self.sweepSlack else { return }
        // A copy: the heap can't be changed by a look at the whole.
        var kept = deadlines
        kept.removeAll { $0.value.first { slots[$0] != nil } == nil }
        deadlines = kept
    }

    subscript(number: UInt64) -> Call? { slots[number]?.call }

    /// Changes a call that waits.
    mutating func update(_ number: UInt64, _ change: (inout Call) -> Void) {
        slots.update(number) { change(&$0.call) }
    }

    /// Takes a call out.
    mutating func remove(_ number: UInt64) -> Call? { slots.remove(number)?.call }

    /// The earliest deadline, or an earlier one of a call that was answered meanwhile.
    var nextDeadline: Microseconds? {
        guard let newest else { return deadlines.first?.key }
        return min(newest.deadline, deadlines.first?.key ?? .max)
    }

    /// Takes out a call whose deadline has passed.
    mutating func removeExpired(now: Microseconds) -> (call: Call, deadline: CallDeadline)? {
        if let newest, newest.deadline <= now { closeNewest() }
        while let first = deadlines.first, first.key <= now {
            deadlines.popFirst()
            guard let number = first.value.first(where: { slots[$0] != nil }),
                let slot = slots.remove(number)
            else { continue }
            let rest = Group(first: number &+ 1, count: first.value.end &- number &- 1)
            if rest.count > 0 { deadlines.push(first.key, rest) }
            return (slot.call, slot.deadline)
        }
        return nil
    }
}
