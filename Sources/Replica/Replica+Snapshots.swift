import DurableLog
import KVCore
import RaftCore

/// What a member knows about its snapshots.
struct SnapshotState {
    /// The newest durable one.
    var mark: SnapshotMark
    /// Size of its file.
    var byteCount: Int
    /// Entry bytes logged since.
    var logBytes: Int
    var isWriting = false
    /// A snapshot from a leader that consensus is being told about.
    var incoming: LoadedSnapshot?
    /// Snapshots to be removed when the newest one and the log that goes with it are durable.
    var obsolete: [LogIndex] = []
    /// Files that are about to be removed: nothing of the same name may be relied upon meanwhile.
    var removing: [LogIndex] = []
    /// Snapshots under way to peers; their files stay until they have arrived or failed.
    var streaming: [(peer: MemberID, index: LogIndex)] = []
    /// The encoded membership since each configuration entry that the log still reaches.
    private var memberships: [(index: LogIndex, record: [UInt8])]

    init(mark: SnapshotMark, byteCount: Int, logBytes: Int, base: LogBase) {
        self.mark = mark
        self.byteCount = byteCount
        self.logBytes = logBytes
        self.memberships = [(base.index, base.configuration)]
    }

    mutating func noteMembership(_ record: [UInt8], at index: LogIndex) {
        memberships.append((index, record))
    }

    /// The log now begins here.
    mutating func reset(to base: LogBase) { memberships = [(base.index, base.configuration)] }

    /// A position with the membership in force there.
    func base(at position: LogPosition) -> LogBase {
        let inForce = memberships.last { $0.index <= position.index } ?? memberships[0]
        return LogBase(
            index: position.index, term: position.term, chain: position.chain,
            configuration: inForce.record)
    }

    mutating func forgetMemberships(before index: LogIndex) {
        while memberships.count > 1, memberships[1].index <= index { memberships.removeFirst() }
    }
}

/// How a snapshot of the member's own state ended.
public enum SnapshotOutcome: Sendable {
    /// It is durable under its name.
    case written(index: LogIndex, byteCount: Int)
    /// It could not be written; the log stays as it is.
    case failed(index: LogIndex, DiskError)
}

/// A snapshot to be written, with all it needs: any thread may carry it out.
public struct SnapshotJob: Sendable {
    /// What the snapshot replaces.
    public let base: LogBase
    let clusterID: UInt64
    let view: StoreView

    /// Content bytes in one LZ4 frame, about.
    static let frameBytes = 1 << 20
    /// Whether a snapshot's file is to be synced when a piece of it has been written: every MiB.
    /// The log shares the disk: a sync of hundreds of megabytes at once would stand before its own.
    public static func isSyncDue(from start: Int, to end: Int) -> Bool {
        end >> 20 > start >> 20
    }

    /// Encodes, compresses and writes the snapshot aside, syncs it and gives it its name.
    public func run(on disk: inout some Disk) -> SnapshotOutcome {
        do throws(DiskError) {
            let byteCount = try write(to: SnapshotName.outgoing, on: &disk)
            try disk.sync(SnapshotName.outgoing)
            try disk.rename(SnapshotName.outgoing, to: SnapshotName.file(base.index))
            try disk.syncDirectory()
            return .written(index: base.index, byteCount: byteCount)
        } catch {
            return .failed(index: base.index, error)
        }
    }

    /// Encodes, compresses and writes the snapshot to a file; returns its size. Its end isn't synced.
    public func write(to file: String, on disk: inout some Disk) throws(DiskError) -> Int {
        try disk.remove(file)
        var writer = SnapshotFileWriter()
        var encoder = SnapshotEncoder(view)
        let header = writer.header(base: base, clusterID: clusterID)
        try disk.write(file, offset: 0, bytes: header)
        var offset = header.count
        while let content = encoder.next(maxBytes: Self.frameBytes) {
            let frame = writer.frame(content)
            try disk.write(file, offset: offset, bytes: frame)
            if Self.isSyncDue(from: offset, to: offset + frame.count) { try disk.sync(file) }
            offset += frame.count
        }
        let end = writer.end()
        try disk.write(file, offset: offset, bytes: end)
        return offset + end.count
    }
}

