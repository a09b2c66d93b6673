import DurableLog
import EtcdWire
import KVCore
import RaftCore
import Replica

/// A cluster, its clients and all that happens to them, made of one seed.
///
/// A run has three phases: faults; then a random majority is healed for good while the rest stays
/// broken, and must serve again within ten election timeouts; then quiet, in which every lease ends
/// and every member that was healed comes to the same state.
public final class World {
    enum Event {
        case timer(member: Int, boot: UInt64)
        case frame(from: Int, to: Int, connection: UInt64, bytes: [UInt8])
        case link(member: Int, boot: UInt64, LinkNews)
        case reconnect(Int, Int)
        case reset(Int, Int)
        case cut(from: Int, to: Int, duration: Microseconds)
        case disk(member: Int, boot: UInt64, lane: Int)
        case snapshot(member: Int, boot: UInt64)
        case range(member: Int, boot: UInt64, RequestID)
        case transfer(from: Int, boot: UInt64, to: Int, file: String, term: Term)
        case session(Int)
        case giveUp(session: Int, call: CallID)
        case watcher(Int)
        case fault(FaultKind)
        case blow(Ambush.Blow, member: Int, boot: UInt64)
        case callers(at: Int)
        case deposedSought
        case healLink(from: Int, to: Int)
        case start(member: Int)
        case resume(Int)
        case probe(Int)
    }
    enum LinkNews {
        case connected(to: Int)
        case disconnected(from: Int)
        case processGone(Int)
    }
    enum Phase {
        case faults
        case recovery
        case quiet
    }

    let seed: UInt64
    let scenario: Scenario
    private var trace = Trace()
    private(set) var now: Microseconds = 1_000
    var queue = EventQueue<Event>()
    var members: [Member] = []
    var network: SimulatedNetwork
    var clients: Clients
    var faults: Faults
    var phase = Phase.faults
    /// The members that were healed for good.
    var healed: [Int] = []
    var recovery: RecoveryWatch?
    var quietStart: Microseconds = 0
    /// When a member last became leader.
    var newestLeadership: Microseconds = 0
    private(set) var violation: Violation?
    /// Events handled.
    public private(set) var eventCount = 0

    var random: RandomStream
    private var diskRandom: RandomStream
    private var clockRandom: RandomStream
    var rangeRandom: RandomStream

    // The checks.
    private var electionSafety = ElectionSafety()
    private var votesAreKept = VotesAreKept()
    private var monotonicity = Monotonicity()
    private(set) var canon = CommittedCanon()
    private var leaderCompleteness = LeaderCompleteness()
    private var logMatching = LogMatching()
    private let oneConfigurationChange = OneConfigurationChange()
    private var stateAgreement = StateAgreement()
    private let quorumDurability = QuorumDurability()
    private var matchIsTrue = MatchIsTrue()
    private var termsAreCampaignedFor = TermsAreCampaignedFor()
    private var leadersAreElected = LeadersAreElected()
    private var ownTermFirst = OwnTermFirst()
    private var configurationIsTheLogs = ConfigurationIsTheLogs()
    private var durableIsTrue = DurableIsTrue()
    private var acknowledgementsStand = AcknowledgementsStand()
    var powerProbe: PowerProbe
    var lookout: Lookout
    /// Bytes of all entries ever written to a disk, by index; a few per index, one per term.
    private var writtenEntries: [[(term: Term, bytes: [UInt8])]] = []

    /// A world at its beginning.
    public init(seed: UInt64, scenario: Scenario? = nil) {
        let scenario = scenario ?? Scenario(seed: seed)
        self.seed = seed
        self.scenario = scenario
        let root = RandomStream(seed: seed)
        random = root.forked(1)
        diskRandom = root.forked(2)
        clockRandom = root.forked(3)
        rangeRandom = root.forked(17)
        network = SimulatedNetwork(weather: scenario.network, random: root.forked(4))
        faults = Faults(scenario: scenario, random: root.forked(5))
        clients = Clients(scenario: scenario, random: root.forked(6))
        powerProbe = PowerProbe(permille: scenario.disk.probePermille, random: root.forked(7))
        lookout = Lookout(scenario: scenario, random: root.forked(8))
        for _ in 0..<scenario.members { addMember() }
        if let failure = scenario.powerFailure {
            let member = members[failure.member]
            member.disk.powerFailsAtCall = member.disk.callCount + failure.call
            member.disk.tear = failure.tear
            if let failed = failure.failedCall {
                member.disk.failsAtCall = member.disk.callCount + failed
            }
        }
        for member in members { start(member) }
        scheduleFirstFaults()
        scheduleClients()
    }

