import RaftCore
import Replica

/// Puts frames into words for a trace.
extension World {
    func describe(_ frame: [UInt8], from: Int, to: Int) -> String {
        guard
            let message = try? PeerCodec.decode(
                frame, from: MemberID(from + 1), to: MemberID(to + 1))
        else { return "something unreadable" }
        return switch message {
        case .raft(let raft, _): "\(describe(raft.body)), term \(raft.term)"
        case .forward(let term, let envelopes): "\(envelopes.count) writes for term \(term)"
        case .forwardRefused(let sequences): "refused writes \(sequences)"
        case .leaseCall(let call): "\(call.purpose) lease \(call.lease)"
        case .leaseAnswer(let answer): "lease answer \(answer.outcome)"
        }
    }

    private func describe(_ body: Message.Body) -> String {
        switch body {
        case .preVoteRequest(let claim):
            "would you vote for \(claim.lastIndex)@\(claim.lastTerm)?"
        case .preVoteResponse(let granted): granted ? "I would vote for you" : "I would not"
        case .voteRequest(let claim): "vote for \(claim.lastIndex)@\(claim.lastTerm)"
        case .voteResponse(let granted): granted ? "my vote" : "no vote"
        case .append(let append):
            """
            append \(append.entries.count) after \(append.previous.label), commit \
            \(append.commitIndex)
            """
        case .appendResponse(let response):
            switch response.outcome {
            case .matched(let index): "have all up to \(index)"
            case .rejected(let previous, let hint, let term):
                "don't have \(previous), try \(hint)@\(term)"
            }
        case .heartbeat(let heartbeat):
            "heartbeat, commit \(heartbeat.commitIndex), round \(heartbeat.round)"
        case .heartbeatResponse(let response): "heard round \(response.round)"
        case .timeoutNow: "take over"
        case .readIndexRequest: "up to where may I read?"
        case .readIndexResponse(_, let index): index.map { "read up to \($0)" } ?? "can't say"
        }
    }
}
