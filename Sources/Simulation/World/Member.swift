import DurableLog
import KVCore
import RaftCore
import Replica

/// One member: its directory, which outlives its processes, and the process that runs now.
final class Member {
    /// A noncopyable replica can't be reached through an optional; a reference can.
    final class Process {
        var replica: Replica
        /// Large ranges being read, and what their clients got so far.
        var ranges = RangeReaders()
        var rangeBytes: [RequestID: [UInt8]] = [:]

        init(_ replica: consuming Replica) { self.replica = replica }
    }
    /// A snapshot as it came from a peer.
    struct ReceivedSnapshot {
        var file: String
        var bytes: [UInt8]
        var sender: Int
        var term: Term
    }
    enum Condition: Equatable {
        case running
        /// Down until somebody starts it.
        case down
        /// It found damage in its directory, said so and refuses to run.
        case halted(String)
    }

    let position: Int
    let identity: DirectoryIdentity
    var disk: SimulatedDisk
    /// Disk calls that made the directory.
    let firstCall: Int
    var platter = PlatterAccount()
    /// Where the newest batch of the log was written.
    var lastBatch: (file: String, offset: Int) = ("", 0)
    /// A segment that can't be synced while faults go on.
    var badSegment: String?
    /// The newest snapshot that a peer sent.
    var received: ReceivedSnapshot?
    var clock: SimulatedClock
    var process: Process?
    var condition: Condition = .down
    /// Counts the processes; what belongs to an earlier one is void.
    var boot: UInt64 = 0
    var pausedUntil: Microseconds = 0
    /// What happened during a pause, in order.
    var putOff: [World.Event] = []
    /// When the next `.timer` is scheduled.
    var wakesAt: Microseconds = .max
    /// Operations that wait for their lane or are under way; the first one is.
    var lanes: [[DiskOperation]] = [[], [], []]
    /// The log's operations end no sooner.
    var diskStallsUntil: Microseconds = 0
    /// Snapshots being written by the process.
    var snapshotJob: SnapshotJob?
    /// Whether the machine lost power since the last process ran.
    var lostPower = false
    /// Whether something was destroyed on its disk for good.
    var isDamaged = false

    init(position: Int, identity: DirectoryIdentity, disk: SimulatedDisk, clock: SimulatedClock) {
        self.position = position
        self.identity = identity
        self.disk = disk
        self.firstCall = disk.callCount
        self.clock = clock
    }

    var id: MemberID { identity.memberID }
    var isRunning: Bool { process != nil }

    static func lane(_ lane: DiskLane) -> Int {
        switch lane {
        case .log: 0
        case .background: 1
        case .bulk: 2
        }
    }
}
