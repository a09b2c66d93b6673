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
            delay = min(delay * scenario.disk.slowFactor, Self.slowestLogMicroseconds)
        }
        if lane == 0, member.diskStallsUntil > now + delay {
            delay = member.diskStallsUntil - now
        }
        schedule(.disk(member: member.position, boot: member.boot, lane: lane), in: delay)
    }

    /// What a slow log takes for an operation at most.
    private static let slowestLogMicroseconds: Microseconds = 600_000

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
            if case .write(let file, let offset, let bytes) = step {
                batch = LogInspection.batch(
                    in: bytes, writtenTo: file, directory: member.identity.directoryID)
                if batch != nil { member.lastBatch = (file, offset) }
            }
            let completion = single.perform(on: &member.disk)
            if let batch { noteWritten(batch, of: member) }
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
        let loaded = copy(file, from: from, to: to)
        if to.disk.hasLostPower {
            losePower(to)
        } else if let loaded {
            tell("n\(to.id) received snapshot \(loaded.base.index) from n\(from.id)")
            deliver(.snapshotReceived(loaded, from: from.id, term: term), to: to)
        }
        deliver(.snapshotSent(to: to.id, succeeded: loaded != nil), to: from)
    }

    private func copy(_ file: String, from: Member, to: Member) -> LoadedSnapshot? {
        guard to.isRunning, network.canConnect(from.position, to.position),
            let size = try? from.disk.byteCount(of: file),
            let bytes = try? from.disk.read(file, offset: 0, byteCount: size)
        else { return nil }
        do {
            let aside = SnapshotName.incoming
            try to.disk.remove(aside)
            try to.disk.write(aside, offset: 0, bytes: bytes)
            try to.disk.sync(aside)
            try to.disk.rename(aside, to: file)
            try to.disk.syncDirectory()
            return try LoadedSnapshot.load(
                file, from: &to.disk, clusterID: to.identity.clusterID,
                limits: scenario.settings.store)
        } catch {
            tell("n\(to.id) couldn't take \(file): \(error)")
            return nil
        }
    }
}
