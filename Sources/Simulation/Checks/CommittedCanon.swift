import RaftCore

/// What is committed never changes, and all members agree on it (thesis 3.5, state machine
/// safety). The canon holds index, term and hash chain of every committed entry.
struct CommittedCanon {
    /// Positions from index 1 on.
    private(set) var positions: [LogPosition] = []
    private var checked: [MemberID: (boot: UInt64, commit: LogIndex)] = [:]

    /// The last committed entry anybody knows of.
    var last: LogPosition { positions.last ?? .zero }

    /// Returns the entries that are committed as of now and weren't before.
    mutating func observe(_ member: borrowing some MemberView & ~Copyable) throws(Violation)
        -> Range<Int>
    {
        let before = positions.count
        let id = member.id
        let boot = member.boot
        let commit = member.commitIndex
        if let known = checked[id], known.boot == boot, known.commit == commit {
            return before..<before
        }
        checked[id] = (boot, commit)
        if commit > last.index {
            for index in last.index + 1...commit {
                guard let position = member.position(at: index) else {
                    throw Violation(
                        "CommittedCanon",
                        "\(id) says \(commit) is committed, but has no entry \(index)")
                }
                positions.append(position)
            }
        }
        // The chain at the last entry speaks for all before it.
        if commit > 0, let mine = member.position(at: commit), mine != positions[Int(commit) - 1] {
            throw Violation(
                "CommittedCanon",
                """
                \(id) has \(mine.label) committed where others have \
                \(positions[Int(commit) - 1].label)
                """)
        }
        return before..<positions.count
    }

    /// What a member's log says is committed when it starts is what was.
    func observeRecovery(
        of id: MemberID, commitIndex: LogIndex, positions log: [LogPosition]
    ) throws(Violation) {
        guard commitIndex > log[0].index, Int(commitIndex) <= positions.count else { return }
        let mine = log[Int(commitIndex - log[0].index)]
        let committed = positions[Int(commitIndex) - 1]
        guard mine == committed else {
            throw Violation(
                "CommittedCanon",
                "\(id) read back that \(mine.label) is committed where others have \(committed.label)"
            )
        }
    }
}
