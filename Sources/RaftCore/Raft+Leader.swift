/// A leader's work: proposals, replication, commit, and the check that a quorum still answers.
extension Raft {
    /// An entry somebody wants in the log.
    public struct Proposal: Equatable, Sendable {
        /// Number of its bytes.
        public var byteCount: UInt32
        /// Digest of its bytes.
        public var digest: UInt64
        /// The cluster's new configuration, when the entry changes it.
        public var configuration: Configuration?

        /// Creates a proposal.
        public init(byteCount: UInt32, digest: UInt64, configuration: Configuration? = nil) {
            self.byteCount = byteCount
            self.digest = digest
            self.configuration = configuration
        }
    }

    /// What became of a proposal.
    public enum ProposeResult: Equatable, Sendable {
        /// It stands in the log at this index of the current term; not yet committed.
        case accepted(LogIndex)
        /// This member doesn't lead.
        case notLeader
        /// Leadership is being handed over.
        case transferring
        /// Too much is uncommitted already.
        case full
        /// A configuration change must wait: another is uncommitted, or nothing of this term is
        /// committed yet (thesis 4.1 and its 2015 erratum).
        case configurationBusy
        /// The new configuration differs from the one in force by more than one voter, or has none.
        case configurationInvalid
    }

    /// Appends an entry to the leader's log.
    public mutating func propose(_ proposal: Proposal, now: Microseconds) -> ProposeResult {
        guard role == .leader else { return .notLeader }
        guard transfer == nil else { return .transferring }
        guard uncommittedBytes < settings.maxUncommittedBytes else { return .full }
        if let new = proposal.configuration {
            guard configurationIndex <= commitIndex, commitIndex >= termFirstIndex else {
                return .configurationBusy
            }
            guard new.isOneStep(from: configuration), !new.voters.isEmpty else {
                return .configurationInvalid
            }
        }
        appendOwn(
            EntryMetadata(term: term, digest: proposal.digest, byteCount: proposal.byteCount),
            configuration: proposal.configuration)
        if proposal.configuration != nil { syncProgressWithConfiguration(now: now) }
        return .accepted(log.lastIndex)
    }

    mutating func appendOwn(_ entry: EntryMetadata, configuration: Configuration? = nil) {
        log.append(entry, configuration: configuration)
        uncommittedBytes += Int(entry.byteCount)
        pending.mustReplicate = true
    }

    mutating func syncProgressWithConfiguration(now: Microseconds) {
        let members = configuration.members
        for member in progress.members where !configuration.contains(member) {
            progress[member] = nil
        }
        for member in members where member != id && progress[member] == nil {
            progress[member] = Progress(next: log.lastIndex + 1, now: now)
        }
        askEveryVoter()
    }

    // MARK: - Time

    mutating func leaderTimerFired(now: Microseconds) {
        if now >= quorumCheckDeadline {
            quorumCheckDeadline = now + settings.electionTimeoutMicroseconds
            guard hasActiveQuorum(now: now) else {
                // A leader cut off from the majority stops claiming to lead (thesis 6.2).
                becomeFollower(term: term, leader: nil, now: now)
                return
            }
        }
        if let handOver = transfer, now >= handOver.deadline { transfer = nil }
        if now >= roundsDeadline { askEveryVoter() }
        if now >= heartbeatDeadline {
            heartbeatDeadline = now + settings.heartbeatIntervalMicroseconds
            chooseRoundVoters()
            for peer in configuration.members where peer != id { sendHeartbeat(to: peer) }
        }
    }

    private func hasActiveQuorum(now: Microseconds) -> Bool {
        configuration.hasQuorum { voter in
            voter == id
                || progress[voter]!.lastContact + settings.electionTimeoutMicroseconds >= now
        }
    }

    mutating func sendHeartbeat(to peer: MemberID) {
        let commit = min(progress[peer]!.match, commitIndex)
        progress[peer]!.sentCommit = max(progress[peer]!.sentCommit, commit)
        send(.heartbeat(.init(commitIndex: commit, round: rounds.current)), to: peer)
    }

    /// Leadership ended: reads that waited for a round fail, to be asked again elsewhere.
    mutating func abandonLeadership() {
        for read in rounds.removeAll() + earlyReads { failRead(read) }
        earlyReads.removeAll()
        roundVoters = RoundVoters()
        progress = ProgressTable()
        transfer = nil
        uncommittedBytes = 0
        pending.mustReplicate = false
    }

    // MARK: - Replication

    /// Runs once a batch: opens a read round, then sends each peer what it lacks.
    mutating func flushLeader() {
        let newRound = rounds.begin()
        guard newRound != nil || pending.mustReplicate || pending.committed else { return }
        let members = configuration.members
        if newRound != nil || pending.mustReplicate {
            for peer in members where peer != id {
                let sent = replicate(to: peer)
                if newRound != nil, !sent, isAskedForRounds(peer) { sendHeartbeat(to: peer) }
            }
        }
        if newRound != nil { confirmReads() }
        if pending.committed {
            for peer in members where peer != id { pushCommit(to: peer) }
        }
    }

