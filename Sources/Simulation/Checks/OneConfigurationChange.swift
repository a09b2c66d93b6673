import RaftCore

/// A leader's log holds at most one configuration that isn't committed (thesis 4.1).
struct OneConfigurationChange {
    func observe(
        _ member: borrowing some MemberView & ~Copyable, canon: borrowing CommittedCanon
    ) throws(Violation) {
        guard member.isLeader else { return }
        let count = member.configurations(behind: canon.last.index)
        guard count <= 1 else {
            throw Violation(
                "OneConfigurationChange",
                "\(member.id) has \(count) uncommitted configurations in term \(member.term)")
        }
    }
}
