import RaftCore
import Replica

/// At most one member leads in a term (thesis 3.4).
struct ElectionSafety {
    private var leaders: [Term: MemberID] = [:]

    mutating func observe(_ replica: borrowing Replica) throws(Violation) {
        guard replica.isLeader else { return }
        let term = replica.term
        let id = replica.id
        if let other = leaders[term] {
            guard other == id else {
                throw Violation("ElectionSafety", "both \(other) and \(id) lead in term \(term)")
            }
        } else {
            leaders[term] = id
        }
    }
}
