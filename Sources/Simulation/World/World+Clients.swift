import EtcdMessages
import EtcdWire
import RaftCore
import Replica

/// Clients act, and are answered.
extension World {
    /// How long a client waits; longer than a member lets a call wait.
    static let clientPatienceMicroseconds: Microseconds = 4_000_000

    func scheduleClients() {
        for session in clients.sessions.indices {
            schedule(.session(session), in: clients.random.draw(UInt64(1)...1_000_000))
        }
        for watcher in clients.watchers.indices {
            schedule(.watcher(watcher), in: clients.random.draw(UInt64(1)...2_000_000))
        }
    }

    /// Members that clients try.
    var reachable: [Int] {
        phase == .faults ? members.indices.filter { members[$0].isRunning } : healed
    }

    // MARK: - Sessions

    func sessionActs(_ session: Int) {
        guard phase != .quiet else { return }
        let mean =
            UInt64(clients.sessions.count) * 1_000_000 / max(1, scenario.work.callsPerSecond)
        schedule(.session(session), in: clients.random.draw(1...2 * mean))
        guard clients.sessions[session].call == nil else { return }
        if clients.random.chance(50) || !reachable.contains(clients.sessions[session].member) {
            guard let other = clients.random.pick(reachable) else { return }
            clients.sessions[session].member = other
        }
        let member = members[clients.sessions[session].member]
        var callers = [session]
        if clients.random.chance(150) {
            // Several clients of a member call at the same moment.
            callers += idleSessions.filter {
                $0 != session && clients.sessions[$0].member == member.position
            }
        }
        call(member, from: callers)
    }

    private var idleSessions: [Int] {
        clients.sessions.indices.filter { clients.sessions[$0].call == nil }
    }

    private func call(_ member: Member, from callers: [Int]) {
        guard member.isRunning, !callers.isEmpty else { return }
        let batch = callers.map { makeCall($0, to: member) }
        deliver(
            .requests(batch.map { ClientRequest(id: $0.id, kind: $0.kind, body: $0.body) }),
            to: member)
    }

    /// One in `share` of all clients that wait for nothing turn to a member at the same moment.
    func everybodyCalls(_ member: Member, share: Int) {
        guard phase == .faults, member.isRunning else { return }
        let idle = idleSessions
        let callers = Array(idle.prefix((idle.count + share - 1) / share))
        for session in callers { clients.sessions[session].member = member.position }
        call(member, from: callers)
    }

    /// A write was acknowledged. If somebody still takes a deposed leader for the leader, clients
    /// turn there, who know of the write.
    func seekDeposed() {
        guard phase == .faults else { return }
        let leaders = runningMembers.filter { $0.process!.replica.isLeader }
        guard leaders.count > 1, let oldest = leaders.map({ $0.process!.replica.term }).min()
        else { return }
        let believers = runningMembers.filter { member in
            let replica = member.process
            return replica?.replica.term == oldest && replica?.replica.leader != nil
        }
        for (place, session) in idleSessions.enumerated() {
            let member = believers[place % believers.count]
            clients.sessions[session].member = member.position
            call(member, from: [session])
        }
    }

    private func makeCall(_ session: Int, to member: Member) -> Call {
        let id = clients.newID()
        let request = clients.generator.next(
            id, leases: clients.oracle.leases.recent(8), revision: clients.oracle.acknowledged)
        let call = Call(
            id: id, session: session, request: request, invokedAt: now, member: member.position,
            boot: member.boot, floor: clients.oracle.acknowledged,
            compactionFloor: clients.oracle.acknowledgedCompaction)
        clients.calls[id] = call
        clients.sessions[session].call = id
        clients.oracle.invoked(call)
        clients.history.invoked(call)
        tell("client \(session) asks n\(member.id): \(call.summary) (call \(id))")
        schedule(.giveUp(session: session, call: id), in: Self.clientPatienceMicroseconds)
        return call
    }

    func answered(
        _ request: RequestID, _ result: Result<[UInt8], RequestFailure>, by member: Member
    ) {
        if clients.operatorRequests.contains(request) { return }
        if recovery?.isProbe(request) ?? false {
            recovery?.answered(request, result)
            return
        }
        guard let call = clients.calls.removeValue(forKey: request) else { return }
        clients.sessions[call.session].call = nil
        clients.oracle.ended(call, now: now)
        guarded { () throws(Violation) in
            switch result {
            case .success(let message):
                tell("client \(call.session) hears from n\(member.id): done (call \(call.id))")
                try clients.oracle.answered(call, message)
                clients.history.answered(call, message, now: now)
                if call.isWrite, scenario.work.seeksDeposed { schedule(.deposedSought, in: 0) }
            case .failure(let failure):
                tell(
                    """
                    client \(call.session) hears from n\(member.id): \(failure.error.message) \
                    (call \(call.id))
                    """)
                try clients.oracle.failed(call, failure)
                clients.history.failed(call, failure)
            }
        }
    }

