import RaftCore
import Replica

/// A leader's log holds at most one configuration that isn't committed (thesis 4.1).
struct OneConfigurationChange {
    func observe(
        _ replica: borrowing Replica, canon: borrowing CommittedCanon
    ) throws(Violation) {
        guard replica.isLeader else { return }
        let count = replica.configurations(behind: canon.last.index)
        guard count <= 1 else {
            throw Violation(
                "OneConfigurationChange",
                "\(replica.id) has \(count) uncommitted configurations in term \(replica.term)")
        }
    }
}
