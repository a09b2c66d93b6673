import RaftCore

/// A client's write on its way through the log.
struct PendingWrite {
    /// Whom to answer.
    var request: RequestID
    /// The entry, while nobody was given it.
    var unsent: [UInt8]?
    /// The term of the leader that was given it.
    var sentTerm: Term = 0

    /// The leader of this term was given the write.
    mutating func noteSent(term: Term) {
        unsent = nil
        sentTerm = term
    }
}

/// Writes by sequence number; a write whose deadline passes is told that its outcome is unknown, or
/// that there is no leader.
struct PendingWrites {
    private var calls = WaitingCalls<PendingWrite>(firstNumber: 1)
    /// Bytes of the writes that nobody was given yet.
    private(set) var unsentBytes = 0

    var count: Int { calls.count }

    var nextSequence: UInt64 { calls.nextNumber }

    mutating func add(_ write: PendingWrite, deadline: CallDeadline) {
        unsentBytes += write.unsent?.count ?? 0
        _ = calls.add(write, deadline: deadline)
    }

    subscript(sequence: UInt64) -> PendingWrite? { calls[sequence] }

    mutating func remove(_ sequence: UInt64) -> PendingWrite? {
        let write = calls.remove(sequence)
        unsentBytes -= write?.unsent?.count ?? 0
        return write
    }

    /// The leader of this term was given the write.
    mutating func noteSent(_ sequence: UInt64, term: Term) {
        unsentBytes -= calls[sequence]?.unsent?.count ?? 0
        calls.update(sequence) { $0.noteSent(term: term) }
    }

    /// The sequences still pending, ascending.
    var sequences: [UInt64] { calls.numbers }

    /// No deadline passes before this.
    var nextDeadline: Microseconds? { calls.nextDeadline }

    /// Takes out a write whose deadline has passed.
    mutating func removeExpired(now: Microseconds) -> PendingWrite? {
        guard let write = calls.removeExpired(now: now)?.call else { return nil }
        unsentBytes -= write.unsent?.count ?? 0
        return write
    }
}
