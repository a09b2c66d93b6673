import DurableLog
import KVCore
import RaftCore

/// What a member's directory held when it started.
public struct RecoveredReplica: Sendable {
    /// Whose directory it is.
    public let identity: DirectoryIdentity
    /// Where a torn write was cut off; nil after a clean stop.
    public var tornTail: String? { log.tornTail }
    /// Entries behind the snapshot.
    public var entryCount: Int { log.entries.count }

    /// A copy; it shares the entries' memory until `takeLog`.
    var log: RecoveredLog { handOver.copy }
    private let handOver: HandOver<RecoveredLog>
    /// What consensus knows of each entry: digests over the whole log are made once.
    let metadata: [EntryMetadata]
    let snapshot: LoadedSnapshot?
    /// Snapshots before that one. The log's last batch may have been synced by nobody: until it is
    /// said again and on disk, a loss of power can make one of them the newest.
    let olderSnapshots: [LogIndex]
    let limits: StoreLimits
    let membership: MembershipRecord

    /// Makes the directory of a new member of a new cluster.
    public static func initialize(
        _ disk: inout some Disk, identity: DirectoryIdentity, membership: MembershipRecord,
        settings: DurableLogSettings
    ) throws(LogError) {
        try LogRecovery.initialize(
            &disk, identity: identity,
            base: LogBase(index: 0, term: 0, chain: 0, configuration: membership.encode()),
            settings: settings)
    }

    /// Reads a directory back. Nothing is changed but for the removal of files that were never
    /// finished.
    public static func open(
        _ disk: inout some Disk, identity: DirectoryIdentity, limits: StoreLimits
    ) throws(LogError) -> RecoveredReplica {
        let log = try LogRecovery.open(&disk, identity: identity)
        guard let membership = MembershipRecord.decode(log.base.configuration[...]) else {
            throw .corrupt(
                file: "the log", offset: 0, reason: "the membership in its base is unreadable")
        }
        try checkTerms(log)
        let metadata = log.entries.map { EntryMetadata(term: $0.term, bytes: $0.bytes) }
        let positions = chainPositions(log, metadata)
        let snapshot = try newestSnapshot(
            &disk, positions: positions, identity: identity, limits: limits)
        let older = try settle(&disk, on: snapshot)
        return RecoveredReplica(
            identity: identity, handOver: HandOver(log), metadata: metadata, snapshot: snapshot,
            olderSnapshots: older, limits: limits, membership: membership)
    }

    /// Terms only grow in a log, and none is newer than the recorded one (thesis 3.3).
    private static func checkTerms(_ log: RecoveredLog) throws(LogError) {
        var term = log.base.term
        for entry in log.entries {
            guard entry.term >= term else {
                throw .corrupt(
                    file: "the log", offset: 0,
                    reason: "entry \(entry.index) has an older term than the one before it")
            }
            term = entry.term
        }
        guard term <= log.vote.term else {
            throw .corrupt(
                file: "the log", offset: 0,
                reason: "its last term is \(term), the recorded one \(log.vote.term)")
        }
    }

    /// The newest snapshot that the log leads up to.
    private static func newestSnapshot(
        _ disk: inout some Disk, positions: [LogPosition], identity: DirectoryIdentity,
        limits: StoreLimits
    ) throws(LogError) -> LoadedSnapshot? {
        let (base, last) = (positions[0].index, positions[positions.count - 1].index)
        var found: LoadedSnapshot?
        do throws(DiskError) {
            let files = try disk.list()
            for file in files where file.hasSuffix(".tmp") { try disk.remove(file) }
        } catch {
            throw .disk(error)
        }
        for index in try snapshotIndexes(&disk).reversed() where found == nil {
            guard index >= base, index <= last else { continue }
            let snapshot = try LoadedSnapshot.load(
                SnapshotName.file(index), from: &disk, clusterID: identity.clusterID,
                limits: limits)
            let position = LogPosition(
                index: index, term: snapshot.base.term, chain: snapshot.base.chain)
            guard positions[Int(index - base)] == position else { continue }
            guard (try? snapshot.mark) != nil else {
                throw .corrupt(
                    file: SnapshotName.file(index), offset: 0,
                    reason: "the membership in its header is unreadable")
            }
            found = snapshot
        }
        if found == nil, base > 0 {
            throw .missing(
                file: SnapshotName.file(base), reason: "the log begins behind entry \(base)")
        }
        return found
    }