    // MARK: - Time

    /// Runs to the end, or to the first broken promise.
    public func run(listener: ((String) -> Void)? = nil) -> RunResult {
        trace.listener = listener
        trace.tell(now, "seed \(seed): \(scenario.summary)")
        runUntil(scenario.faultMicroseconds)
        let diskCalls = members.map { $0.disk.callCount - $0.firstCall }
        heal()
        runUntil(recovery?.deadline ?? now)
        checkRecovery()
        beQuiet()
        runUntilQuiet()
        checkConvergence()
        return RunResult(
            seed: seed, violation: violation, traceHash: trace.hash, events: eventCount,
            simulatedMicroseconds: now, counts: clients.oracle.counts,
            damagedMembers: members.count { $0.isDamaged }, diskCalls: diskCalls)
    }

    func runUntil(_ end: Microseconds) {
        while violation == nil, let next = queue.nextTime, next <= end {
            let (time, event) = queue.removeFirst()
            now = max(now, time)
            eventCount += 1
            trace.note(now)
            happen(event)
        }
        now = max(now, end)
    }

    func schedule(_ event: Event, in delay: Microseconds) {
        queue.schedule(event, at: now + delay)
    }

    func guarded(_ body: () throws(Violation) -> Void) {
        guard violation == nil else { return }
        do throws(Violation) {
            try body()
        } catch {
            violation = error
            trace.tell(now, "VIOLATION \(error)")
        }
    }

    private func happen(_ event: Event) {
        switch event {
        case .timer(let position, let boot): timerFired(members[position], boot: boot, event)
        case .frame(let from, let to, let connection, let bytes):
            arrived(bytes, from: from, to: to, connection: connection, event)
        case .link(let position, let boot, let news): linkNews(news, position, boot: boot, event)
        case .reconnect(let a, let b): connect(a, b)
        case .cut(let from, let to, let duration):
            if phase == .faults { cut([from], from: [to], bothWays: false, for: duration) }
        case .reset(let a, let b): if phase == .faults { reset(a, b) }
        case .disk(let position, let boot, let lane):
            diskFinished(members[position], boot: boot, lane: lane, event)
        case .snapshot(let position, let boot):
            snapshotFinished(members[position], boot: boot, event)
        case .range(let position, let boot, let request):
            rangeGoesOn(request, members[position], boot: boot, event)
        case .transfer(let from, let boot, let to, let file, let term):
            transfer(file, term: term, from: members[from], boot: boot, to: members[to], event)
        case .session(let session): sessionActs(session)
        case .giveUp(let session, let call): sessionGivesUp(session, call)
        case .watcher(let watcher): watcherActs(watcher)
        case .fault(let kind): strike(kind)
        case .blow(let blow, let position, let boot):
            if members[position].boot == boot { blowFalls(blow, on: members[position]) }
        case .callers(let position): everybodyCalls(members[position], share: 1)
        case .deposedSought: seekDeposed()
        case .healLink(let from, let to): healLink(from: from, to: to)
        case .start(let position): restart(members[position])
        case .resume(let position): resume(members[position])
        case .probe(let position): probe(members[position])
        }
    }

    /// Puts off what happens to a paused process until it goes on. True if it was put off.
    func isPutOff(_ event: Event, _ member: Member) -> Bool {
        guard member.pausedUntil > now else { return false }
        member.putOff.append(event)
        return true
    }

    func pause(_ member: Member, until end: Microseconds) {
        member.pausedUntil = max(member.pausedUntil, end)
        if end < .max { queue.schedule(.resume(member.position), at: end) }
    }

    /// A pause is over: all that happened meanwhile comes at once.
    private func resume(_ member: Member) {
        guard member.pausedUntil <= now else { return }
        let waiting = member.putOff
        member.putOff.removeAll()
        for event in waiting { queue.schedule(event, at: now) }
    }

