import EtcdWire
import KVCore
import RaftCore
import Replica

/// What can befall the world.
enum FaultKind: CaseIterable {
    case crash
    case pause
    case link
    case transfer
    case membership
    case wipe
    case clockJump
    case fullDisk
    case removal
    case lostAnswers
    case fork
}

/// When faults strike.
struct Faults {
    private let scenario: Scenario
    var random: RandomStream

    init(scenario: Scenario, random: RandomStream) {
        self.scenario = scenario
        self.random = random
    }

    /// The time until the next fault of a kind; nil when there is none of it here.
    mutating func delay(_ kind: FaultKind) -> Microseconds? {
        let mean: Microseconds
        switch kind {
        case .crash: mean = scenario.machine.crashEveryMicroseconds
        case .pause: mean = scenario.machine.pauseEveryMicroseconds
        case .link: mean = scenario.network.faultEveryMicroseconds
        case .transfer: mean = scenario.machine.transferEveryMicroseconds
        case .membership: mean = scenario.machine.membershipEveryMicroseconds
        case .wipe: mean = 5 * scenario.machine.membershipEveryMicroseconds
        case .clockJump: mean = scenario.machine.jumps ? 10_000_000 : 0
        case .fullDisk: mean = scenario.disk.failuresPerMillion > 0 ? 20_000_000 : 0
        case .removal: mean = 0
        case .lostAnswers: mean = scenario.network.lostAnswersEveryMicroseconds
        case .fork: mean = scenario.network.forksEveryMicroseconds
        }
        return mean == 0 ? nil : random.draw(1...2 * mean)
    }
}

extension World {
    func scheduleFirstFaults() {
        for kind in FaultKind.allCases { scheduleFault(kind) }
        if scenario.machine.endsWithRemoval {
            queue.schedule(
                .fault(.removal),
                at: scenario.faultMicroseconds - faults.random.draw(UInt64(1)...100_000))
        }
    }

    private func scheduleFault(_ kind: FaultKind) {
        if let delay = faults.delay(kind) { schedule(.fault(kind), in: delay) }
    }

    func strike(_ kind: FaultKind) {
        guard phase == .faults else { return }
        switch kind {
        case .crash: strikeProcess()
        case .pause: strikeWithPause()
        case .link: strikeLink()
        case .transfer: handOver()
        case .membership: changeMembership()
        case .removal: removeLeader()
        case .lostAnswers: loseAnswers()
        case .fork: forkLog()
        case .wipe: wipe()
        case .clockJump:
            if let member = faults.random.pick(runningMembers) {
                let ahead = faults.random.draw(UInt64(1_000)...5_000_000)
                tell("n\(member.id)'s clock jumps ahead by \(ahead / 1_000) ms")
                member.clock.jump(ahead: ahead, now: now)
                // Timers count from the clock that was; let the member look at it now.
                deliver(.timer, to: member)
            }
        case .fullDisk:
            if let member = faults.random.pick(runningMembers) {
                tell("n\(member.id)'s disk is full")
                member.disk.isFull = true
            }
        }
        scheduleFault(kind)
    }

    var runningMembers: [Member] { members.filter(\.isRunning) }

    var leadingMember: Member? {
        members.filter { $0.process?.replica.isLeader ?? false }
            .max { $0.process!.replica.term < $1.process!.replica.term }
    }

    // MARK: - Processes and machines

    private func strikeProcess() {
        let losesPower = faults.random.chance(500)
        if faults.random.chance(100) {
            for member in runningMembers { fell(member, losesPower: losesPower) }
        } else if faults.random.chance(300), let leader = leadingMember {
            fell(leader, losesPower: losesPower)
        } else if let member = faults.random.pick(runningMembers) {
            fell(member, losesPower: losesPower)
        }
    }

    func fell(_ member: Member, losesPower: Bool) {
        let delay: Microseconds
        switch faults.random.index(4) {
        case 0: delay = faults.random.draw(UInt64(1_000)...50_000)
        case 1: delay = faults.random.draw(UInt64(1_000_000)...15_000_000)
        default: delay = faults.random.draw(UInt64(50_000)...3_000_000)
        }
        crash(member, losesPower: losesPower)
        member.disk.isFull = false
        if scenario.disk.rots { rot(member) }
        schedule(.start(member: member.position), in: delay)
    }

    /// Destroys something on a member's disk, where a quorum keeps it whole.
    private func rot(_ member: Member) {
        let damaged = members.count { $0.isDamaged }
        guard scenario.machine.membershipEveryMicroseconds == 0, !member.isDamaged,
            damaged + 1 <= (scenario.members - 1) / 2, faults.random.chance(500),
            let files = try? member.disk.list(), let any = faults.random.pick(files)
        else { return }
        // What a log's newest header is taken for decides about all behind it.
        let hitsHeader = faults.random.chance(250) && files.contains(member.lastBatch.file)
        let file = hitsHeader ? member.lastBatch.file : any
        guard let size = try? member.disk.byteCount(of: file), size > 0
        else { return }
        // Rot in the last batch can't be told from a torn write until the next one, or the marker of
        // an idle log, is behind it.
        let end = file == member.lastBatch.file ? member.lastBatch.offset : size
        let sectors = (end + SimulatedDisk.sectorBytes - 1) / SimulatedDisk.sectorBytes
        guard sectors > 0 else { return }
        let near = faults.random.chance(700) ? 8 : sectors
        let sector = hitsHeader ? 0 : faults.random.index(min(sectors, near))
        member.isDamaged = true
        tell("sector \(sector) of n\(member.id)'s \(file) rots")
        member.disk.rot(file, sector: sector)
    }

