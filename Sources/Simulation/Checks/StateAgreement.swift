import RaftCore

/// Members that applied the same entries have the same state, also across snapshots and restarts.
struct StateAgreement {
    private var hashes: [LogIndex: (hash: UInt64, revision: Int64, member: MemberID)] = [:]
    private var applied: [MemberID: (boot: UInt64, index: LogIndex)] = [:]

    mutating func observe(_ member: borrowing some MemberView & ~Copyable) throws(Violation) {
        let id = member.id
        let boot = member.boot
        let index = member.appliedIndex
        if let known = applied[id], known.boot == boot, known.index == index { return }
        applied[id] = (boot, index)
        let hash = member.stateHash
        let revision = member.revision
        if let other = hashes[index] {
            guard other.hash == hash, other.revision == revision else {
                throw Violation(
                    "StateAgreement",
                    """
                    \(id) and \(other.member) differ after entry \(index): revisions \(revision) \
                    and \(other.revision)
                    """)
            }
        } else {
            hashes[index] = (hash, revision, id)
        }
    }
}
