import DurableLog
import EtcdWire
import KVCore
import RaftCore

//  Replica: one member of the cluster as a state machine.
//
//  It joins consensus (RaftCore), the map (KVCore) and the log's bookkeeping (DurableLog): events
//  go in through `handle`, effects come out. A shell gives it threads, sockets, files and time:
//  `KVServer` in production, a simulator in tests; both run this very code.
//
//  What it promises
//  - A write is answered when this member has applied it, from its own state, and never before a
//    quorum has it on disk.
//  - A read is linearizable unless it asked to be serializable: one read round covers all reads
//    that arrived together, and is served when the member has applied that far.
//  - A write goes to one leader at most once. What became of a write whose leader was lost is
//    told as unknown, unless it provably never left this member.
//  - Time and randomness enter with events only; two replicas fed the same events stay equal.
//
//  What it doesn't do
//  - It opens no connection: who may talk as which member is checked by the shell's hello.
//  - It doesn't measure how full a client's socket is; the shell says `watchPaused`.

/// Names a client's call until it is answered; the shell chooses it and never reuses it.
public typealias RequestID = UInt64
/// Names a client's watch stream; the shell chooses it and never reuses it.
public typealias WatchStreamID = UInt64

/// What a member is configured with.
public struct ReplicaSettings: Sendable {
    /// Consensus.
    public var raft = RaftSettings()
    /// The log.
    public var log = DurableLogSettings()
    /// The map.
    public var store = StoreLimits()
    /// What is read at once for a range, while everything else waits; a larger one is read in
    /// steps. Chosen so that common ranges stay below it; where steps begin to pay isn't measured.
    public var directRange = RangeBounds(visits: 1_024, bytes: 256 << 10)
    /// Operations in each list of a transaction.
    public var maxTxnOperations = 128
    /// Entry bytes handed to the disk and not yet synced beyond which writes are refused.
    public var maxUnsyncedBytes = 64 << 20
    /// Bytes of writes that may wait for a leader.
    public var maxUnsentBytes = 64 << 20
    /// How long a call may wait before it is answered with an error.
    public var requestTimeoutMicroseconds: Microseconds = 5_000_000
    /// Calls that may wait here at the same time; more are refused.
    public var maxParkedRequests = 100_000
    /// Log bytes since the last snapshot that lead to the next one, if that is larger than the last
    /// snapshot itself.
    public var snapshotLogBytes = 128 << 20
    /// Entries since the last snapshot that lead to the next one.
    public var snapshotEntries: UInt64 = .max
    /// Entries kept behind a snapshot for followers that are a little behind.
    public var retainedEntries: UInt64 = 5_000
    /// Bytes of those entries, at most: a start reads them all.
    public var retainedBytes = 16 << 20
    /// How long the log must rest before its last batch is protected by a marker.
    public var idleMarkerMicroseconds: Microseconds = 200_000
    /// Bytes of applied entries kept in memory for followers that are a little behind.
    public var maxTailBytes = 16 << 20
    /// How often the remaining times of long leases are recorded.
    public var leaseCheckpointMicroseconds: Microseconds = 300_000_000
    /// How often an idle watch that asked for it hears that nothing happened (etcd's interval).
    public var watchProgressMicroseconds: Microseconds = 600_000_000
    /// Bytes of history that watchers which are behind get in one go.
    public var watchCatchUpBytes = 1 << 20

    /// The defaults.
    public init() {}

    /// The shortest lease, in seconds: ⌈1.5 × election timeout⌉.
    var minLeaseSeconds: Int64 {
        Int64((raft.electionTimeoutMicroseconds * 3 / 2 + 999_999) / 1_000_000)
    }
}

/// One member of the cluster.
public struct Replica: ~Copyable {
    /// Whose data directory this is.
    public let identity: DirectoryIdentity
    /// The incarnation of this process; part of every entry's origin.
    public let boot: UInt64
    let settings: ReplicaSettings
    /// In the header of each answer.
    let responseIdentity: ResponseHeader.Identity
    /// What this member tells the cluster about itself.
    let attributes: MemberAttributes

