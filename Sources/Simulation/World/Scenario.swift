import KVCore
import RaftCore
import Replica

/// What a seed drew: the size of the cluster, its settings, the faults and the work.
public struct Scenario: Sendable {
    /// Voters at the start.
    public var members = 3
    /// How long faults go on, before the world is healed.
    public var faultMicroseconds: Microseconds = 50_000_000
    /// How the replicas are set up.
    public var settings = ReplicaSettings()
    /// The links.
    public var network = NetworkWeather()
    /// The disks.
    public var disk = DiskWeather()
    /// Clocks and processes.
    public var machine = MachineWeather()
    /// What the clients do.
    public var work = Workload()
    /// Blows that wait for their moments.
    var ambushes: [Ambush] = []
    /// Pause after such a blow.
    var ambushPauseElectionTimeouts: UInt64 = 5
    /// A loss of power at a chosen place; nil for none.
    var powerFailure: PowerFailure?

    /// Power lost in the middle of a member's disk call.
    struct PowerFailure: Sendable {
        var member: Int
        /// Counted from 1, from the member's first start on.
        var call: Int
        /// A call before that one, which fails; somebody starts the member again. Nil for none.
        var failedCall: Int?
        var tear: SimulatedDisk.Tear
    }

    /// How links behave, apart from being cut.
    public struct NetworkWeather: Sendable {
        /// Shortest time a frame is under way.
        public var minDelayMicroseconds: Microseconds = 100
        /// Longest time, but for the slow ones.
        public var maxDelayMicroseconds: Microseconds = 2_000
        /// Frames in a thousand that are lost without a trace.
        public var lossPermille: UInt64 = 0
        /// Consensus frames in a thousand that arrive twice.
        public var duplicationPermille: UInt64 = 0
        /// Consensus frames in a thousand that arrive much later, after others.
        public var replayPermille: UInt64 = 0
        /// Kinds of frame, by their first byte, that are lost, or late where order isn't kept.
        public var fickleKinds: [UInt8] = []
        /// How many of those, in a thousand.
        public var ficklePermille: UInt64 = 0
        /// How late they are at most.
        public var fickleMicroseconds: Microseconds = 0
        /// Whether frames keep their order, as over TCP.
        public var keepsOrder = true
        /// Shortest and longest time that a snapshot is under way.
        public var snapshotMicroseconds: ClosedRange<UInt64> = 1_000...30_000
        /// Mean time between cuts that leave a leader with entries of which some will stand; 0 for never.
        public var forksEveryMicroseconds: Microseconds = 0
        /// Mean time between losses of what a follower answers to a burst; 0 for never.
        public var lostAnswersEveryMicroseconds: Microseconds = 0
        /// Mean time between link faults anywhere (cuts, one-way cuts, resets); 0 for never.
        public var faultEveryMicroseconds: Microseconds = 0
    }

    /// How disks behave, apart from crashes.
    public struct DiskWeather: Sendable {
        /// Shortest and longest time of an operation.
        public var delayMicroseconds: ClosedRange<UInt64> = 50...800
        /// Operations in a thousand that take a hundred times as long.
        public var stallPermille: UInt64 = 0
        /// Whose log is slower than others'; nil for nobody's.
        public var slowMember: Int?
        /// How much slower.
        public var slowFactor: UInt64 = 1
        /// How much longer it takes to remove files than to write the log.
        public var removalFactor: UInt64 = 1
        /// Shortest and longest time of writing a snapshot.
        public var snapshotMicroseconds: ClosedRange<UInt64> = 500...20_000
        /// Calls in a million that fail.
        public var failuresPerMillion: UInt64 = 0
        /// Disk calls in a thousand after which a loss of power is tried on a copy of the disk.
        public var probePermille: UInt64 = 5
        /// Whether synced sectors rot while a member is down.
        public var rots = false
    }

    /// What happens to processes.
    public struct MachineWeather: Sendable {
        /// Mean time between crashes; 0 for never.
        public var crashEveryMicroseconds: Microseconds = 0
        /// Mean time between pauses; 0 for never.
        public var pauseEveryMicroseconds: Microseconds = 0
        /// How far clocks run fast or slow at most, in parts per million.
        public var driftPerMillion: UInt64 = 0
        /// Whether clocks jump ahead now and then.
        public var jumps = false
        /// Mean time between membership changes; 0 for never.
        public var membershipEveryMicroseconds: Microseconds = 0
        /// Mean time between hand-overs of leadership; 0 for never.
        public var transferEveryMicroseconds: Microseconds = 0
        /// Whether the last thing that happens before the world is healed is that a leader, cut off
        /// from all others, is asked to remove itself.
        public var endsWithRemoval = false

        /// How much more time passes than the slowest clock shows, in millionths.
        var slowestPerMillion: UInt64 {
            driftPerMillion * 1_000_000 / (1_000_000 - driftPerMillion)
        }
    }

    /// What clients do.
    public struct Workload: Sendable {
        /// Clients, each with one call at a time.
        public var sessions = 6
        /// Calls a second, over all clients.
        public var callsPerSecond: UInt64 = 20
        /// Different keys.
        public var keys = 12
        /// Watch streams.
        public var watches = 3
        /// How often each kind of call is drawn.
        public var weights = CallWeights()
        /// Values in a thousand that take several sectors.
        public var bulkPermille: UInt64 = 0
        /// Whether clients turn to those who still follow a leader that was deposed.
        public var seeksDeposed = false
        /// Whether clients put, delete and read single keys only, so that a search can look for an
        /// order of what they saw without believing any revision.
        public var singleKeysOnly = false
    }

