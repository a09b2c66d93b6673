import DurableLog
import EtcdWire
import KVCore
import Logging
import NIOCore
import RaftCore
import Replica

/// Runs a replica on an event loop: gives it time, carries out its effects.
///
/// Everything here happens on that loop. `@unchecked Sendable`: other threads hold a reference only
/// to hop onto the loop with it; each entry point checks that it is there.
final class ReplicaLoop: @unchecked Sendable {
    /// Who is told what the replica wants of the outside.
    struct Outlets {
        var answer: (RequestID, [UInt8]) -> Void
        var fail: (RequestID, RequestFailure) -> Void
        var readRange: (RequestID, LargeRange, StoreView) -> Void
        var watchResponse: (WatchStreamID, [UInt8]) -> Void
        var watchFailed: (WatchStreamID, EtcdError) -> Void
        var leaderChanged: (MemberID?) -> Void
        /// Everything of this turn has been handed out: send it.
        var turnEnded: () -> Void
    }

    let loop: EventLoop
    @exclusivity(unchecked) private var replica: Replica
    private let peers: PeerNetwork
    private let logWriter: LogWriter
    /// Prepares segments, reads entries back and pieces of snapshots: short work that the log may wait
    /// for.
    private let backgroundDisk: DiskThread
    /// Writes, loads and removes snapshots: long work that nothing else may stand behind.
    private let snapshotDisk: DiskThread
    private let logger: Logger
    private let stop: (ReplicaFailure) -> Void
    var outlets: Outlets?

    // Accesses end with their statements, before anything is called; not checked again for each
    // request.
    @exclusivity(unchecked) private var requests: [ClientRequest] = []
    @exclusivity(unchecked) private var events: [ReplicaEvent] = []
    /// The array that `events` changes places with while its events are handled.
    @exclusivity(unchecked) private var spareEvents: [ReplicaEvent] = []
    @exclusivity(unchecked) private var isTurnScheduled = false
    @exclusivity(unchecked) private var effects: [ReplicaEffect] = []
    /// The array that `effects` changes places with while its effects are carried out.
    @exclusivity(unchecked) private var spareEffects: [ReplicaEffect] = []
    /// Those of this turn.
    @exclusivity(unchecked) private var diskOperations: [DiskOperation] = []
    private var knownLeader: MemberID?
    @exclusivity(unchecked) private var timer: (deadline: Microseconds, task: Scheduled<Void>)?
    private let started = NIODeadline.now()
    @exclusivity(unchecked) private(set) var nextRequestID: RequestID = 1
    private(set) var nextWatchStreamID: WatchStreamID = 1

    init(
        recovered: RecoveredReplica, configuration: ServerConfiguration,
        attributes: MemberAttributes, boot: UInt64, seed: UInt64, applyRecord: ApplyRecord,
        peers: PeerNetwork,
        logWriter: LogWriter, backgroundDisk: DiskThread, snapshotDisk: DiskThread, loop: EventLoop,
        logger: Logger,
        stop: @escaping (ReplicaFailure) -> Void
    ) {
        self.loop = loop
        self.peers = peers
        self.logWriter = logWriter
        self.backgroundDisk = backgroundDisk
        self.snapshotDisk = snapshotDisk
        self.logger = logger
        self.stop = stop
        self.replica = Replica(
            recovered: recovered, settings: configuration.replica, attributes: attributes,
            boot: boot, seed: seed, now: 0,
            applyObserver: Replica.ApplyObserver(
                begin: { applyRecord.begin($0) }, end: { applyRecord.end() }))
    }

    /// Microseconds since this process began to serve.
    private var now: Microseconds {
        Microseconds((NIODeadline.now() - started).nanoseconds / 1_000)
    }

    var status: MemberStatus { replica.status }

    /// The present state of the map.
    func view() -> StoreView { replica.view() }

    /// The present state, ready to be written to a file.
    func snapshotJob() -> SnapshotJob { replica.snapshotJob() }

    /// Runs disk work that may take long.
    func inBackground(_ work: @escaping DiskThread.Work) { snapshotDisk.submit(work) }

    // MARK: - Events

    func newRequestID() -> RequestID {
        defer { nextRequestID += 1 }
        return nextRequestID
    }

    func newWatchStreamID() -> WatchStreamID {
        defer { nextWatchStreamID += 1 }
        return nextWatchStreamID
    }

    /// Takes a call; all calls of one turn of the loop make one batch.
    func submit(_ request: consuming ClientRequest) {
        requests.append(request)
        scheduleTurn()
    }

