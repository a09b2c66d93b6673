import EtcdWire
import RaftCore
import Replica

/// The clients: sessions that call, watchers that listen, and the oracle that judges.
struct Clients {
    struct Session {
        var member: Int
        var call: CallID?
    }
    struct Watcher {
        var member: Int
        var stream: WatchStreamID
        var isOpen = false
        var isPaused = false
        var oracle: WatchOracle
    }

    let work: Scenario.Workload
    var oracle: Oracle
    var random: RandomStream
    var generator: CallGenerator
    var sessions: [Session] = []
    var watchers: [Watcher] = []
    /// Calls that weren't answered yet. Their request ids are the calls' own.
    var calls: [CallID: Call] = [:]
    var watcherOfStream: [WatchStreamID: Int] = [:]
    var history: RegisterHistory
    private var nextID: UInt64 = 1
    /// Operators' requests, which no oracle judges.
    private(set) var operatorRequests: Set<RequestID> = []

    init(scenario: Scenario, random: RandomStream) {
        work = scenario.work
        self.random = random
        let shortest =
            Int(scenario.settings.raft.electionTimeoutMicroseconds * 3 / 2 / 1_000_000) + 1
        generator = CallGenerator(
            work: scenario.work, leaseSeconds: shortest...shortest + 8, random: random.forked(1))
        history = RegisterHistory(isRecording: scenario.work.singleKeysOnly)
        oracle = Oracle(
            leases: LeaseOracle(
                driftPerMillion: scenario.machine.driftPerMillion,
                clocksJump: scenario.machine.jumps))
        sessions = (0..<scenario.work.sessions).map { Session(member: $0 % scenario.members) }
        watchers = (0..<scenario.work.watches).map { position in
            Watcher(
                member: position % scenario.members, stream: 0,
                oracle: WatchOracle(key: [], end: [], start: 0, wantsPrevious: false))
        }
    }

    mutating func newID() -> UInt64 {
        defer { nextID += 1 }
        return nextID
    }

    mutating func nextOperatorRequest() -> RequestID {
        let id = newID()
        operatorRequests.insert(id)
        return id
    }

    /// A member's process ended: nobody there will answer.
    mutating func memberLost(_ member: Int) {
        for id in calls.keys.sorted() where calls[id]!.member == member {
            let call = calls.removeValue(forKey: id)!
            oracle.abandoned(call)
            history.abandoned(call)
            if sessions.indices.contains(call.session) { sessions[call.session].call = nil }
        }
        for position in watchers.indices where watchers[position].member == member {
            watchers[position].isOpen = false
        }
    }
}
