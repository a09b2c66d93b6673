/// Elections (thesis 3.4, 3.6, 9.6), by timeout, by request and by evidence.
///
/// Failover by evidence: a process that dies resets its connections at once. When a follower's
/// link to the leader breaks and an immediate reconnect is refused, the leader's process is gone,
/// and waiting for the election timeout proves nothing more. Such a follower forgets its leader
/// and asks for pre-votes after a delay by rank, so that the survivors don't collide. A member that
/// still hears the leader refuses, so wrong evidence costs nothing but a message.
extension Raft {
    /// Delay between the ranks of survivors that campaign on evidence.
    static let evidenceRankDelayMicroseconds: Microseconds = 15_000
    /// Span of the random wait after a split vote while evidence is fresh.
    static let fastRetryMicroseconds: Range<Microseconds> = 10_000..<50_000
    /// Quick attempts before ordinary timeouts take over.
    static let maxFastElections = 5

    /// Whether this member may ask for votes. One that isn't a voter by its own log may when others
    /// count on it; its own vote doesn't count then.
    var canCampaign: Bool { configuration.isVoter(id) || isCountedOn }

    /// Whether the leader was heard within an election timeout.
    func hearsLeader(now: Microseconds) -> Bool {
        switch role {
        case .leader: true
        case .follower:
            leader != nil && now < lastLeaderContact + settings.electionTimeoutMicroseconds
        case .preCandidate, .candidate: false
        }
    }

    /// A member that just started, or whose leader's process is gone, tries soon.
    mutating func scheduleFastElection(now: Microseconds) {
        fastElectionsLeft = Self.maxFastElections
        let survivors = configuration.voters.filter { $0 != leader }
        let rank = survivors.firstIndex(of: id) ?? 0
        electionDeadline = now + UInt64(rank) * Self.evidenceRankDelayMicroseconds
    }

    mutating func leaderProcessGone(_ gone: MemberID, term goneTerm: Term, now: Microseconds) {
        guard role == .follower, leader == gone, term == goneTerm else { return }
        scheduleFastElection(now: now)
        leader = nil
        pending.effects.append(.following(leader: nil, term: term))
    }

    mutating func campaign(now: Microseconds) {
        if let lost = leader {
            precondition(lost != id)
            leader = nil
        }
        role = .preCandidate
        votes = [:]
        scheduleRetry(now: now)
        pending.effects.append(.following(leader: nil, term: term))
        if countPreVote(from: id, granted: true, now: now) { return }
        for voter in configuration.voters where voter != id {
            pending.sends.append(
                Message(
                    from: id, to: voter, term: term + 1,
                    body: .preVoteRequest(voteClaim(isTransfer: false))))
        }
    }

    /// A candidate counts on this member, which isn't a voter by its own log, and must refuse, for
    /// its own log is newer. Only this member can win: it campaigns, and steps down with its first
    /// commit. It may be one that an entry removes which nobody else has (thesis 4.2.2), or a learner:
    /// 1. a leader appends its promotion and is deposed; 2. the successor, which lacks that
    /// entry, gives the learner entries that nobody else has, and is gone for good; 3. the first now
    /// needs a vote that it can't have.
    private mutating func noteRefusal(now: Microseconds) {
        guard !canCampaign, !hearsLeader(now: now),
            configuration.contains(id) || configurationIndex > commitIndex
        else { return }
        isCountedOn = true
        resetElectionDeadline(now: now)
    }

    private mutating func scheduleRetry(now: Microseconds) {
        if fastElectionsLeft > 0 {
            fastElectionsLeft -= 1
            electionDeadline = now + random.next(in: Self.fastRetryMicroseconds)
        } else {
            resetElectionDeadline(now: now)
        }
    }

    private func voteClaim(isTransfer: Bool) -> Message.VoteRequest {
        Message.VoteRequest(
            lastIndex: log.lastIndex, lastTerm: log.lastTerm, isTransfer: isTransfer)
    }

