import RaftCore

/// At most one member leads in a term, and nobody follows anybody else in it (thesis 3.4).
struct ElectionSafety {
    private var leaders: [Term: MemberID] = [:]

    mutating func observe(_ member: borrowing some MemberView & ~Copyable) throws(Violation) {
        guard let leader = member.leader else { return }
        let term = member.term
        let id = member.id
        guard member.isLeader else {
            guard leaders[term] == leader else {
                throw Violation(
                    "ElectionSafety",
                    "\(id) takes \(leader) for the leader of term \(term), which it isn't")
            }
            return
        }
        if let other = leaders[term] {
            guard other == id else {
                throw Violation("ElectionSafety", "both \(other) and \(id) lead in term \(term)")
            }
        } else {
            leaders[term] = id
        }
    }
}
