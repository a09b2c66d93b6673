/// One member's consensus state.
///
/// Call `step`, `propose` or `read` any number of times, then `flush` once: messages, writes and
/// read rounds of the whole batch are merged there.
public struct Raft: Equatable, Sendable {
    /// What a member is at the moment.
    public enum Role: Equatable, Sendable {
        /// Follows a leader or waits for one.
        case follower
        /// Asks whether an election could succeed (thesis 9.6).
        case preCandidate
        /// Asks for votes (thesis 3.4).
        case candidate
        /// Leads.
        case leader
    }

    /// This member.
    public let id: MemberID
    /// How it behaves.
    public let settings: RaftSettings
    /// Its current term.
    public internal(set) var term: Term
    /// Whom it voted for in this term.
    public internal(set) var vote: MemberID?
    /// Its role.
    public internal(set) var role: Role = .follower
    /// The leader of this term, when known.
    public internal(set) var leader: MemberID?
    /// Everything up to here is committed.
    public internal(set) var commitIndex: LogIndex
    /// The newest snapshot of the applied state that is durable here.
    public internal(set) var snapshot: SnapshotMark
    /// First entry whose bytes the shell has in memory; older ones are asked for by `readLog`.
    public var firstCachedIndex: LogIndex = 1

    var log: EntryLog
    var disk: DurabilityQueue
    var random: RandomStream

    // Leader's.
    var progress = ProgressTable()
    var rounds = ReadRounds()
    var roundVoters = RoundVoters()
    /// Reads that arrived before anything of this term was committed.
    var earlyReads: [ReadRounds.Read] = []
    var uncommittedBytes = 0
    var termFirstIndex: LogIndex = 0
    var transfer: Transfer?
    var heartbeatDeadline: Microseconds = 0
    var quorumCheckDeadline: Microseconds = 0

    // Candidate's.
    var votes: [MemberID: Bool] = [:]
    var ownVoteToken: UInt64?

    // Follower's.
    var electionDeadline: Microseconds = 0
    var lastLeaderContact: Microseconds = 0
    var fastElectionsLeft = 0
    /// Whether others count this member as a voter, and have older logs, since it last heard a leader.
    var isCountedOn = false
    var wantsCommits = false

    // Collected until the next flush.
    var pending = PendingOutput()

    /// A hand-over of leadership under way.
    struct Transfer: Equatable, Sendable {
        var target: MemberID
        var deadline: Microseconds
    }

    /// What a batch of events led to so far.
    struct PendingOutput: Equatable, Sendable {
        var effects: [Effect] = []
        var sends: [Message] = []
        var durableSends: [Message] = []
        var hardStateChanged = false
        var truncation: LogIndex?
        var reset: SnapshotMark?
        var committed = false
        var mustReplicate = false

        var isEmpty: Bool {
            effects.isEmpty && sends.isEmpty && durableSends.isEmpty && !hardStateChanged
                && truncation == nil && !hasReset && !committed && !mustReplicate
        }

        /// By its case: to compare a mark with nil copies it.
        private var hasReset: Bool { if case .some = reset { true } else { false } }
    }

    /// A member as it was when its disk was last synced.
    ///
    /// - Parameters:
    ///   - snapshot: the newest durable snapshot, which the shell has restored.
    ///   - base: where the log that is still on disk begins, at or before the snapshot.
    ///   - baseConfiguration: the configuration in force there.
    ///   - entries: the log behind the base.
    ///   - durableIndex: entries up to here are durable for certain. The others, term and vote are
    ///     being written once more, and `persisted(recoveryToken)` says when they are.
    ///   - commitIndex: an index known to be committed, at most the log's last.
    ///   - seed: start of the member's stream of random numbers.
    ///   - now: the time.
    public init(
        id: MemberID, settings: RaftSettings, hardState: HardState, snapshot: SnapshotMark,
        base: LogPosition, baseConfiguration: Configuration,
        entries: [(entry: EntryMetadata, configuration: Configuration?)],
        durableIndex: LogIndex, commitIndex: LogIndex, seed: UInt64, now: Microseconds
    ) {
        precondition(id != 0, "zero is no member id")
        precondition(base.index <= snapshot.position.index, "the log begins behind its snapshot")
        self.id = id
        self.settings = settings
        self.term = hardState.term
        self.vote = hardState.vote
        self.snapshot = snapshot
        self.log = EntryLog(base: base, configuration: baseConfiguration)
        for (entry, configuration) in entries {
            self.log.append(entry, configuration: configuration)
        }
        precondition(log.lastIndex >= snapshot.position.index, "the log ends before its snapshot")
        self.commitIndex = max(snapshot.position.index, commitIndex)
        precondition(self.commitIndex <= log.lastIndex, "committed entries are missing")
        precondition(log.lastTerm <= term, "an entry is newer than the recorded term")
        self.disk = DurabilityQueue(durableIndex: durableIndex, lastIndex: log.lastIndex)
        self.random = RandomStream(seed: seed)
        self.lastLeaderContact = 0
        scheduleFastElection(now: now)
    }

