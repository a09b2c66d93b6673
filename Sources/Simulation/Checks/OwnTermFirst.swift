import RaftCore

/// A leader commits by counting only what is of its own term (thesis 3.6.2), and changes the
/// membership only after it has committed something of it (the erratum of 2015 to thesis 4.1).
struct OwnTermFirst {
    private struct Leadership: Equatable {
        var boot: UInt64
        var term: Term
        var commit: LogIndex
        var configuration: LogIndex
    }
    private var seen: [MemberID: Leadership] = [:]

    mutating func observe(_ member: borrowing some MemberView & ~Copyable) throws(Violation) {
        guard member.isLeader else { return }
        let id = member.id
        let now = Leadership(
            boot: member.boot, term: member.term, commit: member.commitIndex,
            configuration: member.configurationIndex)
        let before = seen[id]
        guard before != now else { return }
        seen[id] = now
        guard let before, before.boot == now.boot, before.term == now.term else { return }
        guard now.commit > before.commit || now.configuration > before.configuration else { return }
        let committed = member.position(at: now.commit)?.term ?? 0
        guard now.commit == before.commit || committed == now.term else {
            throw Violation(
                "OwnTermFirst",
                "\(id) leads in term \(now.term) and commits \(now.commit)@\(committed) by counting"
            )
        }
        guard now.configuration == before.configuration || committed == now.term else {
            throw Violation(
                "OwnTermFirst",
                """
                \(id) changes the membership in term \(now.term), of which nothing is committed
                """)
        }
    }
}
