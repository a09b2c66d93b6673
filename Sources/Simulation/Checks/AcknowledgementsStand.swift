import RaftCore

/// What a member told a leader it holds stays in its log for as long as the term lasts: a leader
/// never takes an entry back (thesis 3.5, leader append-only).
struct AcknowledgementsStand {
    private struct Promise {
        var term: Term
        var index: LogIndex
    }
    private var promises: [MemberID: Promise] = [:]

    mutating func observe(_ message: Message) {
        guard case .appendResponse(let response) = message.body,
            case .matched(let index) = response.outcome
        else { return }
        let before = promises[message.from]
        if let before, before.term > message.term { return }
        let floor = before?.term == message.term ? before?.index ?? 0 : 0
        promises[message.from] = Promise(term: message.term, index: max(index, floor))
    }

    func observe(_ member: borrowing some MemberView & ~Copyable) throws(Violation) {
        guard let promise = promises[member.id], promise.term == member.term else { return }
        guard member.lastIndex >= promise.index else {
            throw Violation(
                "AcknowledgementsStand",
                """
                \(member.id) acknowledged \(promise.index) in term \(promise.term), now its log \
                ends at \(member.lastIndex)
                """)
        }
    }
}