    private static func snapshotIndexes(_ disk: inout some Disk) throws(LogError) -> [UInt64] {
        do throws(DiskError) {
            return try disk.list().compactMap(SnapshotName.index).sorted()
        } catch {
            throw .disk(error)
        }
    }

    /// Makes sure that the newest snapshot has its name for good: a process that was killed may have
    /// given it and no more. Those behind it were received but never became part of this member's
    /// history; they are removed. Returns those before it.
    private static func settle(
        _ disk: inout some Disk, on newest: LoadedSnapshot?
    ) throws(LogError) -> [LogIndex] {
        let indexes = try snapshotIndexes(&disk)
        let kept = newest?.base.index ?? 0
        do throws(DiskError) {
            if newest != nil { try disk.syncDirectory() }
            for index in indexes where index > kept {
                try disk.remove(SnapshotName.file(index))
            }
        } catch {
            throw .disk(error)
        }
        return indexes.filter { $0 < kept }
    }

    /// The position of the base and of each entry.
    static func chainPositions(
        _ log: RecoveredLog, _ metadata: [EntryMetadata]
    ) -> [LogPosition] {
        var position = LogPosition(
            index: log.base.index, term: log.base.term, chain: log.base.chain)
        var positions = [position]
        positions.reserveCapacity(log.entries.count + 1)
        for entry in metadata {
            position.index += 1
            position.chain = chainHash(position.chain, index: position.index, entry: entry)
            position.term = entry.term
            positions.append(position)
        }
        return positions
    }

    // MARK: - What a replica is made of

    var snapshotByteCount: Int { snapshot?.byteCount ?? 0 }

    /// Entry bytes behind the snapshot.
    var logByteCount: Int {
        let covered = snapshot?.base.index ?? 0
        return log.entries.reduce(0) { $0 + ($1.index > covered ? $1.bytes.count : 0) }
    }

    /// The log, for good: nothing else can be asked of it afterwards.
    func takeLog() -> RecoveredLog { handOver.take() }

    func takeStore() -> Store {
        snapshot?.store.take() ?? Store(limits: limits, membership: membership)
    }

    /// The memberships that entries covered by the snapshot brought: they aren't applied again, yet
    /// the log may have its base moved to any of them.
    var coveredMemberships: [(index: LogIndex, record: [UInt8])] {
        let covered = snapshot?.base.index ?? 0
        return log.entries.prefix { $0.index <= covered }.compactMap { entry in
            guard let envelope = try? Envelope(decoding: entry.bytes),
                envelope.kind == .configuration
            else { return nil }
            return (entry.index, Array(envelope.body))
        }
    }

    func makeTail(maxAppliedBytes: Int) -> EntryTail {
        var tail = EntryTail(firstIndex: log.base.index + 1, maxAppliedBytes: maxAppliedBytes)
        for entry in log.entries { tail.append(entry.bytes, at: entry.index) }
        return tail
    }

    func makeRaft(settings: RaftSettings, seed: UInt64, now: Microseconds) -> Raft {
        let base = LogPosition(
            index: log.base.index, term: log.base.term, chain: log.base.chain)
        let baseMark = SnapshotMark(position: base, configuration: membership.configuration)
        // Both were decoded before: what is unreadable now was damaged in memory.
        let snapshotMark = snapshot.map { snapshot in
            guard let mark = try? snapshot.mark else {
                preconditionFailure("a verified snapshot has a readable membership")
            }
            return mark
        }
        return Raft(
            id: identity.memberID, settings: settings,
            hardState: HardState(
                term: log.vote.term, vote: log.vote.vote == 0 ? nil : log.vote.vote),
            snapshot: snapshotMark ?? baseMark, base: base,
            baseConfiguration: membership.configuration,
            entries: zip(metadata, log.entries).map { metadata, entry in
                (metadata, (try? PeerCodec.configuration(in: entry.bytes)) ?? nil)
            },
            durableIndex: log.provenIndex, commitIndex: log.commitIndex, seed: seed, now: now)
    }
}