    /// Takes any other event; it is handled at the end of this turn of the loop.
    func submit(_ event: consuming ReplicaEvent) {
        loop.preconditionInEventLoop()
        events.append(event)
        scheduleTurn()
    }

    private func scheduleTurn() {
        guard !isTurnScheduled else { return }
        isTurnScheduled = true
        loop.execute { self.runTurn() }
    }

    private func runTurn() {
        loop.preconditionInEventLoop()
        isTurnScheduled = false
        let time = now
        swap(&events, &spareEvents)
        for event in spareEvents { replica.handle(event, now: time, into: &effects) }
        spareEvents.removeAll(keepingCapacity: true)
        if !requests.isEmpty {
            let batch = requests
            requests.removeAll(keepingCapacity: true)
            replica.handle(.requests(batch), now: time, into: &effects)
        }
        carryOut()
        armTimer()
    }

    private func armTimer() {
        let deadline = replica.nextDeadline
        if let timer, timer.deadline <= deadline { return }
        timer?.task.cancel()
        guard deadline < .max else {
            timer = nil
            return
        }
        let time = now
        let delay = deadline > time ? deadline - time : 0
        let task = loop.scheduleTask(in: .microseconds(Int64(delay))) { self.timerFired() }
        timer = (deadline, task)
    }

    private func timerFired() {
        timer = nil
        // A timer that was armed for a deadline which has moved finds nothing due.
        submit(.timer)
    }

    // MARK: - Effects

    private func carryOut() {
        while !effects.isEmpty {
            swap(&effects, &spareEffects)
            for effect in spareEffects { carryOut(effect) }
            spareEffects.removeAll(keepingCapacity: true)
        }
        // What a peer has yet to write comes first, then what this disk has, and then who only waits.
        peers.flush()
        if !diskOperations.isEmpty {
            for operation in diskOperations { perform(operation) }
            diskOperations.removeAll(keepingCapacity: true)
        }
        outlets?.turnEnded()
        logWriter.noteTimeAhead()
    }

    private func carryOut(_ effect: ReplicaEffect) {
        switch effect {
        case .respond(let answers):
            guard let outlets else { return }
            for answer in answers { outlets.answer(answer.request, answer.message) }
        case .readRange(let request, let range, let view):
            outlets?.readRange(request, range, view)
        case .fail(let request, let failure): outlets?.fail(request, failure)
        case .sendPeer(let peer, let frame): peers.send(frame, to: peer)
        case .peerFault(let peer, let fault): peers.fault(fault, of: peer)
        case .disk(let operation): diskOperations.append(operation)
        case .watchResponse(let stream, let message): outlets?.watchResponse(stream, message)
        case .watchFailed(let stream, let error): outlets?.watchFailed(stream, error)
        case .writeSnapshot(let job): write(job)
        case .sendSnapshot(let peer, let file, let term):
            peers.sendSnapshot(file, term: term, to: peer)
        case .leaderChanged(let leader, let term): leaderChanged(leader, term: term)
        case .membersChanged: peers.membersChanged(status.members)
        case .stop(let failure): stop(failure)
        }
    }

    private func perform(_ operation: DiskOperation) {
        switch operation.lane {
        case .log: logWriter.perform(operation)
        case .background: perform(operation, on: backgroundDisk)
        case .bulk: perform(operation, on: snapshotDisk)
        }
    }

    private func perform(_ operation: DiskOperation, on thread: DiskThread) {
        thread.submit { disk in
            let completion = operation.perform(on: &disk)
            self.loop.execute { self.submit(.diskCompleted(completion)) }
        }
    }

    private func write(_ job: SnapshotJob) {
        logger.info("writing a snapshot", metadata: ["index": "\(job.base.index)"])
        snapshotDisk.submit { disk in
            let outcome = job.run(on: &disk)
            self.loop.execute {
                if case .written(let index, let byteCount) = outcome {
                    self.logger.info(
                        "snapshot written",
                        metadata: ["index": "\(index)", "bytes": "\(byteCount)"])
                }
                self.submit(.snapshotWritten(outcome))
            }
        }
    }

    private func leaderChanged(_ leader: MemberID?, term: Term) {
        defer { knownLeader = leader }
        if let leader {
            let role = leader == status.id ? "leading" : "following"
            logger.info(
                "\(role)",
                metadata: ["leader": "\(String(leader, radix: 16))", "term": "\(term)"])
        } else if knownLeader != nil {
            logger.warning("no leader known", metadata: ["term": "\(term)"])
        } else {
            logger.debug("still no leader known", metadata: ["term": "\(term)"])
        }
        outlets?.leaderChanged(leader)
    }
}
