import DurableLog
import RaftCore
import Replica

/// Carries out what a member wants done.
extension World {
    func carryOut(_ effect: ReplicaEffect, of member: Member) {
        switch effect {
        case .respond(let answers):
            for answer in answers {
                noteInTrace(answer.message)
                answered(answer.request, .success(answer.message), by: member)
            }
        case .readRange(let request, let range, let view):
            beginRange(request, range, view, of: member)
        case .fail(let request, let failure):
            noteInTrace(request)
            answered(request, .failure(failure), by: member)
        case .sendPeer(let peer, let frame): send(frame, from: member, to: Int(peer) - 1)
        case .peerFault(let peer, let fault):
            guarded { () throws(Violation) in
                throw Violation(
                    "NoFalseAlarms", "\(member.id) blames \(peer), which is honest: \(fault.reason)"
                )
            }
        case .disk(let operation): enqueue(operation, of: member)
        case .watchResponse(let stream, let message):
            noteInTrace(message)
            watchReceived(stream, message, from: member)
        case .watchFailed(let stream, let error):
            guarded { () throws(Violation) in
                throw Violation("NoFalseAlarms", "watch stream \(stream) failed: \(error)")
            }
        case .writeSnapshot(let job):
            tell("n\(member.id) begins a snapshot at \(job.base.index)")
            member.snapshotJob = job
            schedule(
                .snapshot(member: member.position, boot: member.boot),
                in: random.draw(scenario.disk.snapshotMicroseconds))
        case .sendSnapshot(let peer, let file, let term):
            springAmbushes(at: .sendsSnapshot, on: member)
            let weather =
                phase == .faults ? scenario.network : Scenario.NetworkWeather()
            schedule(
                .transfer(
                    from: member.position, boot: member.boot, to: Int(peer) - 1, file: file,
                    term: term), in: random.draw(weather.snapshotMicroseconds))
        case .leaderChanged(let leader, let term):
            if leader == member.id { newestLeadership = now }
            let name =
                leader == member.id ? "leads" : leader.map { "follows n\($0)" } ?? "has no leader"
            tell("n\(member.id) \(name) in term \(term)")
        case .membersChanged: break
        case .stop(let failure): stopped(member, failure)
        }
    }

    private func stopped(_ member: Member, _ failure: ReplicaFailure) {
        tell("n\(member.id) stops: \(failure)")
        switch failure {
        case .log(.disk):
            // As planted. The process ends, its machine goes on; somebody starts it again.
            // By then somebody has made room on its disk.
            crash(member, losesPower: false)
            member.disk.isFull = false
            let delay = random.draw(UInt64(50_000)...3_000_000)
            schedule(.start(member: member.position), in: delay)
        case .log(let error):
            crash(member, losesPower: false)
            member.condition = .halted("\(error)")
            guard !member.isDamaged else { return }
            guarded { () throws(Violation) in
                throw Violation("NoFalseAlarms", "\(member.id) found damage in its log: \(error)")
            }
        case .diverged, .unreadableEntry:
            guarded { () throws(Violation) in
                throw Violation("NoFalseAlarms", "\(member.id) stopped: \(failure)")
            }
        }
    }

    // MARK: - Links

    private func send(_ frame: [UInt8], from member: Member, to receiver: Int) {
        noteInTrace(frame)
        // Consensus frames have tags below those of the replica's own.
        let isConsensus = frame[0] < 32
        if Self.promises.contains(frame[0]) { observe(frame, from: member, to: receiver) }
        guard let connection = network.connection(member.position, receiver) else { return }
        if frame[0] == Self.orderToTakeOver, let delay = delayOfOrder(from: member, to: receiver) {
            queue.schedule(
                .frame(
                    from: member.position, to: receiver, connection: connection, bytes: frame),
                at: now + delay)
            return
        }
        let arrivals = network.arrivals(
            from: member.position, to: receiver, kind: frame[0], isConsensus: isConsensus,
            now: now)
        for arrival in arrivals {
            queue.schedule(
                .frame(
                    from: member.position, to: receiver, connection: connection, bytes: frame),
                at: arrival)
        }
    }

    /// Kinds of frame that bind whoever sends them: votes asked for and given, answers to a leader,
    /// orders to take over. Only these are looked into.
    private static let promises: [UInt8] = [3, 4, 6, 8, 9]

    private static let orderToTakeOver: UInt8 = 9

    private func observe(_ frame: [UInt8], from member: Member, to receiver: Int) {
        guard
            let decoded = try? PeerCodec.decode(
                frame, from: member.id, to: MemberID(receiver + 1)),
            case .raft(let message, _) = decoded
        else {
            guarded { () throws(Violation) in
                throw Violation("NoFalseAlarms", "\(member.id) sent a frame nobody can read")
            }
            return
        }
        observe(message)
    }

    func arrived(_ bytes: [UInt8], from: Int, to: Int, connection: UInt64, _ event: Event) {
        let member = members[to]
        guard member.isRunning else { return }
        if isPutOff(event, member) { return }
        if network.connection(from, to) != connection {
            // The past of a link may come up again where links are no connections.
            guard bytes[0] < 32, !network.weather.keepsOrder, phase == .faults else { return }
        }
        tell("n\(from + 1) → n\(to + 1): \(describe(bytes, from: from, to: to))")
        deliver(.peerFrame(MemberID(from + 1), bytes), to: member)
    }

    /// Opens the connection between two members, if it can be.
    func connect(_ a: Int, _ b: Int) {
        guard members[a].isRunning, members[b].isRunning, network.canConnect(a, b),
            network.connection(a, b) == nil
        else { return }
        network.connect(a, b)
        for (member, peer) in [(members[a], b), (members[b], a)] {
            schedule(
                .link(member: member.position, boot: member.boot, .connected(to: peer)),
                in: network.delay())
        }
    }

    /// Breaks a connection; both sides notice, and try again after a while.
    func reset(_ a: Int, _ b: Int) {
        guard network.disconnect(a, b) else { return }
        for (member, peer) in [(members[a], b), (members[b], a)] where member.isRunning {
            schedule(
                .link(member: member.position, boot: member.boot, .disconnected(from: peer)),
                in: network.delay())
        }
        schedule(.reconnect(a, b), in: random.draw(UInt64(60_000)...500_000))
    }

    func linkNews(_ news: LinkNews, _ position: Int, boot: UInt64, _ event: Event) {
        let member = members[position]
        guard member.isRunning, member.boot == boot else { return }
        if isPutOff(event, member) { return }
        switch news {
        case .connected(let peer):
            guard network.connection(position, peer) != nil else { return }
            deliver(.peerConnected(MemberID(peer + 1)), to: member)
        case .disconnected(let peer):
            guard network.connection(position, peer) == nil else { return }
            deliver(.peerDisconnected(MemberID(peer + 1)), to: member)
        case .processGone(let peer):
            guard network.connection(position, peer) == nil, !members[peer].isRunning else {
                return
            }
            deliver(.peerProcessGone(MemberID(peer + 1)), to: member)
        }
    }
}
