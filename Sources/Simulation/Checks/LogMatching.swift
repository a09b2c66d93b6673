import RaftCore

/// Two logs that hold an entry of the same index and term are equal up to it (thesis 3.5).
struct LogMatching {
    /// Term and chain of all entries ever seen, by index.
    private var known: [[(term: Term, chain: UInt64)]] = []
    private var lastSeen: [MemberID: LogPosition] = [:]

    mutating func observe(_ member: borrowing some MemberView & ~Copyable) throws(Violation) {
        let id = member.id
        let last = member.position(at: member.lastIndex)!
        guard lastSeen[id] != last else { return }
        lastSeen[id] = last
        var index = last.index
        while index > 0, let position = member.position(at: index) {
            while known.count <= Int(index) { known.append([]) }
            if let same = known[Int(index)].first(where: { $0.term == position.term }) {
                guard same.chain == position.chain else {
                    throw Violation(
                        "LogMatching",
                        "two logs differ at or before \(position.label), seen at \(id)")
                }
                return
            }
            known[Int(index)].append((position.term, position.chain))
            index -= 1
        }
    }
}
