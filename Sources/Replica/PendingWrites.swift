import RaftCore

/// A client's write on its way through the log.
struct PendingWrite {
    /// Whom to answer.
    var request: RequestID
    /// When the client is told that the outcome is unknown, or that there is no leader.
    var deadline: Microseconds
    /// The entry, while nobody was given it.
    var unsent: [UInt8]?
    /// The term of the leader that was given it.
    var sentTerm: Term = 0
}

/// Writes by sequence number. Numbers, and so deadlines, only grow.
struct PendingWrites {
    private var slots: [PendingWrite?] = []
    private var head = 0
    private(set) var nextSequence: UInt64 = 1
    private(set) var count = 0
    /// Bytes of the writes that nobody was given yet.
    private(set) var unsentBytes = 0

    private var firstSequence: UInt64 { nextSequence - UInt64(slots.count - head) }

    mutating func add(_ write: PendingWrite) {
        slots.append(write)
        unsentBytes += write.unsent?.count ?? 0
        nextSequence += 1
        count += 1
    }

    subscript(sequence: UInt64) -> PendingWrite? {
        get {
            guard sequence >= firstSequence, sequence < nextSequence else { return nil }
            return slots[head + Int(sequence - firstSequence)]
        }
        set {
            guard sequence >= firstSequence, sequence < nextSequence else { return }
            slots[head + Int(sequence - firstSequence)] = newValue
        }
    }

    mutating func remove(_ sequence: UInt64) -> PendingWrite? {
        guard let write = self[sequence] else { return nil }
        unsentBytes -= write.unsent?.count ?? 0
        self[sequence] = nil
        count -= 1
        while head < slots.count, slots[head] == nil { head += 1 }
        if head == slots.count {
            slots.removeAll(keepingCapacity: true)
            head = 0
        } else if head > 1_024, head > slots.count / 2 {
            slots.removeFirst(head)
            head = 0
        }
        return write
    }

    /// A leader was given the write.
    mutating func noteSent(_ sequence: UInt64) {
        guard let write = self[sequence] else { return }
        unsentBytes -= write.unsent?.count ?? 0
        self[sequence]?.unsent = nil
    }

    /// The sequences still pending, ascending.
    var sequences: [UInt64] {
        let first = firstSequence
        return (head..<slots.count).compactMap { position in
            slots[position] == nil ? nil : first + UInt64(position - head)
        }
    }

    /// The earliest deadline.
    var nextDeadline: Microseconds? {
        head < slots.count ? slots[head]!.deadline : nil
    }

    /// Takes out the oldest write if its deadline has passed.
    mutating func removeExpired(now: Microseconds) -> PendingWrite? {
        guard let deadline = nextDeadline, deadline <= now else { return nil }
        return remove(firstSequence)
    }
}