    private(set) var applyObserver: ApplyObserver?

    var core: Raft
    var store: Store
    var log: DurableLog
    var hub: WatchHub
    var deliveries: [WatchDelivery] = []
    var watchersAreBehind = false
    var progressDeadline: Microseconds
    var tail: EntryTail

    /// The time of the event being handled.
    var now: Microseconds
    /// When `.timer` is due next. Kept: who asks is spared a copy of all that it depends on.
    public private(set) var nextDeadline: Microseconds = 0
    /// The seed is the only entropy a replica gets.
    var random: RandomStream
    var effects: [ReplicaEffect] = []
    /// Becomes the last effect of the event being handled. An effect for each took 300 instructions
    /// more.
    private var answers: [Answer] = []
    var raftEffects: [Effect] = []
    var logOutputs: [LogOutput] = []

    /// Messages that wait for a write, by its token.
    var waitingForDisk: [(token: UInt64, messages: [Message])] = []
    /// Entry bytes that came with the append being handled.
    var received: (first: LogIndex, bytes: [[UInt8]])?
    /// Entries read back for a lagging peer.
    var readBack: (peer: MemberID, first: LogIndex, bytes: [[UInt8]])?
    /// The append that was encoded last, and its frame.
    private var lastAppend: SentAppend?
    var logReads: [UInt64: (peer: MemberID, range: ClosedRange<LogIndex>)] = [:]
    var nextLogRead: UInt64 = 1

    var writes = PendingWrites()
    /// Entries to be forwarded at the end of this event.
    var forwards: [[UInt8]] = []
    var reads: PendingReads
    /// Peers whose main link from here is up; membership is all that is asked of the set.
    var connectedPeers: Set<MemberID> = []
    /// Whether leadership was being handed over when the clock was last looked at.
    var wasTransferring = false
    /// By context, which begins at random, so that an answer meant for an earlier life of this
    /// member is none for this one.
    var leaseCalls: WaitingCalls<PendingLeaseCall>
    /// Contexts of answered calls, by the index that must be applied here first.
    var answeredLeaseCalls = MinHeap<UInt64>()
    var leases = LeaseClock()
    var announceAgainAt: Microseconds = .max
    /// Entries that clear a lease's checkpoint and aren't applied yet.
    var clearing: [Int64: LogIndex] = [:]

    var snapshots: SnapshotState
    var compactionPending = false
    var lastLogActivity: Microseconds
    var toldCommitInterest = false
    var isStopping = false

    /// Told of each entry before and after it is applied, so that a shell can find out after a
    /// crash which one it was.
    public struct ApplyObserver: Sendable {
        let begin: @Sendable (LogIndex) -> Void
        let end: @Sendable () -> Void

        /// Creates an observer.
        public init(
            begin: @escaping @Sendable (LogIndex) -> Void, end: @escaping @Sendable () -> Void
        ) {
            self.begin = begin
            self.end = end
        }
    }

    private struct SentAppend {
        let term: Term
        let append: Message.Append
        let frame: [UInt8]

        func says(_ append: Message.Append, in term: Term) -> Bool {
            term == self.term && append == self.append
        }
    }

