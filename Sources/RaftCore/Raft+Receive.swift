/// Messages come in: terms first (thesis 3.3), then by kind.
extension Raft {
    mutating func receive(_ message: Message, now: Microseconds) {
        precondition(message.to == id, "a message for another member")
        if let reason = impossibility(in: message) {
            pending.effects.append(.peerFault(message.from, reason: reason))
            return
        }
        switch message.body {
        case .preVoteRequest(let request):
            receivePreVoteRequest(request, message: message, now: now)
            return
        case .preVoteResponse(let granted):
            receivePreVoteResponse(granted: granted, message: message, now: now)
            return
        case .voteRequest(let request) where message.term > term && !request.isTransfer:
            // A member that hears its leader doesn't let a stranger end the term (thesis 4.2.3).
            if hearsLeader(now: now) { return }
        default:
            break
        }
        if message.term > term {
            becomeFollower(term: message.term, leader: nil, now: now)
        } else if message.term < term {
            answerStale(message)
            return
        }
        receiveCurrent(message, now: now)
    }

    /// What no member sends that keeps to the protocol and has its disk; nil for everything else.
    /// Looked for before anything changes, so that a broken member can't break this one.
    private func impossibility(in message: Message) -> String? {
        guard message.term >= term else { return nil }
        switch message.body {
        case .append(let append):
            if let last = append.entries.last, last.term > message.term {
                return "an entry of term \(last.term) comes from a leader of term \(message.term)"
            }
            if let index = conflictWithCommitted(append) {
                return "entry \(index) is committed, and another one should take its place"
            }
            return secondLeader(message)
        case .heartbeat: return secondLeader(message)
        case .appendResponse(let response):
            guard case .rejected(0, _, _) = response.outcome else { return nil }
            return "an append behind nothing was rejected"
        case .preVoteRequest, .preVoteResponse, .voteRequest, .voteResponse, .heartbeatResponse,
            .timeoutNow, .readIndexRequest, .readIndexResponse:
            return nil
        }
    }

    /// There is at most one leader in a term (thesis 3.4).
    private func secondLeader(_ message: Message) -> String? {
        guard message.term == term, let leader, leader != message.from else { return nil }
        return "\(leader) leads term \(term) already"
    }

    /// The first entry of an append that contradicts a committed one (thesis 3.6.3).
    private func conflictWithCommitted(_ append: Message.Append) -> LogIndex? {
        guard append.previous.index < commitIndex, append.lastIndex > commitIndex,
            append.previous.index >= log.base.index,
            log.term(at: append.previous.index) == append.previous.term
        else { return nil }
        var index = append.previous.index
        for entry in append.entries.prefix(Int(commitIndex - index)) {
            index += 1
            if log.term(at: index) != entry.term { return index }
        }
        return nil
    }

    /// A leader of a past term learns from the answer's term that it was deposed.
    private mutating func answerStale(_ message: Message) {
        switch message.body {
        case .append, .heartbeat:
            sendWhenTermDurable(
                .heartbeatResponse(.init(round: 0, wantsCommits: false)), to: message.from)
        case .readIndexRequest(let context):
            sendWhenTermDurable(.readIndexResponse(context: context, index: nil), to: message.from)
        case .preVoteRequest, .preVoteResponse, .voteRequest, .voteResponse, .appendResponse,
            .heartbeatResponse, .timeoutNow, .readIndexResponse:
            break
        }
    }