/// A snapshot read back from its file.
public struct LoadedSnapshot: Sendable {
    /// What it replaces.
    public let base: LogBase
    /// Size of its file.
    public let byteCount: Int
    let store: HandOver<Store>

    /// Bytes read from the file at a time.
    private static let pieceBytes = 1 << 20

    /// Reads, verifies and decodes a snapshot file. The error names the file.
    public static func load(
        _ file: String, from disk: inout some Disk, clusterID: UInt64, limits: StoreLimits
    ) throws(LogError) -> LoadedSnapshot {
        var reader = SnapshotFileReader(clusterID: clusterID)
        var decoder = SnapshotDecoder(limits: limits)
        do {
            guard let size = try disk.byteCount(of: file) else {
                throw LogError.missing(file: file, reason: "the log refers to it")
            }
            var offset = 0
            while offset < size {
                let count = min(pieceBytes, size - offset)
                let piece = try disk.read(file, offset: offset, byteCount: count)
                var content: [[UInt8]] = []
                try reader.feed(piece) { content.append($0) }
                for bytes in content { try decoder.feed(bytes) }
                offset += count
            }
            try reader.finish()
            let store = try decoder.finish()
            guard let base = reader.base, store.appliedIndex == base.index else {
                throw LogError.corrupt(
                    file: file, offset: 0, reason: "its header and its content disagree")
            }
            return LoadedSnapshot(base: base, byteCount: size, store: HandOver(store))
        } catch let error as DiskError {
            throw .disk(error)
        } catch let error as LogError {
            throw error
        } catch {
            throw .corrupt(file: file, offset: 0, reason: "it \(error)")
        }
    }

    var mark: SnapshotMark {
        get throws(PeerFault) { try snapshotMark(base) }
    }
}

/// What consensus sees of a base.
func snapshotMark(_ base: LogBase) throws(PeerFault) -> SnapshotMark {
    guard let record = MembershipRecord.decode(base.configuration[...]) else {
        throw PeerFault(reason: "the membership at entry \(base.index) is unreadable")
    }
    return SnapshotMark(
        position: LogPosition(index: base.index, term: base.term, chain: base.chain),
        configuration: record.configuration)
}

extension Replica {
    /// Begins a snapshot when the log since the last one outgrows both the bound and the last
    /// snapshot: then writing snapshots costs at most as much again as writing the log.
    mutating func takeSnapshotIfDue() {
        guard !snapshots.isWriting, !isStopping, !snapshots.removing.contains(store.appliedIndex)
        else { return }
        let entries = store.appliedIndex - snapshots.mark.position.index
        guard entries > 0,
            snapshots.logBytes > max(settings.snapshotLogBytes, snapshots.byteCount)
                || entries >= settings.snapshotEntries
        else { return }
        snapshots.isWriting = true
        snapshots.logBytes = 0
        effects.append(.writeSnapshot(snapshotJob()))
    }

    /// The present state, ready to be written to a file by any thread.
    public mutating func snapshotJob() -> SnapshotJob {
        guard let position = core.position(at: store.appliedIndex) else {
            preconditionFailure("what is applied is in the log or is its base")
        }
        return SnapshotJob(
            base: snapshots.base(at: position), clusterID: identity.clusterID,
            view: store.takeView())
    }

    mutating func snapshotWritten(_ outcome: SnapshotOutcome) {
        snapshots.isWriting = false
        switch outcome {
        case .failed(_, let error):
            stop(.log(.disk(error)))
        case .written(let index, let byteCount):
            // A leader's snapshot may have overtaken this one.
            guard index > core.snapshot.position.index, let position = core.position(at: index)
            else { return }
            snapshots.obsolete.append(core.snapshot.position.index)
            let mark = SnapshotMark(
                position: position, configuration: core.configuration(at: index))
            core.step(.snapshotWritten(mark), now: now)
            snapshots.mark = mark
            snapshots.byteCount = byteCount
            compactLog()
        }
    }

