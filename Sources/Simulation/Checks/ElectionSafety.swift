import RaftCore

/// At most one member leads in a term (thesis 3.4).
struct ElectionSafety {
    private var leaders: [Term: MemberID] = [:]

    mutating func observe(_ member: borrowing some MemberView & ~Copyable) throws(Violation) {
        guard member.isLeader else { return }
        let term = member.term
        let id = member.id
        if let other = leaders[term] {
            guard other == id else {
                throw Violation("ElectionSafety", "both \(other) and \(id) lead in term \(term)")
            }
        } else {
            leaders[term] = id
        }
    }
}