    /// A member that continues from what its directory held.
    public init(
        recovered: RecoveredReplica, settings: ReplicaSettings, attributes: MemberAttributes,
        boot: UInt64, seed: UInt64, now: Microseconds, applyObserver: ApplyObserver? = nil
    ) {
        self.applyObserver = applyObserver
        self.identity = recovered.identity
        self.responseIdentity = ResponseHeader.Identity(
            clusterID: recovered.identity.clusterID, memberID: recovered.identity.memberID)
        self.settings = settings
        self.attributes = attributes
        self.boot = boot
        self.now = now
        self.lastLogActivity = now
        self.random = RandomStream(seed: seed)
        self.reads = PendingReads(firstContext: random.next())
        self.leaseCalls = WaitingCalls(firstNumber: random.next())
        let noOp = Envelope.encode(kind: .noop, origin: Replica.noOrigin, body: [])
        var raftSettings = settings.raft
        raftSettings.noOpByteCount = UInt32(noOp.count)
        raftSettings.noOpDigest = entryDigest(noOp)
        self.core = recovered.makeRaft(
            settings: raftSettings, seed: random.next(), now: now)
        self.tail = recovered.makeTail(maxAppliedBytes: settings.maxTailBytes)
        self.snapshots = SnapshotState(
            mark: core.snapshot, byteCount: recovered.snapshotByteCount,
            logBytes: recovered.logByteCount, base: recovered.log.base)
        self.snapshots.obsolete = recovered.olderSnapshots
        for membership in recovered.coveredMemberships {
            snapshots.noteMembership(membership.record, at: membership.index)
        }
        self.log = DurableLog(
            continuing: recovered.takeLog(), identity: recovered.identity, settings: settings.log,
            token: Raft.recoveryToken)
        self.progressDeadline = now + settings.watchProgressMicroseconds
        let store = recovered.takeStore()
        self.hub = WatchHub(revision: store.revision)
        self.store = store
        core.firstCachedIndex = tail.firstIndex
        while !isStopping, self.store.appliedIndex < core.commitIndex {
            apply(through: self.store.appliedIndex + 1)
            trimTail()  // What an entry took is memory for the next one's versions.
        }
        nextDeadline = earliestDeadline()
    }

    static let noOrigin = Origin(member: 0, boot: 0, sequence: 0)

    /// This member's id.
    public var id: MemberID { identity.memberID }

    /// Takes one event in and adds what it led to.
    public mutating func handle(
        _ event: consuming ReplicaEvent, now: Microseconds, into sink: inout [ReplicaEffect]
    ) {
        precondition(now >= self.now, "the monotonic clock went backwards")
        self.now = now
        switch consume event {
        case .start:
            announceIfNeeded()
        case .timer:
            timerFired()
        case .requests(let requests):
            for request in requests { accept(request) }
        case .cancelled(let request):
            reads.cancel(request)
        case .watch(let stream, let bytes):
            watchRequest(bytes, stream: stream)
        case .watchPaused(let stream):
            hub.pause(stream: stream)
        case .watchResumed(let stream):
            hub.resume(stream: stream)
            watchersAreBehind = true
        case .watchClosed(let stream):
            hub.closeStream(stream)
        case .peerFrame(let peer, let frame):
            receive(frame, from: peer)
        case .peerConnected(let peer):
            peerConnected(peer)
        case .peerDisconnected(let peer):
            connectedPeers.remove(peer)
            core.step(.peerDisconnected(peer), now: now)
        case .peerProcessGone(let peer):
            peerProcessGone(peer)
        case .diskCompleted(let completion):
            if completion.operation < Replica.removalOperationBase {
                log.completed(completion)
            } else {
                snapshotRemoved(operation: completion.operation)
            }
        case .snapshotWritten(let outcome):
            snapshotWritten(outcome)
        case .snapshotSent(let peer, let succeeded):
            snapshotSent(to: peer, succeeded: succeeded)
        case .snapshotReceived(let snapshot, let sender, let term):
            snapshotReceived(snapshot, from: sender, term: term)
        case .transferLeadership(let target):
            core.step(.transferLeadership(to: target), now: now)
        }
        settle()
        nextDeadline = earliestDeadline()
        if received != nil { received = nil }
        if !answers.isEmpty {
            effects.append(.respond(answers))
            answers = []
        }
        if sink.isEmpty {
            swap(&sink, &effects)  // Spares every effect a copy.
        } else {
            sink.append(contentsOf: effects)
            effects.removeAll(keepingCapacity: true)
        }
    }