    /// Lets go of the log that the snapshot covers, but for a stretch that spares followers a
    /// little behind the whole snapshot.
    private mutating func compactLog() {
        var through = core.snapshot.position.index
        var bytes = 0
        for _ in 0..<settings.retainedEntries where through >= core.firstIndex {
            bytes += core.byteCount(at: through)
            if bytes > settings.retainedBytes { break }
            through -= 1
        }
        guard through >= core.firstIndex, let position = core.position(at: through) else { return }
        core.compactLog(through: through)
        log.compact(to: snapshots.base(at: position))
        snapshots.forgetMemberships(before: through)
    }

    /// Until the newest snapshot's place in the log is on disk, a crash would fall back on an older
    /// snapshot. After a restart even the log's base may be in the system's memory alone.
    mutating func removeObsoleteSnapshots() {
        guard !snapshots.obsolete.isEmpty, core.isRecoveryDurable,
            core.durableIndex >= snapshots.mark.position.index
        else { return }
        var kept: [LogIndex] = []
        for index in snapshots.obsolete where index > 0 {
            if isStreaming(index) { kept.append(index) } else { removeSnapshot(index) }
        }
        snapshots.obsolete = kept
    }

    private func isStreaming(_ index: LogIndex) -> Bool {
        snapshots.streaming.contains { $0.index == index }
    }

    mutating func streamSnapshot(to peer: MemberID) {
        let index = core.snapshot.position.index
        snapshots.streaming.append((peer, index))
        effects.append(
            .sendSnapshot(to: peer, file: SnapshotName.file(index), term: core.term))
    }

    mutating func snapshotSent(to peer: MemberID, succeeded: Bool) {
        if let ended = snapshots.streaming.firstIndex(where: { $0.peer == peer }) {
            snapshots.streaming.remove(at: ended)
        }
        core.step(.snapshotSent(to: peer, succeeded: succeeded), now: now)
    }

    private mutating func removeSnapshot(_ index: LogIndex) {
        snapshots.removing.append(index)
        let id = Replica.removalOperationBase + index
        effects.append(
            .disk(
                DiskOperation(
                    id: id, lane: .bulk,
                    steps: [.remove(file: SnapshotName.file(index)), .syncDirectory])))
    }

    mutating func snapshotRemoved(operation: UInt64) {
        let index = operation - Replica.removalOperationBase
        snapshots.removing.removeAll { $0 == index }
    }

    /// Operations with an id from here on are removals of old snapshots, nobody waits for them.
    static let removalOperationBase: UInt64 = 1 << 63

    // MARK: - From a leader

    mutating func snapshotReceived(
        _ snapshot: LoadedSnapshot, from sender: MemberID, term: Term
    ) {
        // An earlier file of this name is about to be removed, or this one is: the leader sends
        // another.
        guard !snapshots.removing.contains(snapshot.base.index) else { return }
        let mark: SnapshotMark
        do throws(PeerFault) {
            mark = try snapshot.mark
        } catch {
            effects.append(.peerFault(sender, error))
            return
        }
        snapshots.incoming = snapshot
        core.step(.snapshotReceived(mark, from: sender, term: term), now: now)
        settle()
        if snapshots.incoming != nil {
            // Consensus had no use for it: this member was not behind after all.
            snapshots.incoming = nil
            // While this member writes one itself, it may be of the same name; and it may be the one
            // that a crash would fall back on.
            if mark.position.index != core.snapshot.position.index, !snapshots.isWriting,
                !isStreaming(mark.position.index),
                !snapshots.obsolete.contains(mark.position.index)
            {
                removeSnapshot(mark.position.index)
            }
        }
    }

    mutating func restore(_ mark: SnapshotMark) {
        guard let snapshot = snapshots.incoming, snapshot.base.index == mark.position.index else {
            preconditionFailure("consensus installs the snapshot that was just received")
        }
        snapshots.incoming = nil
        snapshots.obsolete.append(snapshots.mark.position.index)
        store = snapshot.store.take()
        snapshots.mark = mark
        snapshots.byteCount = snapshot.byteCount
        snapshots.logBytes = 0
        snapshots.reset(to: snapshot.base)
        hub.storeReplaced(revision: store.revision)
        watchersAreBehind = true
        effects.append(.membersChanged)
        announceIfNeeded()
        failWrites(sentBefore: mark.position.term)
        serveReads()
        serveLeaseAnswers()
    }
}
