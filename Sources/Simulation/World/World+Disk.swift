import DurableLog
import RaftCore
import Replica

/// Disks at work: lanes side by side, operations of a lane one after the other.
extension World {
    func enqueue(_ operation: DiskOperation, of member: Member) {
        let lane = Member.lane(operation.lane)
        member.lanes[lane].append(operation)
        if member.lanes[lane].count == 1 { begin(lane, of: member) }
    }

    private func begin(_ lane: Int, of member: Member) {
        var delay = random.draw(scenario.disk.delayMicroseconds)
        if phase == .faults, random.chance(scenario.disk.stallPermille) { delay *= 100 }
        if phase == .faults, lane == 0, scenario.disk.slowMember == member.position {
            delay = min(delay * scenario.disk.slowFactor, Self.slowestMicroseconds)
        }
        if phase == .faults, takesAFileAway(member.lanes[lane][0]) {
            delay = min(delay * scenario.disk.removalFactor, Self.slowestMicroseconds)
        }
        if lane == 0, member.diskStallsUntil > now + delay {
            delay = member.diskStallsUntil - now
        }
        schedule(.disk(member: member.position, boot: member.boot, lane: lane), in: delay)
    }

    /// Whether an operation takes files away that may still be wanted.
    private func takesAFileAway(_ operation: DiskOperation) -> Bool {
        switch operation.steps.first {
        case .remove, .rename: true
        case .create, .write, .sync, .read, .syncDirectory, nil: false
        }
    }

    /// What a slow disk takes for an operation at most.
    private static let slowestMicroseconds: Microseconds = 600_000

    func diskFinished(_ member: Member, boot: UInt64, lane: Int, _ event: Event) {
        guard member.boot == boot, member.isRunning else { return }
        if isPutOff(event, member) { return }
        let operation = member.lanes[lane].removeFirst()
        let completion = perform(operation, steps: operation.steps.count, on: member)
        if member.disk.hasLostPower {
            losePower(member)
            return
        }
        if !member.lanes[lane].isEmpty { begin(lane, of: member) }
        if case .failure(let error) = completion.result {
            tell("n\(member.id)'s disk: \(error)")
        }
        deliver(.diskCompleted(completion), to: member)
    }

    /// Makes the first `steps` calls of an operation and keeps the account of the platters.
    func perform(_ operation: DiskOperation, steps: Int, on member: Member) -> DiskCompletion {
        var buffers: [[UInt8]] = []
        for step in operation.steps.prefix(steps) {
            let single = DiskOperation(id: operation.id, lane: operation.lane, steps: [step])
            var batch: LogInspection.Batch?
            if case .write(let file, _, let bytes) = step {
                batch = LogInspection.batch(
                    in: bytes, writtenTo: file, directory: member.identity.directoryID)
            }
            if case .sync(member.badSegment) = step, phase == .faults {
                member.disk.failsAtCall = member.disk.callCount + 1
            }
            let completion = single.perform(on: &member.disk)
            if let batch { noteWritten(batch, of: member) }
            if batch != nil, case .write(let file, let offset, _) = step {
                if file != member.lastBatch.file {
                    springAmbush(onSegment: file, of: member)
                }
                member.lastBatch = (file, offset)
            }
            switch completion.result {
            case .failure: return completion
            case .success(let read): buffers += read
            }
            if case .sync = step, operation.lane == .log {
                member.platter.syncedAll()
            }
            if powerProbe.isDue(after: step, batch) { probePower(of: member) }
        }
        return DiskCompletion(operation: operation.id, result: .success(buffers))
    }

    /// Also a write that failed may have left its records there.
    private func noteWritten(_ batch: LogInspection.Batch, of member: Member) {
        guarded { () throws(Violation) in
            try member.platter.wrote(batch, by: member.id, canon: canon.positions)
        }
        for case .entry(let entry) in batch.records { noteWritten(entry) }
    }

    // MARK: - Snapshots

    func snapshotFinished(_ member: Member, boot: UInt64, _ event: Event) {
        guard member.boot == boot, let job = member.snapshotJob else { return }
        if isPutOff(event, member) { return }
        if springAmbushes(at: .namesSnapshot, on: member) {
            schedule(event, in: 1)
            return
        }
        member.snapshotJob = nil
        let outcome = job.run(on: &member.disk)
        if member.disk.hasLostPower {
            losePower(member)
            return
        }
        tell("n\(member.id) wrote a snapshot at \(job.base.index)")
        deliver(.snapshotWritten(outcome), to: member)
    }

    /// Copies a snapshot to a peer, as the snapshot link does: aside, synced, renamed.
    func transfer(
        _ file: String, term: Term, from: Member, boot: UInt64, to: Member, _ event: Event
    ) {
        guard from.boot == boot, from.isRunning else { return }
        if isPutOff(event, from) || isPutOff(event, to) { return }
        var succeeded = false
        if to.isRunning, network.canConnect(from.position, to.position),
            let size = try? from.disk.byteCount(of: file),
            let bytes = try? from.disk.read(file, offset: 0, byteCount: size)
        {
            let snapshot = Member.ReceivedSnapshot(
                file: file, bytes: bytes, sender: from.position, term: term)
            succeeded = receive(snapshot, at: to)
        }
        deliver(.snapshotSent(to: to.id, succeeded: succeeded), to: from)
    }

    /// The sender of a snapshot missed the answer and sent it once more.
    func receiveAgain(_ member: Member) {
        guard let snapshot = member.received,
            let sender = members[snapshot.sender].process, sender.replica.isLeader,
            sender.replica.term == snapshot.term,
            network.canConnect(snapshot.sender, member.position)
        else { return }
        _ = receive(snapshot, at: member)
    }

    /// Stores a snapshot and tells the member. Returns whether it could be stored.
    private func receive(_ snapshot: Member.ReceivedSnapshot, at member: Member) -> Bool {
        let loaded = store(snapshot, on: member)
        if member.disk.hasLostPower {
            losePower(member)
        } else if let loaded {
            member.received = snapshot
            let sender = members[snapshot.sender].id
            tell("n\(member.id) received snapshot \(loaded.base.index) from n\(sender)")
            deliver(.snapshotReceived(loaded, from: sender, term: snapshot.term), to: member)
        }
        return loaded != nil
    }

    private func store(
        _ snapshot: Member.ReceivedSnapshot, on member: Member
    ) -> LoadedSnapshot? {
        do {
            let aside = SnapshotName.incoming
            try member.disk.remove(aside)
            try member.disk.write(aside, offset: 0, bytes: snapshot.bytes)
            try member.disk.sync(aside)
            try member.disk.rename(aside, to: snapshot.file)
            try member.disk.syncDirectory()
            return try LoadedSnapshot.load(
                snapshot.file, from: &member.disk, clusterID: member.identity.clusterID,
                limits: scenario.settings.store)
        } catch {
            tell("n\(member.id) couldn't take \(snapshot.file): \(error)")
            return nil
        }
    }
}