    /// Answers a call.
    mutating func respond(_ request: RequestID, _ message: [UInt8]) {
        answers.append(Answer(request: request, message: message))
    }

    private func earliestDeadline() -> Microseconds {
        // Two at a time: of more, `min` makes an array.
        var deadline = core.nextDeadline
        deadline = min(deadline, writes.nextDeadline ?? .max)
        deadline = min(deadline, reads.nextDeadline ?? .max)
        if core.isLeader { deadline = min(deadline, leases.nextDeadline) }
        if log.wantsMarker {
            deadline = min(deadline, lastLogActivity + settings.idleMarkerMicroseconds)
        }
        deadline = min(deadline, min(progressDeadline, announceAgainAt))
        deadline = min(deadline, leaseCalls.nextDeadline ?? .max)
        if compactionPending || watchersAreBehind {
            deadline = min(deadline, now + Replica.backgroundStepMicroseconds)
        }
        return deadline
    }

    /// Pause between the steps of work that has no deadline of its own.
    static let backgroundStepMicroseconds: Microseconds = 1_000

    private mutating func timerFired() {
        core.step(.timer, now: now)
        if wasTransferring, core.isLeader, !core.isTransferring {
            sendUnsentWrites()
            reads.resume()
        }
        wasTransferring = core.isTransferring
        failExpiredRequests()
        runLeaseClock()
        if now >= announceAgainAt { announceIfNeeded() }
        if log.wantsMarker, now >= lastLogActivity + settings.idleMarkerMicroseconds {
            log.writeMarker()
        }
        trimHistory()
        notifyWatchProgress()
    }

    // MARK: - Carrying out what consensus decides

    /// Runs until consensus and log have nothing more to say to one another.
    mutating func settle() {
        var hasDecided: Bool
        repeat {
            issueReads()
            sendForwards()
            tellCommitInterest()
            hasDecided = carryOutDecisions()
            drainLog()
        } while hasDecided || !logOutputs.isEmpty || !forwards.isEmpty
        deliverWatches()
        takeSnapshotIfDue()
        removeObsoleteSnapshots()
        trimTail()
    }

    /// Lets go of entry bytes in memory. What isn't on this disk yet couldn't be read back from it.
    private mutating func trimTail() {
        tail.trim(applied: min(store.appliedIndex, core.durableIndex))
        core.firstCachedIndex = tail.firstIndex
    }

    /// Carries out what consensus has decided; false if that was nothing.
    private mutating func carryOutDecisions() -> Bool {
        if !raftEffects.isEmpty { raftEffects.removeAll(keepingCapacity: true) }
        core.flush(into: &raftEffects)
        for effect in raftEffects { carryOut(effect) }
        return !raftEffects.isEmpty
    }

    private mutating func carryOut(_ effect: Effect) {
        switch effect {
        case .persist(let persist): carryOut(persist)
        case .send(let message): send(message)
        case .commit(let index): apply(through: index)
        case .readReady(let context, let index):
            reads.confirm(context: context, index: index)
            serveReads()
        case .readFailed(let context): reads.fail(context: context, now: now)
        case .readLog(let peer, let range): readLog(range, for: peer)
        case .sendSnapshot(let peer): streamSnapshot(to: peer)
        case .restoreSnapshot(let mark): restore(mark)
        case .becameLeader(let term, let noOpIndex):
            tail.append(
                Envelope.encode(kind: .noop, origin: Replica.noOrigin, body: []), at: noOpIndex)
            becameLeader(term: term)
        case .following(let leader, let term): leaderChanged(to: leader, term: term)
        case .diverged(let index, let leader):
            stop(.diverged(index: index, leader: leader))
        case .peerFault(let peer, let reason):
            effects.append(.peerFault(peer, PeerFault(reason: reason)))
        }
    }