    /// The token of the write that recovery itself makes.
    public static var recoveryToken: UInt64 { DurabilityQueue.recoveryToken }
    /// Whether that write is on disk: until then a loss of power may take away what was read back.
    public var isRecoveryDurable: Bool { disk.completedToken >= DurabilityQueue.recoveryToken }
    /// The configuration in force: the newest in the log, committed or not (thesis 4.1).
    public var configuration: Configuration { log.configuration }
    /// Index of the entry that brought it.
    public var configurationIndex: LogIndex { log.configurationIndex }
    /// Index of the last entry, durable or not.
    public var lastIndex: LogIndex { log.lastIndex }
    /// First entry in the log.
    public var firstIndex: LogIndex { log.firstIndex }
    /// Everything up to here is on this member's disk.
    public var durableIndex: LogIndex { disk.durableIndex }
    /// Whether this member leads.
    public var isLeader: Bool { role == .leader }
    /// Whether leadership is being handed over, so that proposals are refused.
    public var isTransferring: Bool { transfer != nil }
    /// Term of an entry in the log, nil outside it.
    public func term(at index: LogIndex) -> Term? { log.term(at: index) }
    /// Position of an entry in the log, nil outside it.
    public func position(at index: LogIndex) -> LogPosition? { log.position(at: index) }
    /// Size of an entry in the log.
    package func byteCount(at index: LogIndex) -> Int { log.byteCount(at: index) }
    /// What the log holds at an index behind its base.
    package func metadata(
        at index: LogIndex
    ) -> (entry: EntryMetadata, configuration: Configuration?) {
        let configuration = log.configurations(in: index...index).first?.configuration
        return (log.entry(at: index), configuration)
    }
    /// Number of configurations in the log behind an index.
    package func configurations(behind index: LogIndex) -> Int {
        log.configurations.count { $0.index > index }
    }
    /// The configuration in force at an index in the log.
    public func configuration(at index: LogIndex) -> Configuration { log.configuration(at: index) }

    /// How far each other member has come, by id ascending. Empty unless this member leads.
    public var peerStates: [PeerState] {
        progress.members.map { member in
            let state = progress[member]!
            return PeerState(
                member: member, match: state.match, lastContact: state.lastContact)
        }
    }

    /// How far each peer's durable log agrees with this leader's, by id ascending.
    package var peerMatches: [(member: MemberID, match: LogIndex)] {
        progress.members.map { ($0, progress[$0]!.match) }
    }

    /// A leader's view of one peer.
    public struct PeerState: Equatable, Sendable {
        /// The peer.
        public var member: MemberID
        /// Its durable log agrees with the leader's up to here.
        public var match: LogIndex
        /// When it last answered.
        public var lastContact: Microseconds
    }

    /// When `step(.timer)` is due next.
    public var nextDeadline: Microseconds {
        switch role {
        case .leader:
            min(
                min(heartbeatDeadline, quorumCheckDeadline),
                min(transfer?.deadline ?? .max, roundsDeadline))
        case .follower, .preCandidate, .candidate:
            canCampaign ? electionDeadline : .max
        }
    }

    /// Takes one event in. Its consequences appear at the next `flush`.
    public mutating func step(_ event: Event, now: Microseconds) {
        switch event {
        case .timer: timerFired(now: now)
        case .receive(let message): receive(message, now: now)
        case .persisted(let token): persisted(token: token, now: now)
        case .logRead(let peer, let range): logRead(for: peer, range: range)
        case .peerConnected(let peer): peerConnected(peer, now: now)
        case .peerDisconnected(let peer): peerDisconnected(peer)
        case .leaderProcessGone(let leader, let term):
            leaderProcessGone(leader, term: term, now: now)
        case .snapshotSent(let peer, let succeeded):
            snapshotSent(to: peer, succeeded: succeeded)
        case .snapshotReceived(let mark, let leader, let term):
            snapshotReceived(mark, from: leader, term: term, now: now)
        case .snapshotWritten(let mark): snapshotWritten(mark)
        case .transferLeadership(let target): transferLeadership(to: target, now: now)
        case .commitInterest(let wanted): wantsCommits = wanted
        }
    }

