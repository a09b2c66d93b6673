import RaftCore
import Replica

/// A leader holds everything committed before its term began (thesis 3.6.3).
struct LeaderCompleteness {
    private var leaders: [MemberID: Term] = [:]

    mutating func observe(
        _ replica: borrowing Replica, canon: borrowing CommittedCanon
    ) throws(Violation) {
        let term = replica.term
        let id = replica.id
        guard replica.isLeader, leaders[id] != term else { return }
        leaders[id] = term
        let last = canon.last
        guard last.index == 0 || last.term >= term || replica.position(at: last.index) == last
        else {
            let mine = replica.position(at: last.index)?.label ?? "nothing"
            throw Violation(
                "LeaderCompleteness",
                "\(id) leads in term \(term) with \(mine) where \(last.label) is committed")
        }
    }
}
