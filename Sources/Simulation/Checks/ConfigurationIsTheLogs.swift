import RaftCore

/// The configuration a member goes by is the newest in its log, committed or not (thesis 4.1): two
/// logs that end alike name the same members.
struct ConfigurationIsTheLogs {
    /// By the hash chain at the log's end.
    private var known: [UInt64: Configuration] = [:]
    private var seen: [MemberID: (boot: UInt64, chain: UInt64)] = [:]

    mutating func observe(_ member: borrowing some MemberView & ~Copyable) throws(Violation) {
        let id = member.id
        let boot = member.boot
        let last = member.position(at: member.lastIndex)!
        if let before = seen[id], before.boot == boot, before.chain == last.chain { return }
        seen[id] = (boot, last.chain)
        guard member.configurationIndex <= last.index else {
            throw Violation(
                "ConfigurationIsTheLogs",
                "\(id) goes by entry \(member.configurationIndex), its log ends at \(last.label)")
        }
        try observe(member.configuration, at: last, of: id)
    }

    /// Notes what a member goes by, or would go by, with a log that ends there.
    mutating func observe(
        _ configuration: Configuration, at last: LogPosition, of id: MemberID
    ) throws(Violation) {
        guard let other = known[last.chain] else {
            known[last.chain] = configuration
            return
        }
        guard other == configuration else {
            throw Violation(
                "ConfigurationIsTheLogs",
                """
                with a log that ends at \(last.label) \(id) goes by \(configuration.voters) and \
                learners \(configuration.learners), another member by \(other.voters) and \
                \(other.learners)
                """)
        }
    }
}
