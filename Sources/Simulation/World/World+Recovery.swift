import EtcdWire
import RaftCore
import Replica

/// Watches whether the healed majority serves again in time.
struct RecoveryWatch {
    enum Probe: CaseIterable {
        case read
        case write
    }
    let start: Microseconds
    let deadline: Microseconds
    private var probes: [RequestID: (member: Int, kind: Probe)] = [:]
    private var served: [Int: Set<Probe>] = [:]
    /// When a probe that is still unanswered was last sent, by member.
    private var lastSent: [Int: [Probe: Microseconds]] = [:]

    init(start: Microseconds, deadline: Microseconds) {
        self.start = start
        self.deadline = deadline
    }

    func isProbe(_ request: RequestID) -> Bool { probes[request] != nil }

    mutating func sent(_ request: RequestID, _ kind: Probe, to member: Int, at time: Microseconds) {
        probes[request] = (member, kind)
        lastSent[member, default: [:]][kind] = time
    }

    /// When the probe was sent that a member may still be working on.
    func lastSent(_ kind: Probe, to member: Int) -> Microseconds? { lastSent[member]?[kind] }

    mutating func answered(_ request: RequestID, _ result: Result<[UInt8], RequestFailure>) {
        guard let (member, kind) = probes.removeValue(forKey: request) else { return }
        lastSent[member]?[kind] = nil
        if case .success = result { served[member, default: []].insert(kind) }
    }

    /// What a member hasn't answered yet.
    func owed(by member: Int) -> [Probe] {
        Probe.allCases.filter { !(served[member]?.contains($0) ?? false) }
    }
}

extension RecoveryWatch.Probe {
    func request(_ id: RequestID) -> ClientRequest {
        switch self {
        case .read: return ClientRequest(id: id, kind: .barrier, body: [])
        case .write:
            var put = PutRequest()
            put.key = Array("probe".utf8)[...]
            var body: [UInt8] = []
            put.encode(into: &body)
            return ClientRequest(id: id, kind: .put, body: body)
        }
    }
}

/// The end of a run: a majority is healed for good, and all others stay broken.
extension World {
    /// A majority must serve within so many election timeouts.
    static let recoveryElectionTimeouts: Microseconds = 10

    func heal() {
        guard violation == nil else { return }
        phase = .recovery
        let timeout = scenario.settings.raft.electionTimeoutMicroseconds
        // Clocks may run slow, and a write under way on a stalled disk may be in the middle of it.
        let span = Self.recoveryElectionTimeouts * timeout
        let slack = span / 1_000_000 * scenario.machine.slowestPerMillion
        healed = chooseMajority()
        recovery = RecoveryWatch(
            start: now, deadline: now + span + slack + 200_000 + catchUpMicroseconds)
        tell("the world is healed for \(healed.map { "n\($0 + 1)" }); the rest stays broken")
        network.healAll()
        network.calmDown()
        breakTheRest()
        for position in healed { repair(members[position]) }
        for (place, a) in healed.enumerated() {
            for b in healed[(place + 1)...] { connect(a, b) }
        }
        for position in healed { probe(members[position]) }
    }

    /// What the members that lack most take to get it, where a message holds one entry and the next
    /// waits for its answer.
    private var catchUpMicroseconds: Microseconds {
        let ends = healed.compactMap { members[$0].process?.replica.lastIndex }
        let lag = (ends.max() ?? 0) - (ends.min() ?? 0)
        let roundTrip =
            2 * scenario.network.maxDelayMicroseconds + 2
            * scenario.disk.delayMicroseconds.upperBound
        return lag * roundTrip
    }

    /// Members that are a majority in every configuration a healthy member might go by.
    private func chooseMajority() -> [Int] {
        // A member that is down may go by a configuration that no other one knows.
        for member in members where !member.isRunning { repair(member) }
        var configurations: [Configuration] = []
        for member in members where member.isRunning {
            let configuration = member.process!.replica.configuration
            if !configurations.contains(configuration) { configurations.append(configuration) }
        }
        let healthy = members.indices.filter { members[$0].isRunning && !members[$0].isDamaged }
        var chosen: [Int] = []
        for position in random.shuffled(healthy) {
            let isEnough = configurations.allSatisfy { configuration in
                let present = configuration.voters.count { chosen.contains(Int($0) - 1) }
                return configuration.voters.isEmpty || present >= configuration.quorumSize
            }
            if isEnough { break }
            chosen.append(position)
        }
        return chosen.sorted()
    }

    private func breakTheRest() {
        for member in members where !healed.contains(member.position) {
            switch random.index(4) {
            case 0: crash(member, losesPower: true)
            case 1:
                for other in members.indices where other != member.position {
                    network.cut(from: member.position, to: other)
                    network.cut(from: other, to: member.position)
                }
            case 2:
                // It hears nothing, but is heard: the most tiresome kind.
                for other in members.indices where other != member.position {
                    network.cut(from: other, to: member.position)
                }
            default: if member.isRunning { pause(member, until: .max) }
            }
        }
    }

    private func repair(_ member: Member) {
        member.disk.failuresPerMillion = 0
        member.disk.failsAtCall = .max
        member.disk.endPowerFailure()
        member.disk.isFull = false
        member.pausedUntil = now
        schedule(.resume(member.position), in: 0)
        if member.condition == .down, !member.isDamaged { start(member) }
    }

