import RaftCore

/// In a running process term, vote in a term, commit index and applied index only grow, and nothing
/// is applied that isn't committed.
struct Monotonicity {
    private struct Seen {
        var boot: UInt64
        var term: Term = 0
        var vote: MemberID?
        var commit: LogIndex = 0
        var applied: LogIndex = 0
    }
    private var seen: [MemberID: Seen] = [:]

    mutating func observe(_ member: borrowing some MemberView & ~Copyable) throws(Violation) {
        let id = member.id
        let boot = member.boot
        let now = Seen(
            boot: boot, term: member.term, vote: member.vote, commit: member.commitIndex,
            applied: member.appliedIndex)
        guard now.applied <= now.commit else {
            throw Violation(
                "Monotonicity", "\(id) applied \(now.applied), committed is \(now.commit)")
        }
        if let before = seen[id], before.boot == boot {
            guard now.term >= before.term, now.commit >= before.commit,
                now.applied >= before.applied,
                now.term > before.term || before.vote == nil || now.vote == before.vote
            else {
                throw Violation("Monotonicity", "\(id) went from \(before) to \(now)")
            }
        }
        seen[id] = now
    }
}