    private mutating func receiveCurrent(_ message: Message, now: Microseconds) {
        switch message.body {
        case .preVoteRequest, .preVoteResponse:
            preconditionFailure("pre-votes are handled before terms")
        case .voteRequest(let request):
            receiveVoteRequest(request, from: message.from, now: now)
        case .voteResponse(let granted):
            if role == .candidate { countVote(from: message.from, granted: granted, now: now) }
        case .append(let append):
            follow(message.from, now: now)
            receiveAppend(append, from: message.from, now: now)
        case .heartbeat(let heartbeat):
            follow(message.from, now: now)
            advanceFollowerCommit(to: min(heartbeat.commitIndex, log.lastIndex))
            sendWhenTermDurable(
                .heartbeatResponse(.init(round: heartbeat.round, wantsCommits: wantsCommits)),
                to: message.from)
        case .appendResponse(let response):
            receiveAppendResponse(response, from: message.from, now: now)
        case .heartbeatResponse(let response):
            receiveHeartbeatResponse(response, from: message.from, now: now)
        case .timeoutNow:
            if role == .follower, configuration.isVoter(id) {
                startElection(isTransfer: true, now: now)
            }
        case .readIndexRequest(let context):
            receiveReadIndexRequest(context, from: message.from, now: now)
        case .readIndexResponse(let context, let index):
            if let index {
                pending.effects.append(.readReady(context: context, index: index))
            } else {
                pending.effects.append(.readFailed(context: context))
            }
        }
    }

    /// The sender leads this term: there is at most one (thesis 3.4).
    private mutating func follow(_ newLeader: MemberID, now: Microseconds) {
        precondition(role != .leader, "two leaders in term \(term): \(id) and \(newLeader)")
        if role != .follower || leader != newLeader {
            precondition(leader == nil || leader == newLeader, "two leaders in term \(term)")
            becomeFollower(term: term, leader: newLeader, now: now)
        }
        lastLeaderContact = now
        isCountedOn = false
        resetElectionDeadline(now: now)
    }

    private mutating func receiveAppend(
        _ append: Message.Append, from leader: MemberID, now: Microseconds
    ) {
        if append.previous.index < log.base.index || append.lastIndex <= commitIndex {
            // Everything here is committed already; the leader may not know.
            acknowledge(commitIndex, round: append.round, to: leader)
            return
        }
        guard let mine = log.position(at: append.previous.index),
            mine.term == append.previous.term
        else {
            rejectAppend(append, to: leader)
            return
        }
        guard mine.chain == append.previous.chain else {
            pending.effects.append(.diverged(index: mine.index, leader: leader))
            return
        }
        appendNew(append)
        advanceFollowerCommit(to: min(append.commitIndex, append.lastIndex))
        acknowledge(append.lastIndex, round: append.round, to: leader)
    }

    /// Skips what is here already and truncates only on conflict: a delayed append must not
    /// shorten a log that a newer one extended (thesis 3.5).
    private mutating func appendNew(_ append: Message.Append) {
        var index = append.previous.index
        for entry in append.entries {
            index += 1
            if let present = log.term(at: index) {
                if present == entry.term { continue }
                truncateLog(to: index - 1)
            }
            let configuration = append.configurations.first { $0.index == index }?.configuration
            log.append(entry, configuration: configuration)
        }
    }

    private mutating func truncateLog(to index: LogIndex) {
        precondition(index >= commitIndex, "a committed entry would be truncated")
        log.truncate(to: index)
        if disk.truncate(to: index) {
            pending.truncation = min(pending.truncation ?? index, index)
        }
    }

    private mutating func acknowledge(_ index: LogIndex, round: UInt64, to leader: MemberID) {
        let response = Message.AppendResponse(
            outcome: .matched(index), round: round, wantsCommits: wantsCommits)
        sendWhenDurable(.appendResponse(response), to: leader)
    }

    private mutating func rejectAppend(_ append: Message.Append, to leader: MemberID) {
        let hint = log.lastIndex(
            notAfter: append.previous.index, termAtMost: append.previous.term)
        let outcome = Message.AppendResponse.Outcome.rejected(
            previous: append.previous.index, hintIndex: hint, hintTerm: log.term(at: hint)!)
        sendWhenTermDurable(
            .appendResponse(
                .init(outcome: outcome, round: append.round, wantsCommits: wantsCommits)),
            to: leader)
    }

    private mutating func advanceFollowerCommit(to index: LogIndex) {
        guard index > commitIndex else { return }
        commitIndex = index
        pending.committed = true
    }
}