    /// Relative frequencies.
    public struct CallWeights: Sendable {
        var put: UInt64 = 30
        var deleteRange: UInt64 = 6
        var transaction: UInt64 = 16
        var read: UInt64 = 30
        var compact: UInt64 = 1
        var grant: UInt64 = 4
        var keepAlive: UInt64 = 10
        var revoke: UInt64 = 2
        var timeToLive: UInt64 = 3

        static let singleKeys = CallWeights(
            put: 40, deleteRange: 10, transaction: 0, read: 50, compact: 0, grant: 0,
            keepAlive: 0, revoke: 0, timeToLive: 0)
    }

    /// A calm world with three members.
    public init() {}

    /// The scenario of a seed.
    public init(seed: UInt64) {
        var random = RandomStream(seed: seed ^ 0x5CE9_A210)
        let sizes = [1, 2, 3, 3, 3, 3, 4, 5, 5, 7]
        members = random.pick(sizes) ?? 3
        drawSettings(&random)
        drawNetwork(&random)
        drawDisk(&random)
        drawMachine(&random)
        drawWork(&random)
        drawShapes(&random)
        if seed % Self.singleKeySeeds == 0 {
            work.singleKeysOnly = true
            work.weights = .singleKeys
        }
        settings.directRange = RangeBounds(
            visits: random.draw(1...12), bytes: random.draw(1...2_000))
    }

    /// One seed in so many is searched for an order.
    static let singleKeySeeds: UInt64 = 40

    private mutating func drawSettings(_ random: inout RandomStream) {
        let election = random.draw(UInt64(300_000)...1_000_000)
        settings.raft.electionTimeoutMicroseconds = election
        settings.raft.heartbeatIntervalMicroseconds = election / random.draw(UInt64(4)...10)
        settings.raft.maxMessageBytes = random.draw(300...4_096)
        settings.raft.maxMessageEntries =
            random.chance(500) ? random.draw(1...3) : random.draw(4...64)
        settings.raft.maxInflightMessages =
            random.chance(500) ? random.draw(1...3) : random.draw(4...16)
        settings.raft.maxInflightBytes = random.draw(1_024...16_384)
        settings.raft.maxPendingReads = random.draw(4...64)
        if random.chance(500) { settings.raft.manyReadsPerSecond = 0 }
        settings.raft.readPatienceMicroseconds = random.draw(UInt64(1_000)...100_000)
        settings.raft.maxUncommittedBytes = random.draw(4_096...65_536)
        settings.log.segmentByteCount = random.draw(16...64) << 10
        settings.log.maxBatchPayloadBytes = random.draw(1...4) << 10
        settings.snapshotEntries = random.draw(UInt64(10)...300)
        settings.retainedEntries = random.draw(UInt64(0)...60)
        settings.retainedBytes = random.draw(256...16_384)
        settings.maxTailBytes = random.draw(512...16_384)
        settings.leaseCheckpointMicroseconds = random.draw(UInt64(1_000_000)...20_000_000)
        settings.watchProgressMicroseconds = random.draw(UInt64(1_000_000)...10_000_000)
        settings.watchCatchUpBytes = random.draw(200...8_192)
        settings.maxTxnOperations = 16
        settings.requestTimeoutMicroseconds = 3_000_000
    }

    private mutating func drawNetwork(_ random: inout RandomStream) {
        network.minDelayMicroseconds = random.draw(UInt64(20)...500)
        network.maxDelayMicroseconds = random.draw(UInt64(500)...20_000)
        network.keepsOrder = random.chance(500)
        if random.chance(500) { network.lossPermille = random.draw(UInt64(1)...100) }
        if !network.keepsOrder, random.chance(600) {
            network.duplicationPermille = random.draw(UInt64(1)...100)
            network.replayPermille = random.draw(UInt64(0)...20)
        }
        if random.chance(700) {
            network.faultEveryMicroseconds = random.draw(UInt64(500_000)...15_000_000)
        }
    }

    private mutating func drawDisk(_ random: inout RandomStream) {
        let slowest = random.draw(UInt64(100)...10_000)
        disk.delayMicroseconds = 20...slowest
        if random.chance(300) { disk.stallPermille = random.draw(UInt64(1)...20) }
        if random.chance(250) { disk.failuresPerMillion = random.draw(UInt64(20)...1_000) }
        disk.rots = random.chance(300)
    }

    private mutating func drawMachine(_ random: inout RandomStream) {
        if random.chance(750) {
            machine.crashEveryMicroseconds = random.draw(UInt64(1_000_000)...20_000_000)
        }
        if random.chance(400) {
            machine.pauseEveryMicroseconds = random.draw(UInt64(1_000_000)...20_000_000)
        }
        if random.chance(500) { machine.driftPerMillion = random.draw(UInt64(0)...20_000) }
        // Beyond what a quartz does: only what leases promise may stretch with it.
        if random.chance(50) { machine.driftPerMillion = random.draw(UInt64(20_000)...200_000) }
        machine.jumps = random.chance(200)
        if random.chance(400) {
            machine.membershipEveryMicroseconds = random.draw(UInt64(2_000_000)...15_000_000)
        }
        if random.chance(400) {
            machine.transferEveryMicroseconds = random.draw(UInt64(1_000_000)...15_000_000)
        }
    }

    private mutating func drawWork(_ random: inout RandomStream) {
        work.sessions = random.draw(2...10)
        work.keys = random.draw(2...24)
        work.watches = random.draw(0...5)
        if random.chance(100) { work.weights.compact = 10 }
        if random.chance(200) {
            work.weights.grant = 20
            work.weights.keepAlive = 40
        }
    }
}