    // MARK: - Members

    /// Makes the directory of one more member; its id is its position, counted from 1.
    @discardableResult
    func addMember() -> Member {
        let position = members.count
        let identity = DirectoryIdentity(
            clusterID: 99, memberID: MemberID(position + 1),
            directoryID: DirectoryID(high: seed, low: UInt64(position)))
        var disk = SimulatedDisk(random: diskRandom.forked(UInt64(position)))
        do throws(LogError) {
            try RecoveredReplica.initialize(
                &disk, identity: identity, membership: genesis, settings: scenario.settings.log)
        } catch {
            preconditionFailure("a healthy disk takes a new directory: \(error)")
        }
        let drift = Int64(scenario.machine.driftPerMillion)
        let rate = drift == 0 ? 0 : Int64(clockRandom.draw(0...Int(2 * drift))) - drift
        let member = Member(
            position: position, identity: identity, disk: disk,
            clock: SimulatedClock(partsPerMillion: rate, now: now))
        member.disk.failuresPerMillion = scenario.disk.failuresPerMillion
        members.append(member)
        return member
    }

    /// The members the cluster began with; those that join later begin with them too.
    var genesis: MembershipRecord {
        MembershipRecord(
            members: (1...scenario.members).map {
                .init(id: MemberID($0), peerURLs: ["http://n\($0)"], role: .voter)
            }, removedIDs: [])
    }

    /// Starts a process on a member's directory.
    func start(_ member: Member) {
        precondition(!member.isRunning)
        let recovered: RecoveredReplica
        do throws(LogError) {
            recovered = try RecoveredReplica.open(
                &member.disk, identity: member.identity, limits: scenario.settings.store)
        } catch {
            if member.disk.hasLostPower {
                losePowerWhileStarting(member)
            } else {
                couldNotStart(member, error)
            }
            return
        }
        guarded { () throws(Violation) in
            try checkRecovered(
                recovered, of: member, account: &member.platter,
                afterPowerLoss: member.lostPower)
        }
        if powerProbe.isDueAfterStart() { probePower(of: member) }
        guard violation == nil else { return }
        member.boot += 1
        member.condition = .running
        member.wakesAt = .max
        let torn = recovered.tornTail.map { ", cut a torn tail in \($0)" } ?? ""
        let count = recovered.entryCount
        member.process = Member.Process(
            Replica(
                recovered: recovered, settings: scenario.settings,
                attributes: MemberAttributes(
                    id: member.id, name: "n\(member.id)", clientURLs: ["http://c\(member.id)"],
                    directoryID: Array(repeating: UInt8(member.position), count: 16)),
                boot: member.boot << 16 | member.id, seed: random.next(),
                now: member.clock.local(at: now)))
        trace.tell(now, "n\(member.id) starts with \(count) entries\(torn)")
        deliver(.start, to: member)
        for peer in members where peer !== member { connect(member.position, peer.position) }
    }

    /// What a member read back, or would read back, holds all it promised.
    func checkRecovered(
        _ recovered: RecoveredReplica, of member: Member, account: inout PlatterAccount,
        afterPowerLoss: Bool
    ) throws(Violation) {
        let positions = recovered.logPositions
        let vote = recovered.recordedVote
        try account.recovered(
            PlatterAccount.Log(
                vote: vote, base: positions[0], positions: Array(positions.dropFirst())),
            member: member.id, afterPowerLoss: afterPowerLoss)
        try votesAreKept.observeRecovery(
            of: member.id, term: vote.term, vote: vote.vote == 0 ? nil : vote.vote)
        try canon.observeRecovery(
            of: member.id, commitIndex: recovered.recordedCommitIndex, positions: positions)
        try configurationIsTheLogs.observe(
            recovered.configuration, at: positions.last!, of: member.id)
    }

    private func losePowerWhileStarting(_ member: Member) {
        tell("n\(member.id) loses power while it starts")
        member.disk.crash()
        member.lostPower = true
        schedule(.start(member: member.position), in: Self.repairMicroseconds)
    }

    /// The power failed in the middle of a disk call, as planned; it comes back after a while.
    func losePower(_ member: Member) {
        crash(member, losesPower: true)
        schedule(.start(member: member.position), in: Self.repairMicroseconds)
    }