    /// Tells a peer of a new commit index when somebody there waits for it.
    mutating func pushCommit(to peer: MemberID) {
        guard let state = progress[peer], state.wantsCommits else { return }
        if min(state.match, commitIndex) > state.sentCommit { sendHeartbeat(to: peer) }
    }

    /// Sends appends as far as the peer's window allows. True if at least one was sent.
    @discardableResult
    mutating func replicate(to peer: MemberID) -> Bool {
        var sent = false
        while true {
            // Not one copy of it all: the list of appends in flight would be copied when it changes.
            let next = progress[peer]!.next
            switch progress[peer]!.mode {
            case .probe(let awaitingAnswer):
                if awaitingAnswer || !progress[peer]!.isConnected { return sent }
            case .replicate:
                if next > log.lastIndex || progress[peer]!.inflight.isFull(settings) {
                    return sent
                }
            case .reading, .snapshot:
                return sent
            }
            if next - 1 < log.base.index {
                beginSnapshot(to: peer)
                return sent
            }
            let range = nextRange(from: next)
            if let range, range.lowerBound < firstCachedIndex {
                progress[peer]!.mode = .reading(range)
                pending.effects.append(.readLog(for: peer, range: range))
                return sent
            }
            sendAppend(range, to: peer)
            sent = true
        }
    }

    private mutating func beginSnapshot(to peer: MemberID) {
        progress[peer]!.becomeSnapshot(snapshot.position.index)
        pending.effects.append(.sendSnapshot(to: peer))
    }

    /// The entries one message may hold, from `first` on; nil when there are none.
    private func nextRange(from first: LogIndex) -> ClosedRange<LogIndex>? {
        guard first <= log.lastIndex else { return nil }
        var bytes = 0
        var last = first - 1
        while last < log.lastIndex, last + 1 - first < LogIndex(settings.maxMessageEntries) {
            bytes += log.byteCount(at: last + 1)
            if bytes > settings.maxMessageBytes, last >= first { break }
            last += 1
            // Entries in memory and entries on disk don't share a message.
            if first < firstCachedIndex, last + 1 >= firstCachedIndex { break }
        }
        return first...last
    }

    private mutating func sendAppend(_ range: ClosedRange<LogIndex>?, to peer: MemberID) {
        let next = progress[peer]!.next
        let append = Message.Append(
            previous: log.position(at: next - 1)!,
            entries: range.map { log.entries($0) } ?? [],
            configurations: range.map { log.configurations(in: $0) } ?? [],
            commitIndex: commitIndex, round: rounds.current)
        send(.append(append), to: peer)
        progress[peer]!.sentCommit = max(
            progress[peer]!.sentCommit, min(commitIndex, append.lastIndex))
        switch progress[peer]!.mode {
        case .probe:
            progress[peer]!.mode = .probe(awaitingAnswer: true)
        case .replicate:
            guard let range else { return }
            let bytes = range.reduce(0) { $0 + log.byteCount(at: $1) }
            progress[peer]!.inflight.add(lastIndex: range.upperBound, byteCount: bytes)
            progress[peer]!.next = range.upperBound + 1
        case .reading, .snapshot:
            preconditionFailure("no append is sent while the peer waits for other bytes")
        }
    }

    mutating func logRead(for peer: MemberID, range: ClosedRange<LogIndex>) {
        guard role == .leader, case .reading(let wanted)? = progress[peer]?.mode else { return }
        guard wanted == range else { return }
        let isKnownToMatch = progress[peer]!.match + 1 == range.lowerBound
        progress[peer]!.mode = isKnownToMatch ? .replicate : .probe(awaitingAnswer: false)
        guard range.lowerBound > log.base.index, range.upperBound <= log.lastIndex else {
            progress[peer]!.becomeProbe()
            replicate(to: peer)
            return
        }
        progress[peer]!.next = range.lowerBound
        sendAppend(range, to: peer)
    }

    mutating func peerDisconnected(_ peer: MemberID) {
        progress[peer]?.isConnected = false
        askEveryVoter()
    }

    mutating func peerConnected(_ peer: MemberID, now: Microseconds) {
        if role == .leader {
            guard progress[peer] != nil else { return }
            progress[peer]!.isConnected = true
            if case .snapshot = progress[peer]!.mode {} else { progress[peer]!.becomeProbe() }
            sendHeartbeat(to: peer)
            replicate(to: peer)
        } else if leader == nil, fastElectionsLeft == 0, canCampaign,
            configuration.isVoter(peer)
        {
            // Somebody to ask has appeared: try soon instead of at the end of the timeout.
            fastElectionsLeft = 1
            let soon = now + random.next(in: Self.fastRetryMicroseconds)
            electionDeadline = min(electionDeadline, soon)
        }
    }

