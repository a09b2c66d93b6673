import RaftCore
import Replica

/// Power lost at every disk call of scripted scenarios, with every tear of that call: no luck of the
/// draw decides what is tried.
public struct CrashPoints: Sendable {
    /// A scenario in which only the one loss of power happens.
    struct Script: Sendable {
        var name: String
        var scenario: Scenario
        /// The member that loses power.
        var member: Int
        /// Whether calls that fail are tried as well.
        var failsCalls = false
    }

    /// One place and tear.
    struct Point: Sendable {
        var script: Script
        var call: Int
        var tear: SimulatedDisk.Tear
        /// A call before that one, which fails.
        var failedCall: Int?
    }

    /// What remains of the call and of everything unsynced.
    static let tears: [SimulatedDisk.Tear] = [
        .init(eighths: 0, fate: .dropped), .init(eighths: 3, fate: .kept),
        .init(eighths: 5, fate: .garbled), .init(eighths: 8, fate: .dropped),
        .init(eighths: 8, fate: .kept), .init(eighths: 8, fate: .garbled),
    ]

    private let points: [Point]

    /// All points, found by running each script once without a loss.
    public init() {
        points = Self.scripts.flatMap { script in
            let calls = World(seed: Self.seed, scenario: script.scenario).run()
                .diskCalls[script.member]
            return (1...max(1, calls)).flatMap { call in
                Self.tears.map { Point(script: script, call: call, tear: $0) }
                    + (script.failsCalls ? Self.afterFailure(of: call, script) : [])
            }
        }
    }

    /// The power fails some calls after one that failed, whose pages are marked clean.
    private static func afterFailure(of call: Int, _ script: Script) -> [Point] {
        [1, 3, 5, 8, 13, 21].map { later in
            Point(
                script: script, call: call + later, tear: .init(eighths: 8, fate: .dropped),
                failedCall: call)
        }
    }

    /// How many there are.
    public var count: Int { points.count }

    /// The scripts' names with their number of points.
    public var summary: [(name: String, points: Int)] {
        Self.scripts.map { script in
            (script.name, points.count { $0.script.name == script.name })
        }
    }

    /// What happens at a point, in words.
    public func label(_ number: Int) -> String {
        let point = points[number]
        let failed = point.failedCall.map { "disk call \($0) fails, later " } ?? ""
        let fate = point.tear.fate.map { "\($0)" } ?? "drawn"
        return """
            \(point.script.name): \(failed)power fails at disk call \(point.call) of \
            n\(point.script.member + 1), \(point.tear.eighths)/8 of it done, the rest \(fate)
            """
    }

    /// Runs one point.
    public func run(_ number: Int, listener: ((String) -> Void)? = nil) -> RunResult {
        let point = points[number]
        var scenario = point.script.scenario
        scenario.powerFailure = .init(
            member: point.script.member, call: point.call, failedCall: point.failedCall,
            tear: point.tear)
        var result = World(seed: Self.seed, scenario: scenario).run(listener: listener)
        result.seed = UInt64(number)
        return result
    }

    private static let seed: UInt64 = 1

    private static let scripts: [Script] = [
        Script(name: "one member", scenario: calm(members: 1), member: 0, failsCalls: true),
        Script(name: "the leader of three", scenario: calm(members: 3), member: 0),
        Script(name: "a follower of three", scenario: calm(members: 3), member: 2),
        Script(
            name: "a follower that is sent snapshots", scenario: lagging, member: 2,
            failsCalls: true),
        Script(name: "a change of members", scenario: changing, member: 0),
    ]

    /// Nothing goes wrong; segments and snapshots are so small that all paths are taken.
    private static func calm(members: Int) -> Scenario {
        var scenario = Scenario()
        scenario.members = members
        scenario.faultMicroseconds = 2_500_000
        scenario.disk.probePermille = 0
        scenario.settings.raft.electionTimeoutMicroseconds = 300_000
        scenario.settings.raft.heartbeatIntervalMicroseconds = 60_000
        scenario.settings.log.segmentByteCount = 8 << 10
        scenario.settings.log.maxBatchPayloadBytes = 1 << 10
        scenario.settings.snapshotEntries = 15
        scenario.settings.retainedEntries = 4
        scenario.settings.maxTailBytes = 1_024
        scenario.settings.requestTimeoutMicroseconds = 3_000_000
        scenario.settings.maxTxnOperations = 16
        scenario.work.sessions = 4
        scenario.work.callsPerSecond = 30
        scenario.work.watches = 1
        return scenario
    }

    private static var lagging: Scenario {
        var scenario = calm(members: 3)
        scenario.settings.retainedEntries = 0
        scenario.settings.snapshotEntries = 5
        scenario.network.lossPermille = 300
        scenario.network.keepsOrder = false
        return scenario
    }

    private static var changing: Scenario {
        var scenario = calm(members: 3)
        scenario.machine.membershipEveryMicroseconds = 400_000
        scenario.machine.transferEveryMicroseconds = 500_000
        return scenario
    }
}