    /// Ends a batch: hands out everything the events since the last flush led to.
    public mutating func flush(into effects: inout [Effect]) {
        if role == .leader { flushLeader() }
        // Most batches are flushed once more than they have to say.
        guard !pending.isEmpty || disk.handedIndex < log.lastIndex else { return }
        effects.append(contentsOf: pending.effects)
        if let persist = takePersist() { effects.append(.persist(persist)) }
        for message in pending.sends { effects.append(.send(message)) }
        if pending.committed { effects.append(.commit(through: commitIndex)) }
        pending = PendingOutput()
    }

    private mutating func takePersist() -> Persist? {
        let handed = pending.reset?.position.index ?? disk.handedIndex
        let entries = handed < log.lastIndex ? handed + 1...log.lastIndex : nil
        let hardState = pending.hardStateChanged ? HardState(term: term, vote: vote) : nil
        guard
            pending.reset != nil || pending.truncation != nil || entries != nil
                || hardState != nil || !pending.durableSends.isEmpty
        else { return nil }
        let token = disk.begin(lastIndex: log.lastIndex, carriesHardState: hardState != nil)
        if ownVoteToken == 0 { ownVoteToken = token }
        return Persist(
            token: token, reset: pending.reset, truncation: pending.truncation, entries: entries,
            hardState: hardState, thenSend: pending.durableSends)
    }

    private mutating func timerFired(now: Microseconds) {
        switch role {
        case .leader: leaderTimerFired(now: now)
        case .follower, .preCandidate, .candidate:
            if canCampaign, now >= electionDeadline { campaign(now: now) }
        }
    }

    private mutating func persisted(token: UInt64, now: Microseconds) {
        disk.complete(token: token)
        if let ownVote = ownVoteToken, ownVote != 0, token >= ownVote {
            ownVoteToken = nil
            if role == .candidate { countVote(from: id, granted: true, now: now) }
        }
        if role == .leader { advanceCommit(now: now) }
    }

    // MARK: - Sending

    func message(to peer: MemberID, _ body: Message.Body) -> Message {
        Message(from: id, to: peer, term: term, body: body)
    }

    mutating func send(_ body: Message.Body, to peer: MemberID) {
        pending.sends.append(message(to: peer, body))
    }

    /// Sends once everything this batch and earlier ones changed is on disk.
    mutating func sendWhenDurable(_ body: Message.Body, to peer: MemberID) {
        if disk.isIdle, !hasUnpersistedChanges {
            send(body, to: peer)
        } else {
            pending.durableSends.append(message(to: peer, body))
        }
    }

    /// Sends once the current term is on disk; entries may still be under way.
    mutating func sendWhenTermDurable(_ body: Message.Body, to peer: MemberID) {
        if !pending.hardStateChanged, disk.isHardStateDurable {
            send(body, to: peer)
        } else {
            pending.durableSends.append(message(to: peer, body))
        }
    }

    private var hasUnpersistedChanges: Bool {
        pending.hardStateChanged || pending.truncation != nil || pending.reset != nil
            || disk.handedIndex < log.lastIndex
    }

    // MARK: - Terms and roles

    /// Adopts a term; promises of the old one that haven't left are dropped, for the entries
    /// behind them may never reach the disk.
    mutating func setTerm(_ newTerm: Term, vote newVote: MemberID?) {
        precondition(newTerm >= term, "a term never decreases")
        precondition(newTerm > term || vote == nil || newVote == vote, "one vote in a term")
        if newTerm > term { pending.durableSends.removeAll() }
        guard newTerm != term || newVote != vote else { return }
        term = newTerm
        vote = newVote
        pending.hardStateChanged = true
    }

    mutating func becomeFollower(term newTerm: Term, leader newLeader: MemberID?, now: Microseconds)
    {
        let changed = newTerm != term || newLeader != leader || role != .follower
        if role == .leader { abandonLeadership() }
        setTerm(newTerm, vote: newTerm == term ? vote : nil)
        role = .follower
        leader = newLeader
        ownVoteToken = nil
        votes.removeAll()
        if newLeader != nil { fastElectionsLeft = 0 }
        resetElectionDeadline(now: now)
        if changed { pending.effects.append(.following(leader: newLeader, term: term)) }
    }

    mutating func resetElectionDeadline(now: Microseconds) {
        let timeout = settings.electionTimeoutMicroseconds
        electionDeadline = now + random.next(in: timeout..<2 * timeout)
    }
}