    // MARK: - Answers

    mutating func receiveAppendResponse(
        _ response: Message.AppendResponse, from peer: MemberID, now: Microseconds
    ) {
        guard role == .leader, progress[peer] != nil else { return }
        noteContact(
            peer, round: response.round, wantsCommits: response.wantsCommits, now: now)
        switch response.outcome {
        case .matched(let index):
            guard index <= log.lastIndex else { return }  // Never sent: the peer's fault.
            matched(index, peer: peer, now: now)
        case .rejected(let previous, let hintIndex, let hintTerm):
            rejected(previous: previous, hintIndex: hintIndex, hintTerm: hintTerm, peer: peer)
        }
        confirmReads()
    }

    private mutating func matched(_ index: LogIndex, peer: MemberID, now: Microseconds) {
        let advanced = progress[peer]!.advanceMatch(to: index)
        switch progress[peer]!.mode {
        case .probe:
            progress[peer]!.becomeReplicate()
        case .snapshot(let pendingIndex):
            if progress[peer]!.match >= pendingIndex { progress[peer]!.becomeReplicate() }
        case .replicate, .reading:
            break
        }
        if advanced {
            advanceCommit(now: now)
            finishTransferIfCaughtUp(peer)
        }
        if role == .leader { replicate(to: peer) }
        if role == .leader { pushCommit(to: peer) }
    }

    private mutating func rejected(
        previous: LogIndex, hintIndex: LogIndex, hintTerm: Term, peer: MemberID
    ) {
        let state = progress[peer]!
        switch state.mode {
        case .replicate:
            if previous <= state.match { return }  // An old answer, reordered.
        case .probe:
            if previous != state.next - 1 { return }
        case .reading, .snapshot:
            return
        }
        progress[peer]!.becomeProbe()
        let agreed =
            hintIndex < log.base.index
            ? hintIndex : log.lastIndex(notAfter: hintIndex, termAtMost: hintTerm)
        progress[peer]!.next = max(state.match, min(agreed, previous - 1)) + 1
        replicate(to: peer)
    }

    mutating func receiveHeartbeatResponse(
        _ response: Message.HeartbeatResponse, from peer: MemberID, now: Microseconds
    ) {
        guard role == .leader, progress[peer] != nil else { return }
        noteContact(
            peer, round: response.round, wantsCommits: response.wantsCommits, now: now)
        confirmReads()
        guard progress[peer]!.match < log.lastIndex else { return }
        switch progress[peer]!.mode {
        case .probe(awaitingAnswer: true):
            // The peer lives but the probe or its answer may be lost.
            progress[peer]!.mode = .probe(awaitingAnswer: false)
            replicate(to: peer)
        case .probe, .replicate:
            if !replicate(to: peer), case .replicate = progress[peer]!.mode { tellOfLoss(to: peer) }
        case .reading, .snapshot:
            break
        }
    }

    /// An append may be lost without a trace; an empty one behind it tells. What stood before it may
    /// be compacted meanwhile: then only a snapshot helps.
    private mutating func tellOfLoss(to peer: MemberID) {
        if progress[peer]!.next - 1 < log.base.index {
            beginSnapshot(to: peer)
        } else {
            sendAppend(nil, to: peer)
        }
    }

    private mutating func noteContact(
        _ peer: MemberID, round: UInt64, wantsCommits: Bool, now: Microseconds
    ) {
        progress[peer]!.lastContact = now
        progress[peer]!.wantsCommits = wantsCommits
        progress[peer]!.acknowledgedRound = max(progress[peer]!.acknowledgedRound, round)
        roundVoters.answered(peer, round: round)
    }

    // MARK: - Commit

    /// Commits what a quorum of voters has on disk, if it is of this term (thesis 3.6.2).
    mutating func advanceCommit(now: Microseconds) {
        let reached = configuration.quorumIndex { voter in
            voter == id ? disk.durableIndex : progress[voter]!.match
        }
        guard reached > commitIndex, log.term(at: reached) == term else { return }
        for index in commitIndex + 1...reached { uncommittedBytes -= log.byteCount(at: index) }
        let isFirstOfTerm = commitIndex < termFirstIndex
        commitIndex = reached
        pending.committed = true
        if isFirstOfTerm { releaseEarlyReads() }
        if configurationIndex <= commitIndex, !configuration.isVoter(id) {
            // The entry that removed this member is committed, or what it campaigned for without
            // being a voter: its work is done (thesis 4.2.2).
            for peer in configuration.members where peer != id { sendHeartbeat(to: peer) }
            becomeFollower(term: term, leader: nil, now: now)
            // A quorum has what only this member had: it would only keep others from leading.
            isCountedOn = false
        }
    }
}