    /// Destroys a whole directory, where a majority of the voters stays whole. The operator removes
    /// the member some time and adds another under a new id.
    ///
    /// The leader's voters are those of a committed configuration: one that only it has is gone with
    /// its disk, and those that remain may be no majority of the one before. A majority stays in each
    /// configuration that a member goes by, committed or not: who has the newest log may be the only
    /// one to have it, and then needs the votes that it names.
    private func wipe() {
        guard let leader = leadingMember,
            leader.process!.replica.configurationIndex <= leader.process!.replica.commitIndex,
            members.allSatisfy({ $0.isRunning || $0.condition.isHalted }),
            let victim = faults.random.pick(runningMembers)
        else { return }
        let staysWhole = runningMembers.allSatisfy { member in
            let voters = member.process!.replica.configuration.voters
            let lost = voters.count {
                $0 == victim.id || members[Int($0) - 1].condition.isHalted
            }
            return lost <= max(0, voters.count - 1) / 2
        }
        guard staysWhole else { return }
        tell("n\(victim.id)'s disk is lost")
        crash(victim, losesPower: true)
        // Its account stays: what it acknowledged it held when it said so.
        victim.condition = .halted("its disk was lost")
    }

    private func strikeWithPause() {
        guard let member = faults.random.pick(runningMembers) else { return }
        let pause = faults.random.draw(UInt64(10_000)...4_000_000)
        tell("n\(member.id) pauses for \(pause / 1_000) ms")
        self.pause(member, until: now + pause)
    }

    // MARK: - Links

    private func strikeLink() {
        guard members.count > 1 else { return }
        let pair = faults.random.shuffled(Array(members.indices)).prefix(2)
        // A leader that is cut off goes on taking writes that the others will replace.
        let prefersLeader = faults.random.chance(400)
        let a = prefersLeader ? leadingMember?.position ?? pair[0] : pair[0]
        let b = pair[1] == a ? pair[0] : pair[1]
        let duration = faults.random.draw(UInt64(50_000)...6_000_000)
        switch faults.random.index(5) {
        case 0:
            tell("the connection of n\(a + 1) and n\(b + 1) is reset")
            reset(a, b)
        case 1: cut([a], from: [b], bothWays: true, for: duration)
        case 2:
            cut([a], from: [b], bothWays: false, for: duration)
            // Answers that were lost for a while aren't made up for by a new connection.
            if faults.random.chance(500) { schedule(.reset(a, b), in: duration) }
        case 3: cut([a], from: members.indices.filter { $0 != a }, bothWays: true, for: duration)
        default:
            let shuffled = faults.random.shuffled(Array(members.indices))
            let size = faults.random.draw(1...members.count - 1)
            cut(
                Array(shuffled[..<size]), from: Array(shuffled[size...]),
                bothWays: faults.random.chance(700), for: duration)
        }
    }

    /// Clients call the leader, a follower hears of it, and its answers are lost; so is what the
    /// leader says next. In the end they connect anew.
    private func loseAnswers() {
        guard let leader = leadingMember,
            let follower = faults.random.pick(members.indices.filter { $0 != leader.position })
        else { return }
        // The leader has a snapshot of part of the burst by then.
        let arrival = 2 * scenario.network.maxDelayMicroseconds
        let end =
            arrival + faults.random.draw(0...2 * scenario.disk.snapshotMicroseconds.upperBound)
        cut([follower], from: [leader.position], bothWays: false, for: end)
        schedule(.cut(from: leader.position, to: follower, duration: end - arrival), in: arrival)
        schedule(.reset(leader.position, follower), in: end + 1)
        everybodyCalls(leader, share: 1)
    }

    /// A leader is cut off when some of what clients gave it has arrived elsewhere, and is given more:
    /// part of what it doesn't know to be committed will stand, and part of it won't. Its links
    /// are new when it comes back. Where two are no quorum, a follower may be left to it.
    private func forkLog() {
        guard let leader = leadingMember, members.count > 1 else { return }
        let timeout = scenario.settings.raft.electionTimeoutMicroseconds
        let start = faults.random.draw(0...2 * scenario.network.maxDelayMicroseconds)
        let duration = faults.random.draw(timeout...4 * timeout)
        everybodyCalls(leader, share: 2)
        if faults.random.chance(500) {
            // Its disk stands still as well, until after it has heard of its successor.
            let end = now + start + duration + faults.random.draw(0...2 * timeout)
            leader.diskStallsUntil = min(end, scenario.faultMicroseconds)
        }
        var side = [leader.position]
        if members.count > 3, faults.random.chance(500),
            let follower = faults.random.pick(members.indices.filter { $0 != leader.position })
        {
            side.append(follower)
        }
        for a in side {
            for b in members.indices where !side.contains(b) {
                for (from, to) in [(a, b), (b, a)] {
                    schedule(.cut(from: from, to: to, duration: duration), in: start)
                }
                schedule(.reset(a, b), in: start + duration + 1)
            }
        }
        schedule(.callers(at: leader.position), in: start + 1)
    }