    /// Asks a healed member for a read and a write until it has answered both.
    func probe(_ member: Member) {
        guard phase == .recovery, let owed = recovery?.owed(by: member.position), !owed.isEmpty
        else { return }
        let timeout = scenario.settings.raft.electionTimeoutMicroseconds
        schedule(.probe(member.position), in: timeout / 5)
        guard let process = member.process, !process.replica.removedMemberIDs.contains(member.id),
            process.replica.configuration.contains(member.id)
        else { return }
        for kind in owed {
            // Where a message holds one entry and the next waits for its answer, more of them would
            // be more than a healthy cluster can serve.
            if let sent = recovery?.lastSent(kind, to: member.position), now < sent + timeout {
                continue
            }
            let id = clients.newID()
            recovery?.sent(id, kind, to: member.position, at: now)
            deliver(.requests([kind.request(id)]), to: member)
        }
    }

    func checkRecovery() {
        guard let recovery else { return }
        guarded { () throws(Violation) in
            let leaders = healed.filter { members[$0].process?.replica.isLeader ?? false }
            guard !leaders.isEmpty else {
                throw Violation("Liveness", "no healed member leads: \(summaryOfHealed)")
            }
            for position in healed where isServing(members[position]) {
                let owed = recovery.owed(by: position)
                guard owed.isEmpty else {
                    throw Violation(
                        "Liveness", "n\(position + 1) answers no \(owed): \(summaryOfHealed)")
                }
            }
        }
    }

    /// Whether a healed member is one of those that the committed configuration names.
    private func isServing(_ member: Member) -> Bool {
        guard let leader = healedLeader else { return false }
        return leader.process!.replica.configuration.contains(member.id)
    }

    private var healedLeader: Member? {
        healed.map { members[$0] }.filter { $0.process?.replica.isLeader ?? false }
            .max { $0.process!.replica.term < $1.process!.replica.term }
    }

    private var summaryOfHealed: String {
        healed.map { position in
            guard let process = members[position].process else {
                return "n\(position + 1) \(members[position].condition)"
            }
            return """
                n\(position + 1) \(process.replica.role) term \(process.replica.term) last \
                \(process.replica.lastIndex) commit \(process.replica.commitIndex)
                """
        }.joined(separator: "; ")
    }

    // MARK: - Quiet

    func beQuiet() {
        phase = .quiet
        quietStart = now
        for position in clients.watchers.indices {
            let watcher = clients.watchers[position]
            if watcher.isOpen, watcher.isPaused, healed.contains(watcher.member) {
                clients.watchers[position].isPaused = false
                deliver(.watchResumed(watcher.stream), to: members[watcher.member])
            }
        }
    }

    /// When every lease must have ended, every call must have been answered, and everything that is
    /// under way has arrived.
    var quietEnd: Microseconds {
        let timeout = scenario.settings.raft.electionTimeoutMicroseconds
        // A leader grants an election timeout on top.
        let leases = clients.oracle.leases.lastEnd(newestLeadership: newestLeadership)
        let calls = quietStart + Self.clientPatienceMicroseconds
        return max(leases, calls) + 2 * timeout + 1_000_000
    }

    /// Goes on until nothing is owed any more; calls under way may still grant leases, and leaders
    /// may change.
    func runUntilQuiet() {
        while violation == nil, quietEnd > now { runUntil(quietEnd) }
        // The end of the last lease has yet to reach everybody.
        runUntil(now + 2 * scenario.settings.raft.electionTimeoutMicroseconds + 1_000_000)
    }

    func checkConvergence() {
        guarded { () throws(Violation) in
            let living = clients.oracle.leases.living
            guard living.isEmpty || scenario.machine.jumps else {
                throw Violation("LeaseOracle", "leases \(living) never end")
            }
            let serving = healed.map { members[$0] }.filter(isServing)
            var states: [[UInt8]] = []
            for member in serving {
                guard let process = member.process else { continue }
                guard process.replica.appliedIndex == canon.last.index else {
                    throw Violation(
                        "Convergence",
                        """
                        n\(member.id) applied \(process.replica.appliedIndex), committed is \
                        \(canon.last.index): \(summaryOfHealed)
                        """)
                }
                guard process.replica.waitingCalls == 0 else {
                    throw Violation(
                        "EveryCallIsAnswered",
                        "\(process.replica.waitingCalls) calls still wait at n\(member.id)")
                }
                guard process.replica.hasAnnouncedItself else {
                    throw Violation("Convergence", "nobody knows where n\(member.id) is reached")
                }
                states.append(process.replica.stateBytes())
            }
            guard states.allSatisfy({ $0 == states[0] }) else {
                throw Violation("Convergence", "healed members hold different states")
            }
            for watcher in clients.watchers
            where watcher.isOpen && serving.contains(where: { $0.position == watcher.member }) {
                try watcher.oracle.checkComplete(clients.oracle.model)
            }
        }
        searchForOrder()
    }

    private func searchForOrder() {
        for key in clients.history.operations.keys.sorted(by: { $0.lexicographicallyPrecedes($1) })
        {
            guarded { () throws(Violation) in
                var search = OrderSearch(clients.history.operations[key]!)
                guard search.run() != .impossible else {
                    throw Violation(
                        "OrderSearch",
                        "no order explains the answers about \(String(decoding: key, as: UTF8.self))"
                    )
                }
            }
        }
    }
}

extension Member.Condition {
    var isHalted: Bool {
        switch self {
        case .halted: true
        case .running, .down: false
        }
    }
}
