import RaftCore

/// What some seeds add to the weather: each makes histories common that chance alone makes rare.
extension Scenario {
    mutating func drawShapes(_ random: inout RandomStream) {
        if random.chance(350) { becomeStormy(&random) }
        if random.chance(200) { takeTinySnapshots(&random) }
        if random.chance(250) { slowDownDisk(&random) }
        if random.chance(150) { work.bulkPermille = random.draw(UInt64(50)...400) }
        if random.chance(120) { liveOnLeases(&random) }
        if random.chance(250) { makeKindsFickle(&random) }
        if random.chance(450) { drawAmbushes(&random) }
        if random.chance(150) { forkLogs(&random) }
        if random.chance(200) { ambushDisks(&random) }
        if random.chance(80) { changeLeadersWhileSnapshotsTravel(&random) }
        if random.chance(50) { becomeCalmButLossy(&random) }
        machine.endsWithRemoval = random.chance(150)
        work.seeksDeposed = random.chance(300)
    }

    /// Leaders come and go several times a second, and leave ends of logs behind that nobody else has.
    private mutating func becomeStormy(_ random: inout RandomStream) {
        hurryElections(&random)
        network.faultEveryMicroseconds = random.draw(UInt64(100_000)...800_000)
        machine.crashEveryMicroseconds = random.draw(UInt64(300_000)...2_000_000)
        machine.pauseEveryMicroseconds = random.draw(UInt64(300_000)...2_000_000)
        work.callsPerSecond = 40
        // A second of this is worth several of the others.
        faultMicroseconds = 30_000_000
    }

    private mutating func hurryElections(_ random: inout RandomStream) {
        settings.raft.electionTimeoutMicroseconds = random.draw(UInt64(100_000)...300_000)
        settings.raft.heartbeatIntervalMicroseconds =
            settings.raft.electionTimeoutMicroseconds / random.draw(UInt64(4)...8)
    }

    /// Snapshots every few entries, and nothing kept behind them: whoever is a little behind is sent
    /// one.
    private mutating func takeTinySnapshots(_ random: inout RandomStream) {
        settings.snapshotEntries = random.draw(UInt64(1)...8)
        settings.retainedEntries = random.draw(UInt64(0)...2)
        disk.snapshotMicroseconds = 500...random.draw(UInt64(1_000)...300_000)
        if random.chance(600) {
            network.lostAnswersEveryMicroseconds = random.draw(UInt64(300_000)...2_000_000)
            settings.raft.maxMessageEntries = random.draw(1...3)
            settings.raft.maxInflightMessages = random.draw(3...16)
            work.sessions += 6
        }
        if random.chance(500) {
            network.snapshotMicroseconds = 1_000...random.draw(UInt64(30_000)...1_000_000)
            disk.removalFactor = random.draw(1...30)
        }
    }

    /// Leaders are cut off in the middle of their work, again and again.
    private mutating func forkLogs(_ random: inout RandomStream) {
        network.forksEveryMicroseconds = random.draw(UInt64(300_000)...2_000_000)
        settings.raft.maxMessageEntries = random.draw(1...3)
        work.sessions += 6
        if random.chance(500) { hurryElections(&random) }
        if random.chance(500) { settings.log.maxBatchPayloadBytes = random.draw(1...400) }
    }

    /// One member's log is slow, and goes to disk in small pieces: others commit what it has yet to
    /// write, and its writes queue.
    private mutating func slowDownDisk(_ random: inout RandomStream) {
        disk.slowMember = random.index(members)
        disk.slowFactor = random.draw(UInt64(5)...300)
        settings.log.maxBatchPayloadBytes = random.draw(1...400)
        if random.chance(300) { forkLogs(&random) }
    }