    func cut(
        _ side: [Int], from other: [Int], bothWays: Bool, for duration: Microseconds
    ) {
        tell(
            "\(side.map { "n\($0 + 1)" }) can't reach \(other.map { "n\($0 + 1)" })"
                + (bothWays ? " nor be reached" : ""))
        let breaks = faults.random.chance(300)
        for a in side {
            for b in other {
                network.cut(from: a, to: b)
                schedule(.healLink(from: a, to: b), in: duration)
                if bothWays {
                    network.cut(from: b, to: a)
                    schedule(.healLink(from: b, to: a), in: duration)
                }
                if breaks { reset(a, b) }
            }
        }
    }

    func healLink(from: Int, to: Int) {
        guard phase == .faults else { return }
        network.heal(from: from, to: to)
        connect(from, to)
    }

    // MARK: - Operators

    private func handOver() {
        guard let leader = leadingMember else { return }
        let voters = leader.process!.replica.configuration.voters
        let target = faults.random.chance(500) ? nil : faults.random.pick(voters)
        tell("n\(leader.id) is asked to hand over to \(target.map { "n\($0)" } ?? "anybody")")
        deliver(.transferLeadership(to: target), to: leader)
    }

    /// Adds a learner, promotes one, or removes a member.
    func changeMembership() {
        guard let leader = leadingMember else { return }
        var record = membership(at: leader)
        let lost = record.members.map(\.id).filter { members[Int($0) - 1].condition.isHalted }
        let learners = record.members.filter { $0.role != .voter }.map(\.id)
        let voters = record.members.filter { $0.role == .voter }.map(\.id)
        let change: String
        if let gone = lost.first {
            change = "remove n\(gone), whose disk is lost"
            record = MembershipRecord(
                members: record.members.filter { $0.id != gone },
                removedIDs: record.removedIDs + [gone])
        } else if let learner = faults.random.pick(learners), faults.random.chance(600) {
            change = "promote n\(learner)"
            record.setRole(.voter, of: learner)
        } else if record.members.count > 1,
            faults.random.chance(record.members.count > 5 ? 800 : 350),
            let victim = faults.random.pick(voters.count > 1 ? voters + learners : learners)
        {
            change = "remove n\(victim)"
            record = MembershipRecord(
                members: record.members.filter { $0.id != victim },
                removedIDs: record.removedIDs + [victim])
        } else if members.count < 10 {
            let member = addMember()
            change = "add n\(member.id)"
            record = MembershipRecord(
                members: record.members + [
                    .init(
                        id: member.id, peerURLs: ["http://n\(member.id)"],
                        role: faults.random.chance(700) ? .learner : .voter)
                ], removedIDs: record.removedIDs)
            start(member)
        } else {
            return
        }
        ask(leader, to: change, record)
    }

    /// The membership as a leader has it.
    private func membership(at leader: Member) -> MembershipRecord {
        let process = leader.process!
        return MembershipRecord(
            members: process.replica.status.members.map {
                .init(id: $0.id, peerURLs: $0.peerURLs, role: $0.role)
            }, removedIDs: process.replica.removedMemberIDs)
    }

    /// Cuts a leader off and has it remove itself: it alone knows of that.
    private func removeLeader() {
        guard let leader = leadingMember, members.count > 1 else { return }
        let record = membership(at: leader)
        let others = record.members.filter { $0.id != leader.id }
        // Whoever has lost its disk must go first: nobody removes one of a bare majority.
        guard others.contains(where: { $0.role == .voter }),
            !others.map({ members[Int($0.id) - 1] }).contains(where: {
                $0.condition.isHalted || $0.isDamaged
            })
        else { return }
        cut(
            [leader.position], from: members.indices.filter { $0 != leader.position },
            bothWays: true, for: scenario.faultMicroseconds)
        ask(
            leader, to: "remove itself",
            MembershipRecord(members: others, removedIDs: record.removedIDs + [leader.id]))
    }

    private func ask(_ leader: Member, to change: String, _ record: MembershipRecord) {
        tell("an operator asks n\(leader.id) to \(change)")
        let request = ClientRequest(
            id: clients.nextOperatorRequest(), kind: .changeMembership, body: record.encode())
        deliver(.requests([request]), to: leader)
    }
}

extension MembershipRecord {
    mutating func setRole(_ role: MemberRole, of id: UInt64) {
        for position in members.indices where members[position].id == id {
            members[position].role = role
        }
    }
}