    private mutating func carryOut(_ persist: Persist) {
        lastLogActivity = now
        if let truncation = persist.truncation { tail.truncate(to: truncation) }
        if let reset = persist.reset { tail.reset(firstIndex: reset.position.index + 1) }
        var append = DurableLog.Append(
            vote: persist.hardState.map { RecordedVote(term: $0.term, vote: $0.vote ?? 0) },
            reset: persist.reset.map { snapshots.base(at: $0.position) },
            truncation: persist.truncation)
        if let range = persist.entries {
            keepReceived(range)
            append.entries.reserveCapacity(range.count)
            for index in range {
                guard let bytes = tail[index] else {
                    preconditionFailure("entry \(index) goes to disk, but its bytes are gone")
                }
                snapshots.logBytes += bytes.count
                append.entries.append(
                    LogEntry(index: index, term: core.term(at: index)!, bytes: bytes))
            }
        }
        if !persist.thenSend.isEmpty {
            waitingForDisk.append((persist.token, persist.thenSend))
        }
        log.append(append, token: persist.token, commitIndex: core.commitIndex)
    }

    /// Takes those of a follower's entries that go to disk into the tail, where a leader's own are
    /// already.
    private mutating func keepReceived(_ range: ClosedRange<LogIndex>) {
        guard let received, !received.bytes.isEmpty else { return }
        let last = received.first + LogIndex(received.bytes.count) - 1
        guard range.overlaps(received.first...last) else { return }
        let kept = range.clamped(to: received.first...last)
        tail.truncate(to: kept.lowerBound - 1)
        for index in kept { tail.append(received.bytes[Int(index - received.first)], at: index) }
    }

    private mutating func drainLog() {
        if !logOutputs.isEmpty { logOutputs.removeAll(keepingCapacity: true) }
        log.drain(into: &logOutputs)
        for output in logOutputs {
            switch output {
            case .perform(let operation): effects.append(.disk(operation))
            case .durable(let token): becameDurable(token)
            case .entries(let request, let entries): logRead(request, entries: entries)
            case .entriesGone(let request): logRead(request, entries: [])
            case .failed(let error): stop(.log(error))
            }
        }
    }

    private mutating func becameDurable(_ token: UInt64) {
        while let first = waitingForDisk.first, first.token <= token {
            for message in first.messages { send(message) }
            waitingForDisk.removeFirst()
        }
        core.step(.persisted(token: token), now: now)
    }

    private mutating func readLog(_ range: ClosedRange<LogIndex>, for peer: MemberID) {
        let request = nextLogRead
        nextLogRead += 1
        logReads[request] = (peer, range)
        log.read(range, request: request)
    }

    private mutating func logRead(_ request: UInt64, entries: [LogEntry]) {
        guard let (peer, range) = logReads.removeValue(forKey: request) else { return }
        readBack = (peer, range.lowerBound, entries.map(\.bytes))
        core.step(.logRead(for: peer, range: range), now: now)
        // While the bytes are here.
        _ = carryOutDecisions()
        readBack = nil
    }

    // MARK: - Peers

    mutating func send(_ message: Message) {
        guard let frame = frame(of: message) else { return }
        effects.append(.sendPeer(to: message.to, frame: frame))
    }

    /// The bytes of a message, or nil if entries of it were compacted since it was thought of: the
    /// peer will say so. Followers that keep up get the same entries, which are encoded once.
    private mutating func frame(of message: Message) -> [UInt8]? {
        guard case .append(let append) = message.body, !append.entries.isEmpty else {
            return PeerCodec.encode(.raft(message, entryBytes: []))
        }
        // Not bound by `if let`, which would copy it.
        if lastAppend?.says(append, in: message.term) == true { return lastAppend?.frame }
        var entryBytes: [[UInt8]] = []
        entryBytes.reserveCapacity(append.entries.count)
        for index in append.previous.index + 1...append.lastIndex {
            guard let bytes = tail[index] ?? readBackBytes(index, for: message.to) else {
                return nil
            }
            entryBytes.append(bytes)
        }
        let frame = PeerCodec.encode(.raft(message, entryBytes: entryBytes))
        lastAppend = SentAppend(term: message.term, append: append, frame: frame)
        return frame
    }

