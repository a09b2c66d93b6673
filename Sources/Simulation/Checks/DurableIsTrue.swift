import RaftCore

/// What a member takes for durable is on its platters: a leader counts it towards a commit.
struct DurableIsTrue {
    private var seen: [MemberID: (boot: UInt64, index: LogIndex)] = [:]

    mutating func observe(
        _ member: borrowing some MemberView & ~Copyable,
        platters: (MemberID) -> PlatterAccount.Log?
    ) throws(Violation) {
        let id = member.id
        let boot = member.boot
        let durable = member.durableIndex
        if let before = seen[id], before.boot == boot, before.index == durable { return }
        seen[id] = (boot, durable)
        guard durable <= member.lastIndex else {
            throw Violation(
                "DurableIsTrue",
                "\(id) takes \(durable) for durable, its log ends at \(member.lastIndex)")
        }
        // What a snapshot replaced is nobody's claim.
        guard let mine = member.position(at: durable), let log = platters(id),
            log.base.index < durable, member.position(at: durable - 1) != nil
        else { return }
        guard log.position(at: durable) == mine else {
            throw Violation(
                "DurableIsTrue",
                """
                \(id) takes \(mine.label) for durable, its platters hold \
                \(log.position(at: durable)?.label ?? "nothing") there
                """)
        }
    }
}
