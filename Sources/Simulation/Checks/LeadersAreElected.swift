import RaftCore

/// A member leads only when a quorum of the voters it goes by gave it their votes in its term
/// (thesis 3.4). Votes are counted as they are sent.
struct LeadersAreElected {
    private struct Candidacy: Hashable {
        var term: Term
        var candidate: MemberID
    }
    private var votes: [Candidacy: Set<MemberID>] = [:]
    private var checked: [MemberID: Term] = [:]

    mutating func observe(_ message: Message) {
        guard case .voteResponse(granted: true) = message.body else { return }
        votes[Candidacy(term: message.term, candidate: message.to), default: []]
            .insert(message.from)
    }

    mutating func observe(_ member: borrowing some MemberView & ~Copyable) throws(Violation) {
        let id = member.id
        let term = member.term
        guard member.isLeader, checked[id] != term else { return }
        checked[id] = term
        let given = votes[Candidacy(term: term, candidate: id)] ?? []
        let voters = member.configuration.voters
        guard 2 * voters.count(where: { $0 == id || given.contains($0) }) > voters.count else {
            throw Violation(
                "LeadersAreElected",
                """
                \(id) leads in term \(term) with votes of \(given.sorted()) out of \
                \(voters)
                """)
        }
    }
}