    /// Many leases, recorded often, under leaders that change often.
    private mutating func liveOnLeases(_ random: inout RandomStream) {
        hurryElections(&random)
        machine.jumps = false
        machine.driftPerMillion = 0
        machine.transferEveryMicroseconds = random.draw(UInt64(500_000)...3_000_000)
        settings.leaseCheckpointMicroseconds = random.draw(UInt64(1_000_000)...3_000_000)
        work.weights.grant = 20
        work.weights.keepAlive = 40
        ambushes.append(
            Ambush(moment: .recordsLeases, blow: random.chance(500) ? .fell : .handOver))
    }

    /// Some kinds of frame are lost or late more often than others.
    private mutating func makeKindsFickle(_ random: inout RandomStream) {
        let kinds = Array(UInt8(1)...11) + Array(UInt8(32)...35)
        network.fickleKinds = Array(random.shuffled(kinds).prefix(random.draw(1...3)))
        network.ficklePermille = random.draw(UInt64(50)...600)
        network.fickleMicroseconds = random.draw(UInt64(20_000)...2_000_000)
    }

    private mutating func drawAmbushes(_ random: inout RandomStream) {
        for ambush in random.shuffled(Ambush.all).prefix(random.draw(1...3)) {
            ambushes.append(ambush)
            switch ambush.moment {
            case .changesMembership:
                machine.membershipEveryMicroseconds = random.draw(UInt64(1_000_000)...4_000_000)
            case .handsOver:
                machine.transferEveryMicroseconds = random.draw(UInt64(1_000_000)...4_000_000)
            default: break
            }
        }
        ambushPauseElectionTimeouts = random.draw(UInt64(2)...10)
    }

    /// Disks are struck where a file is about to take another's place: segments are small, snapshots
    /// are many, and what a loss of power would leave is looked at often.
    private mutating func ambushDisks(_ random: inout RandomStream) {
        ambushes += random.shuffled(Ambush.ofDisks).prefix(random.draw(1...3))
        ambushPauseElectionTimeouts = random.draw(UInt64(1)...5)
        if settings.snapshotEntries > 30 { takeTinySnapshots(&random) }
        if disk.slowMember == nil, random.chance(500) { slowDownDisk(&random) }
        if random.chance(750) { leaveMembersBehind(&random) }
        settings.log.segmentByteCount = 16 << 10
        disk.probePermille = 25
    }

    /// Links fail so often that somebody always lacks what the others have put into a snapshot.
    private mutating func leaveMembersBehind(_ random: inout RandomStream) {
        network.faultEveryMicroseconds = random.draw(UInt64(100_000)...1_000_000)
        work.callsPerSecond = 40
    }

    /// Whoever sends a snapshot is asked to hand over at once; its successor may send the same again.
    private mutating func changeLeadersWhileSnapshotsTravel(_ random: inout RandomStream) {
        takeTinySnapshots(&random)
        leaveMembersBehind(&random)
        ambushes.append(Ambush(moment: .sendsSnapshot, blow: .handOver))
        ambushPauseElectionTimeouts = 1
        network.snapshotMicroseconds = 1_000...random.draw(UInt64(30_000)...300_000)
        disk.removalFactor = random.draw(10...100)
    }

    /// Nothing happens but that frames get lost.
    private mutating func becomeCalmButLossy(_ random: inout RandomStream) {
        network.lossPermille = random.draw(UInt64(10)...200)
        network.keepsOrder = true
        network.duplicationPermille = 0
        network.replayPermille = 0
        network.faultEveryMicroseconds = 0
        network.fickleKinds = [32]  // Writes on their way to the leader.
        network.ficklePermille = random.draw(UInt64(0)...500)
        network.lostAnswersEveryMicroseconds = 0
        network.forksEveryMicroseconds = 0
        settings.raft.electionTimeoutMicroseconds = 1_000_000
        settings.raft.heartbeatIntervalMicroseconds = 100_000
        machine.crashEveryMicroseconds = 0
        machine.pauseEveryMicroseconds = 0
        machine.transferEveryMicroseconds = 0
        machine.membershipEveryMicroseconds = 0
        machine.jumps = false
        disk.failuresPerMillion = 0
        ambushes = []
    }
}