    func sessionGivesUp(_ session: Int, _ id: CallID) {
        guard let call = clients.calls[id] else { return }
        let member = members[call.member]
        if phase != .faults, healed.contains(call.member), let start = recovery?.start,
            call.invokedAt > start, member.boot == call.boot
        {
            guarded { () throws(Violation) in
                throw Violation("EveryCallIsAnswered", "\(call.summary) waits at n\(member.id)")
            }
            return
        }
        clients.calls[id] = nil
        clients.sessions[session].call = nil
        clients.oracle.ended(call, now: now)
        clients.oracle.abandoned(call)
        clients.history.abandoned(call)
        if member.boot == call.boot { member.process?.endRange(id) }
        deliver(.cancelled(id), to: member)
    }

    // MARK: - Watchers

    func watcherActs(_ position: Int) {
        guard phase != .quiet else { return }
        schedule(.watcher(position), in: clients.random.draw(UInt64(100_000)...3_000_000))
        let watcher = clients.watchers[position]
        if !watcher.isOpen || watcher.oracle.isCancelled || !reachable.contains(watcher.member) {
            openWatch(position)
            return
        }
        let member = members[watcher.member]
        switch clients.random.index(8) {
        case 0, 1:
            clients.watchers[position].isPaused.toggle()
            deliver(
                watcher.isPaused
                    ? .watchResumed(watcher.stream) : .watchPaused(watcher.stream), to: member)
        case 2:
            closeWatch(position)
            openWatch(position)
        case 3:
            var body: [UInt8] = []
            WatchRequest.progress.encode(into: &body)
            deliver(.watch(watcher.stream, body), to: member)
        default: break
        }
    }

    func closeWatch(_ position: Int) {
        let watcher = clients.watchers[position]
        guard watcher.isOpen else { return }
        clients.watchers[position].isOpen = false
        clients.watcherOfStream[watcher.stream] = nil
        deliver(.watchClosed(watcher.stream), to: members[watcher.member])
    }

    /// Opens a watch: where the last one stopped, or a new one.
    func openWatch(_ position: Int) {
        guard let target = clients.random.pick(reachable) else { return }
        let old = clients.watchers[position].oracle
        clients.watcherOfStream[clients.watchers[position].stream] = nil
        let oracle: WatchOracle
        if let next = old.next, !old.isCancelled, !old.key.isEmpty, clients.random.chance(700) {
            oracle = WatchOracle(
                key: old.key, end: old.end, start: next, wantsPrevious: old.wantsPrevious)
        } else {
            oracle = newWatch()
        }
        let stream = clients.newID()
        clients.watchers[position] = Clients.Watcher(
            member: target, stream: stream, isOpen: true, oracle: oracle)
        clients.watcherOfStream[stream] = position
        var create = WatchCreateRequest()
        create.key = oracle.key[...]
        create.rangeEnd = oracle.end[...]
        create.startRevision = oracle.next ?? 0
        create.prevKV = oracle.wantsPrevious
        create.progressNotify = clients.random.chance(500)
        tell("watcher \(position) listens at n\(target + 1) from \(create.startRevision)")
        var body: [UInt8] = []
        WatchRequest.create(create).encode(into: &body)
        deliver(.watch(stream, body), to: members[target])
    }

    private func newWatch() -> WatchOracle {
        let one = Array("k\(clients.random.index(scenario.work.keys))".utf8)
        let wide = clients.random.chance(600)
        let acknowledged = clients.oracle.acknowledged
        let start: Int64
        switch clients.random.index(4) {
        case 0: start = max(1, acknowledged - Int64(clients.random.draw(0...100)))
        case 1: start = acknowledged + Int64(clients.random.draw(0...20))
        default: start = 0
        }
        return WatchOracle(
            key: wide ? Array("k".utf8) : one, end: wide ? [0] : [], start: start,
            wantsPrevious: clients.random.chance(400))
    }

    func watchReceived(_ stream: WatchStreamID, _ message: [UInt8], from member: Member) {
        guard let position = clients.watcherOfStream[stream] else { return }
        guarded { () throws(Violation) in
            guard let response = try? Etcdserverpb_WatchResponse(serializedBytes: message) else {
                throw Violation("WatchOracle", "an unreadable response")
            }
            let events = response.events.map { "\($0.kv.modRevision)" }
            tell(
                """
                watcher \(position) hears from n\(member.id): \
                \(response.created ? "created" : response.canceled ? "cancelled" : "\(events)") \
                at \(response.header.revision)
                """)
            try clients.watchers[position].oracle.received(response, model: clients.oracle.model)
        }
    }
}
