import RaftCore

/// A member votes for one candidate in a term, whatever happens to it in between (thesis 3.4), and
/// never promises anything in a term older than one it promised something in.
///
/// Promises are votes granted, votes asked for, and answers to a leader: what others act upon.
struct VotesAreKept {
    private struct Promise {
        var term: Term
        var candidate: MemberID?
    }
    private var promises: [MemberID: Promise] = [:]

    mutating func observe(_ message: Message) throws(Violation) {
        let candidate: MemberID?
        switch message.body {
        case .voteRequest: candidate = message.from
        case .voteResponse(let granted): candidate = granted ? message.to : nil
        case .append, .appendResponse, .heartbeat, .heartbeatResponse: candidate = nil
        case .preVoteRequest, .preVoteResponse, .timeoutNow, .readIndexRequest,
            .readIndexResponse:
            return
        }
        let member = message.from
        let promised = promises[member] ?? Promise(term: 0)
        guard message.term >= promised.term else {
            throw Violation(
                "VotesAreKept",
                "\(member) speaks in term \(message.term) after it did in \(promised.term)")
        }
        if message.term > promised.term {
            promises[member] = Promise(term: message.term, candidate: candidate)
        } else if let candidate {
            if let earlier = promised.candidate, earlier != candidate {
                throw Violation(
                    "VotesAreKept",
                    "\(member) voted for \(earlier) and \(candidate) in term \(message.term)")
            }
            promises[member]!.candidate = candidate
        }
    }

    /// What a member read back from its disk covers what it promised.
    func observeRecovery(of member: MemberID, term: Term, vote: MemberID?) throws(Violation) {
        guard let promised = promises[member] else { return }
        let isKept =
            term > promised.term
            || (term == promised.term
                && (promised.candidate == nil || promised.candidate == vote))
        guard isKept else {
            let candidate = promised.candidate.map { " for \($0)" } ?? ""
            throw Violation(
                "VotesAreKept",
                """
                \(member) promised in term \(promised.term)\(candidate), but recovered term \
                \(term) and vote \(vote ?? 0)
                """)
        }
    }
}