    private static let repairMicroseconds: Microseconds = 100_000

    private func couldNotStart(_ member: Member, _ error: LogError) {
        trace.tell(now, "n\(member.id) refuses to start: \(error)")
        if case .disk = error {
            // A call failed; the directory may be fine. Somebody starts it again.
            schedule(.start(member: member.position), in: random.draw(UInt64(50_000)...1_000_000))
            return
        }
        member.condition = .halted("\(error)")
        guarded { () throws(Violation) in
            guard member.isDamaged else {
                throw Violation(
                    "NoFalseAlarms", "\(member.id) refuses an undamaged directory: \(error)")
            }
        }
    }

    /// The process ends at once, whatever it was doing.
    ///
    /// - Parameter losesPower: whether what wasn't synced is at stake as well.
    func crash(_ member: Member, losesPower: Bool) {
        guard member.isRunning else { return }
        trace.tell(now, "n\(member.id) \(losesPower ? "loses power" : "is killed")")
        finishHalfway(member)
        member.process = nil
        member.condition = .down
        member.pausedUntil = 0
        for event in member.putOff {
            // The sender learns that the link broke.
            if case .transfer(_, _, member.position, _, _) = event { schedule(event, in: 0) }
        }
        member.putOff.removeAll()
        member.lanes = [[], [], []]
        member.snapshotJob = nil
        member.lostPower = losesPower
        if losesPower { member.disk.crash() }
        clients.memberLost(member.position)
        for peer in members where peer !== member {
            guard network.disconnect(member.position, peer.position), peer.isRunning else {
                continue
            }
            // A machine without power says nothing; a process that dies closes its connections.
            if losesPower, random.chance(500) { continue }
            tell(peer, .disconnected(from: member.position))
            if !losesPower { tell(peer, .processGone(member.position)) }
        }
    }

    private func tell(_ member: Member, _ news: LinkNews) {
        schedule(
            .link(member: member.position, boot: member.boot, news), in: network.delay())
    }

    /// Operations under way have come some way when the process ends.
    private func finishHalfway(_ member: Member) {
        let planned = (
            call: member.disk.hasLostPower ? Int.max : member.disk.powerFailsAtCall,
            tear: member.disk.tear
        )
        for lane in member.lanes.indices {
            guard let operation = member.lanes[lane].first else { continue }
            let count = random.index(operation.steps.count + 1)
            _ = perform(operation, steps: count, on: member)
        }
        if let job = member.snapshotJob, random.chance(500) {
            var copy = member.disk
            _ = job.run(on: &copy)
            let calls = copy.callCount - member.disk.callCount
            // Its last call makes the name durable.
            let last = random.chance(300) ? calls - 1 : 1 + random.index(calls)
            member.disk.powerFailsAtCall = member.disk.callCount + last
            member.disk.tear.eighths = random.index(9)
            _ = job.run(on: &member.disk)
        }
        member.disk.endPowerFailure()
        member.disk.powerFailsAtCall = planned.call
        member.disk.tear = planned.tear
    }

    func restart(_ member: Member) {
        guard member.condition == .down, phase == .faults || healed.contains(member.position)
        else { return }
        start(member)
    }

    // MARK: - Events to a member

    func deliver(_ event: consuming ReplicaEvent, to member: Member) {
        guard let process = member.process, violation == nil else { return }
        var effects: [ReplicaEffect] = []
        process.replica.handle(event, now: member.clock.local(at: now), into: &effects)
        observe(process.replica)
        springAmbushes(on: member)
        for effect in effects where member.process === process {
            carryOut(effect, of: member)
        }
        guard member.process === process else { return }
        let deadline = member.clock.time(ofLocal: process.replica.nextDeadline)
        if deadline < member.wakesAt {
            member.wakesAt = max(now, deadline)
            queue.schedule(
                .timer(member: member.position, boot: member.boot), at: member.wakesAt)
        }
    }

