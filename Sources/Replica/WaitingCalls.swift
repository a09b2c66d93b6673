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
    private var slots: [Slot?] = []
    private var head = 0
    private(set) var nextNumber: UInt64
    private(set) var count = 0
    /// Answered calls are swept out when they are the larger part.
    private(set) var deadlines = MinHeap<UInt64>()

    /// Answered calls whose deadlines are kept on top of as many as wait.
    private static var sweepSlack: Int { 64 }

    init(firstNumber: UInt64) { nextNumber = firstNumber }

    private func slot(of number: UInt64) -> Int? {
        // Numbers may begin anywhere, and so wrap around.
        let age = nextNumber &- number
        return age > 0 && age <= UInt64(slots.count - head) ? slots.count - Int(age) : nil
    }

    /// Takes a call in and returns its number.
    mutating func add(_ call: Call, deadline: CallDeadline) -> UInt64 {
        let number = nextNumber
        slots.append(Slot(call: call, deadline: deadline))
        nextNumber &+= 1
        count += 1
        deadlines.push(deadline.time, number)
        return number
    }

    subscript(number: UInt64) -> Call? {
        guard let slot = slot(of: number) else { return nil }
        return slots[slot]?.call
    }

    /// Changes a call that waits.
    mutating func update(_ number: UInt64, _ change: (inout Call) -> Void) {
        guard let slot = slot(of: number), slots[slot] != nil else { return }
        change(&slots[slot]!.call)
    }

    /// Takes a call out.
    mutating func remove(_ number: UInt64) -> Call? {
        guard let slot = slot(of: number), let call = slots[slot]?.call else { return nil }
        slots[slot] = nil
        count -= 1
        while head < slots.count, slots[head] == nil { head += 1 }
        if head == slots.count {
            slots.removeAll(keepingCapacity: true)
            head = 0
        } else if head > 1_024, head > slots.count / 2 {
            slots.removeFirst(head)
            head = 0
        }
        if deadlines.count > 2 * count + Self.sweepSlack {
            // A copy: the heap can't be changed by a look at the whole.
            var kept = deadlines
            kept.removeAll { self[$0.value] == nil }
            deadlines = kept
        }
        return call
    }

    /// The calls that wait, ascending.
    var numbers: [UInt64] {
        (head..<slots.count).compactMap { slot in
            slots[slot] == nil ? nil : nextNumber &- UInt64(slots.count - slot)
        }
    }

    /// The earliest deadline, or an earlier one of a call that was answered meanwhile.
    var nextDeadline: Microseconds? { deadlines.first?.key }

    /// Takes out a call whose deadline has passed.
    mutating func removeExpired(now: Microseconds) -> (call: Call, deadline: CallDeadline)? {
        while let first = deadlines.first, first.key <= now {
            deadlines.popFirst()
            guard let slot = slot(of: first.value), let deadline = slots[slot]?.deadline,
                let call = remove(first.value)
            else { continue }
            return (call, deadline)
        }
        return nil
    }
}
