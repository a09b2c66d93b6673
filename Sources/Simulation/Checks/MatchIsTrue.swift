import RaftCore

/// What a leader counts towards a commit is on the peer's platters, and it never counts less than it
/// did before in its term (thesis 3.5: match indexes only grow).
struct MatchIsTrue {
    private struct Pair: Hashable {
        var leader: MemberID
        var peer: MemberID
    }
    private var counted: [Pair: (term: Term, match: LogIndex)] = [:]

    mutating func observe(
        _ member: borrowing some MemberView & ~Copyable,
        platters: (MemberID) -> PlatterAccount.Log?
    ) throws(Violation) {
        guard member.isLeader else { return }
        let term = member.term
        let leader = member.id
        for (peer, match) in member.peerMatches {
            let pair = Pair(leader: leader, peer: peer)
            let before = counted[pair]
            if let before, before.term == term {
                guard match >= before.match else {
                    throw Violation(
                        "MatchIsTrue",
                        "\(leader) counted \(before.match) for \(peer), now \(match)")
                }
                if match == before.match { continue }
            }
            counted[pair] = (term, match)
            // An answer that was long under way speaks of a log that a newer leader may have cut.
            guard match > 0, let log = platters(peer), log.base.index < match,
                log.vote.term <= term
            else { continue }
            let mine = member.position(at: match)
            guard mine == nil || log.position(at: match) == mine else {
                throw Violation(
                    "MatchIsTrue",
                    """
                    \(leader) counts \(mine?.label ?? "\(match)") for \(peer), whose platters \
                    end with \(log.last.label)
                    """)
            }
        }
    }
}