    private func timerFired(_ member: Member, boot: UInt64, _ event: Event) {
        guard member.boot == boot, let process = member.process, member.wakesAt <= now else {
            return
        }
        if isPutOff(event, member) { return }
        member.wakesAt = .max
        if member.clock.local(at: now) >= process.replica.nextDeadline {
            deliver(.timer, to: member)
        } else {
            let deadline = member.clock.time(ofLocal: process.replica.nextDeadline)
            guard deadline < .max else { return }
            member.wakesAt = deadline
            queue.schedule(.timer(member: member.position, boot: boot), at: deadline)
        }
    }

    /// All invariants, after each event of a member.
    private func observe(_ replica: borrowing Replica) {
        guard violation == nil else { return }
        do throws(Violation) {
            try monotonicity.observe(replica)
            try electionSafety.observe(replica)
            try logMatching.observe(replica)
            let committed = try canon.observe(replica)
            for place in committed {
                let position = canon.positions[place]
                try quorumDurability.observe(
                    committed: position, configuration: replica.configuration,
                    platters: platter(of:))
                let bytes = try entryBytes(position)
                try clients.oracle.committed(bytes, at: position, now: now)
                if (try? Envelope(decoding: bytes))?.kind == .leaseCheckpoint {
                    springAmbushes(at: .recordsLeases, on: leadingMember)
                }
            }
            try leaderCompleteness.observe(replica, canon: canon)
            try oneConfigurationChange.observe(replica, canon: canon)
            try stateAgreement.observe(replica)
            try matchIsTrue.observe(replica, platters: platter(of:))
            try termsAreCampaignedFor.observe(replica)
            try leadersAreElected.observe(replica)
            try ownTermFirst.observe(replica)
            try configurationIsTheLogs.observe(replica)
            try durableIsTrue.observe(replica, platters: platter(of:))
            try acknowledgementsStand.observe(replica)
        } catch {
            guarded { () throws(Violation) in throw error }
        }
    }

    private func platter(of member: MemberID) -> PlatterAccount.Log? {
        Int(member) <= members.count ? members[Int(member) - 1].platter.synced : nil
    }

    private func entryBytes(_ position: LogPosition) throws(Violation) -> [UInt8] {
        let place = Int(position.index)
        guard place < writtenEntries.count,
            let written = writtenEntries[place].first(where: { $0.term == position.term })
        else {
            throw Violation("Oracle", "entry \(position.label) is committed but on no disk")
        }
        return written.bytes
    }

    func noteWritten(_ entry: LogEntry) {
        let place = Int(entry.index)
        while writtenEntries.count <= place { writtenEntries.append([]) }
        if !writtenEntries[place].contains(where: { $0.term == entry.term }) {
            writtenEntries[place].append((entry.term, entry.bytes))
        }
    }

    /// A promise leaves a member.
    func observe(_ message: Message) {
        guarded { () throws(Violation) in try votesAreKept.observe(message) }
        leadersAreElected.observe(message)
        acknowledgementsStand.observe(message)
    }

    func noteInTrace(_ word: UInt64) { trace.note(word) }
    func noteInTrace(_ bytes: [UInt8]) { trace.note(bytes) }
    func tell(_ line: @autoclosure () -> String) { trace.tell(now, line()) }
}

/// How a run ended.
public struct RunResult: Sendable {
    /// The seed.
    public var seed: UInt64
    /// The first broken promise; nil when all were kept.
    public var violation: Violation?
    /// The same for the same seed, everywhere.
    public var traceHash: UInt64
    /// Events handled.
    public var events: Int
    /// How long the world lived.
    public var simulatedMicroseconds: Microseconds
    /// What the oracle checked.
    public var counts: Oracle.Counts
    /// Members whose disks were damaged for good.
    public var damagedMembers: Int
    /// Disk calls of each member until the faults ended.
    public var diskCalls: [Int]
}

extension Scenario {
    /// One line that says what the seed drew.
    public var summary: String {
        """
        \(members) members, election timeout \
        \(settings.raft.electionTimeoutMicroseconds / 1_000) ms, delay up to \
        \(network.maxDelayMicroseconds / 1_000) ms, loss \(network.lossPermille)‰, \
        \(network.keepsOrder ? "ordered" : "unordered") links, crashes every \
        \(machine.crashEveryMicroseconds / 1_000) ms, disk failures \
        \(disk.failuresPerMillion) ppm, drift \(machine.driftPerMillion) ppm
        """
    }
}