    private func readBackBytes(_ index: LogIndex, for peer: MemberID) -> [UInt8]? {
        guard let readBack, readBack.peer == peer, index >= readBack.first,
            index < readBack.first + LogIndex(readBack.bytes.count)
        else { return nil }
        return readBack.bytes[Int(index - readBack.first)]
    }

    private mutating func receive(_ frame: [UInt8], from peer: MemberID) {
        let message: PeerMessage
        do throws(PeerFault) {
            message = try PeerCodec.decode(frame, from: peer, to: id)
        } catch {
            effects.append(.peerFault(peer, error))
            return
        }
        switch message {
        case .raft(let raft, let entryBytes):
            if case .append(let append) = raft.body {
                received = (append.previous.index + 1, entryBytes)
            }
            core.step(.receive(raft), now: now)
        case .forward(let term, let envelopes):
            proposeForwarded(envelopes, term: term, from: peer)
        case .forwardRefused(let sequences):
            for sequence in sequences { forwardRefused(sequence) }
        case .leaseCall(let call):
            answer(call, from: peer)
        case .leaseAnswer(let answer):
            leaseAnswered(answer)
        }
    }

    /// A write or question for the leader that came while the link was down can go now.
    private mutating func peerConnected(_ peer: MemberID) {
        connectedPeers.insert(peer)
        core.step(.peerConnected(peer), now: now)
        guard peer == core.leader else { return }
        reads.restart()
        sendUnsentWrites()
        restartLeaseCalls()
        announceIfNeeded()
    }

    private mutating func peerProcessGone(_ peer: MemberID) {
        connectedPeers.remove(peer)
        core.step(.peerDisconnected(peer), now: now)
        core.step(.leaderProcessGone(leader: peer, term: core.term), now: now)
    }

    private mutating func leaderChanged(to leader: MemberID?, term: Term) {
        leases.stop()
        clearing.removeAll()
        reads.resume()
        effects.append(.leaderChanged(leader: leader, term: term))
        reads.restart()
        if leader != nil {
            sendUnsentWrites()
            restartLeaseCalls()
            announceIfNeeded()
        }
    }

    private mutating func becameLeader(term: Term) {
        leases.stop()
        effects.append(.leaderChanged(leader: id, term: term))
        reads.restart()
        sendUnsentWrites()
        restartLeaseCalls()
        announceIfNeeded()
    }

    private mutating func tellCommitInterest() {
        let isWaiting =
            writes.count > 0 || reads.count > 0 || leaseCalls.count > 0 || hub.watcherCount > 0
        let wanted = !core.isLeader && isWaiting
        guard wanted != toldCommitInterest else { return }
        toldCommitInterest = wanted
        core.step(.commitInterest(wanted), now: now)
    }

    mutating func stop(_ failure: ReplicaFailure) {
        guard !isStopping else { return }
        isStopping = true
        effects.append(.stop(failure))
    }

    /// The present state of the map, for reading on with a large range.
    public mutating func view() -> StoreView { store.takeView() }

    // MARK: - State for reports

    /// What a member says about itself.
    public var status: MemberStatus {
        MemberStatus(
            clusterID: identity.clusterID, id: id, leader: core.leader, term: core.term,
            isLeader: core.isLeader, isTransferring: core.isTransferring,
            isLearner: !core.configuration.isVoter(id), lastIndex: core.lastIndex,
            commitIndex: core.commitIndex, appliedIndex: store.appliedIndex,
            revision: store.revision, logicalBytes: store.logicalBytes,
            quotaBytes: store.limits.quotaBytes, stateHash: store.stateHash,
            members: store.members)
    }
}
