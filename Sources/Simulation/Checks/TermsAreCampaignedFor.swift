import RaftCore

/// A term begins with a candidate: asking for pre-votes raises nobody's term (thesis 9.6).
struct TermsAreCampaignedFor {
    private var begun: Set<Term> = [0]
    private var lastSeen: [MemberID: Term] = [:]

    mutating func observe(
        _ member: borrowing some MemberView & ~Copyable
    ) throws(Violation) {
        let term = member.term
        let id = member.id
        guard lastSeen[id] != term else { return }
        lastSeen[id] = term
        switch member.role {
        case .candidate, .leader: begun.insert(term)
        case .follower, .preCandidate:
            guard begun.contains(term) else {
                throw Violation(
                    "TermsAreCampaignedFor", "\(id) is in term \(term), which nobody campaigned for"
                )
            }
        }
    }
}
