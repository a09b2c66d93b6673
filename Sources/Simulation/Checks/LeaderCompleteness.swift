import RaftCore

/// A leader holds everything committed before its term began (thesis 3.6.3).
struct LeaderCompleteness {
    private var leaders: [MemberID: Term] = [:]

    mutating func observe(
        _ member: borrowing some MemberView & ~Copyable, canon: borrowing CommittedCanon
    ) throws(Violation) {
        let term = member.term
        let id = member.id
        guard member.isLeader, leaders[id] != term else { return }
        leaders[id] = term
        let last = canon.last
        guard last.index == 0 || last.term >= term || member.position(at: last.index) == last
        else {
            let mine = member.position(at: last.index)?.label ?? "nothing"
            throw Violation(
                "LeaderCompleteness",
                "\(id) leads in term \(term) with \(mine) where \(last.label) is committed")
        }
    }
}