    mutating func receivePreVoteRequest(
        _ request: Message.VoteRequest, message: Message, now: Microseconds
    ) {
        let isCovered = log.isCovered(byLastIndex: request.lastIndex, lastTerm: request.lastTerm)
        if !isCovered { noteRefusal(now: now) }
        let granted = message.term > term && !hearsLeader(now: now) && isCovered
        // A grant speaks of the term asked for; a refusal tells the asker our own.
        pending.sends.append(
            Message(
                from: id, to: message.from, term: granted ? message.term : term,
                body: .preVoteResponse(granted: granted)))
    }

    mutating func receivePreVoteResponse(granted: Bool, message: Message, now: Microseconds) {
        if !granted, message.term > term {
            becomeFollower(term: message.term, leader: nil, now: now)
            return
        }
        guard role == .preCandidate else { return }
        guard message.term == (granted ? term + 1 : term) else { return }
        _ = countPreVote(from: message.from, granted: granted, now: now)
    }

    /// True when that made a quorum.
    private mutating func countPreVote(
        from voter: MemberID, granted: Bool, now: Microseconds
    ) -> Bool {
        votes[voter] = granted
        guard configuration.hasQuorum({ votes[$0] == true }) else { return false }
        startElection(isTransfer: false, now: now)
        return true
    }

    /// Becomes a candidate. The requests leave, and the own vote counts, when term, vote and the
    /// log they claim are on disk.
    mutating func startElection(isTransfer: Bool, now: Microseconds) {
        setTerm(term + 1, vote: id)
        role = .candidate
        leader = nil
        votes = [:]
        ownVoteToken = 0
        scheduleRetry(now: now)
        pending.effects.append(.following(leader: nil, term: term))
        for voter in configuration.voters where voter != id {
            sendWhenDurable(.voteRequest(voteClaim(isTransfer: isTransfer)), to: voter)
        }
    }

    mutating func receiveVoteRequest(
        _ request: Message.VoteRequest, from candidate: MemberID, now: Microseconds
    ) {
        let free = vote == candidate || (vote == nil && leader == nil)
        let granted =
            free && log.isCovered(byLastIndex: request.lastIndex, lastTerm: request.lastTerm)
        if granted {
            setTerm(term, vote: candidate)
            resetElectionDeadline(now: now)
            sendWhenDurable(.voteResponse(granted: true), to: candidate)
        } else {
            sendWhenTermDurable(.voteResponse(granted: false), to: candidate)
        }
    }

    mutating func countVote(from voter: MemberID, granted: Bool, now: Microseconds) {
        if votes[voter] == nil { votes[voter] = granted }
        if configuration.hasQuorum({ votes[$0] == true }) {
            becomeLeader(now: now)
        } else if configuration.hasQuorum({ votes[$0] == false }) {
            let retry = electionDeadline
            becomeFollower(term: term, leader: nil, now: now)
            if fastElectionsLeft > 0 { electionDeadline = retry }
        }
    }

    private mutating func becomeLeader(now: Microseconds) {
        precondition(role == .candidate && vote == id, "only a candidate becomes leader")
        precondition(disk.isHardStateDurable, "a leader's own vote must be on disk")
        role = .leader
        leader = id
        votes = [:]
        fastElectionsLeft = 0
        rounds = ReadRounds()
        transfer = nil
        progress = ProgressTable()
        syncProgressWithConfiguration(now: now)
        uncommittedBytes = 0
        if log.lastIndex > commitIndex {
            for index in commitIndex + 1...log.lastIndex {
                uncommittedBytes += log.byteCount(at: index)
            }
        }
        // The no-op below is the first sign of life.
        heartbeatDeadline = now + settings.heartbeatIntervalMicroseconds
        quorumCheckDeadline = now + settings.electionTimeoutMicroseconds
        termFirstIndex = log.lastIndex + 1
        pending.effects.append(.becameLeader(term: term, noOpIndex: termFirstIndex))
        appendOwn(
            EntryMetadata(
                term: term, digest: settings.noOpDigest, byteCount: settings.noOpByteCount))
    }
}
