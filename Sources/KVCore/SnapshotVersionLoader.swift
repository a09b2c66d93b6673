/// Builds tree, chains and history from the versions of a snapshot, in time linear to their bytes:
/// keys come in order, and every change has its place in the history by revision and sub-revision.
struct VersionLoader {
    private let revision: Int64
    private let compactedRevision: Int64
    private var builder = KeyTree<KeyOrder>.Builder()
    /// The version loaded last.
    private var last: VersionStorage?
    /// Versions at or above the compacted revision, which the history holds.
    private let changes = LoadedChanges()
    private var leased: [VersionStorage] = []
    private(set) var keyCount: UInt64 = 0
    private(set) var versionCount: UInt64 = 0
    private var versionBytes: UInt64 = 0

    init(revision: Int64 = 1, compactedRevision: Int64 = -1) {
        self.revision = revision
        self.compactedRevision = compactedRevision
    }

    /// What the versions amount to.
    struct Loaded {
        let tree: KeyTree<KeyOrder>
        let leasedKeys: KeyTree<LeaseOrder>
        let history: History
        let versionBytes: UInt64
    }

    private struct Invalid: Error {
        let reason: String
    }

    /// Loads the versions of one block.
    mutating func load(_ payload: ArraySlice<UInt8>) throws(SnapshotError) {
        do {
            try payload.withUnsafeBytes { bytes in
                var reader = ByteReader(bytes)
                while reader.remaining > 0 { try loadVersion(&reader) }
            }
        } catch let error as Invalid {
            throw .invalid(error.reason)
        } catch {
            throw .invalid("a version ends inside a field")
        }
    }

    private mutating func loadVersion(_ reader: inout ByteReader) throws {
        let flags = try reader.integer(UInt8.self)
        guard flags & ~(SnapshotFormat.sameKeyFlag | SnapshotFormat.deletionFlag) == 0 else {
            throw Invalid(reason: "unknown flags")
        }
        guard flags & SnapshotFormat.sameKeyFlag != 0 else {
            let key = try reader.bytes(Int(try reader.integer(UInt32.self)))
            guard !key.isEmpty else { throw Invalid(reason: "a key is empty") }
            if let last, last.withKey({ compareBytes($0, key) }) >= 0 {
                throw Invalid(reason: "keys are not in order")
            }
            try checkChainEnds()
            let version = try readVersion(flags, key: key, &reader)
            keyCount += 1
            builder.append(version)
            if version.lease != 0 { leased.append(version) }
            try take(version)
            return
        }
        guard let newer = last else { throw Invalid(reason: "a key is missing") }
        // The newer version keeps its key's bytes alive for the call.
        let key = newer.withKey { $0 }
        let version = try readVersion(flags, key: key, &reader)
        withExtendedLifetime(newer) {}
        try check(version, before: newer)
        // Nobody else knows these objects yet.
        newer.withUnsafeMutablePointerToHeader { $0.pointee.previous = version }
        // The newer one was taken last, and it is above the compaction.
        changes.noteReplaced(by: newer, version)
        try take(version)
    }

    private func readVersion(
        _ flags: UInt8, key: UnsafeRawBufferPointer, _ reader: inout ByteReader
    ) throws -> VersionStorage {
        let mod = try reader.integer(Int64.self)
        let sub = try reader.integer(UInt32.self)
        guard mod > 1, mod <= revision else { throw Invalid(reason: "a revision is out of bounds") }
        guard flags & SnapshotFormat.deletionFlag == 0 else {
            return VersionStorage.make(
                createRevision: 0, modRevision: mod, version: 0, lease: 0, subRevision: sub,
                previous: nil, key: key, value: UnsafeRawBufferPointer(start: nil, count: 0))
        }
        let create = try reader.integer(Int64.self)
        let number = try reader.integer(Int64.self)
        let lease = try reader.integer(Int64.self)
        let value = try reader.bytes(Int(try reader.integer(UInt32.self)))
        guard create > 1, create <= mod, number > 0, number <= mod - create + 1,
            (number == 1) == (create == mod)
        else { throw Invalid(reason: "a version contradicts itself") }
        return VersionStorage.make(
            createRevision: create, modRevision: mod, version: number, lease: lease,
            subRevision: sub, previous: nil, key: key, value: value)
    }

    /// Checks a version against the next newer one of its key.
    private func check(_ version: VersionStorage, before newer: VersionStorage) throws {
        guard version.modRevision < newer.modRevision, newer.modRevision > compactedRevision else {
            throw Invalid(reason: "versions are not in order")
        }
        let isConsistent: Bool
        if newer.isTombstone {
            isConsistent = !version.isTombstone
        } else if version.isTombstone {
            isConsistent = newer.version == 1
        } else {
            isConsistent =
                newer.version == version.version + 1
                && newer.createRevision == version.createRevision
        }
        guard isConsistent else { throw Invalid(reason: "versions contradict each other") }
    }

    /// Checks that nothing is missing behind the oldest version of a key: above the compacted
    /// revision only the version that created the key has none before it.
    private func checkChainEnds() throws {
        guard let last, last.modRevision > compactedRevision else { return }
        guard last.version == 1 else { throw Invalid(reason: "a version is missing") }
    }

    private mutating func take(_ version: VersionStorage) throws {
        if version.modRevision < compactedRevision && version.isTombstone {
            throw Invalid(reason: "a deletion is compacted")
        }
        versionCount += 1
        last = version
        if version.modRevision >= compactedRevision {
            changes.append(version, isCompacted: version.modRevision == compactedRevision)
        }
        if version.modRevision > compactedRevision || !version.isTombstone {
            versionBytes += version.logicalBytes
        }
    }

    // MARK: The end

    /// The loaded parts; `isLease` tells whether a lease exists.
    consuming func finish(isLease: (Int64) -> Bool) throws(SnapshotError) -> Loaded {
        do { try checkChainEnds() } catch { throw .invalid("a version is missing") }
        leased.sort { left, right in
            if left.lease != right.lease { return left.lease < right.lease }
            return left.withKey { left in right.withKey { compareBytes(left, $0) } } < 0
        }
        var leasedBuilder = KeyTree<LeaseOrder>.Builder()
        for version in leased {
            guard isLease(version.lease) else { throw .invalid("a key's lease doesn't exist") }
            leasedBuilder.append(version)
        }
        return Loaded(
            tree: builder.finish(), leasedKeys: leasedBuilder.finish(),
            history: try changes.makeHistory(
                from: max(compactedRevision, 2), through: revision),
            versionBytes: versionBytes)
    }
}

/// The changes of a snapshot in the order of their keys, until they are put into that of their
/// revisions.
///
/// A million versions don't fit into a processor's cache, and each look at one costs a trip to
/// memory. So all that its place takes is noted, and its reference counted, while a version has just
/// been made. With 1 M keys and 1.5 M further changes, a start spent 30 % of its time here.
private final class LoadedChanges {
    private struct Change {
        /// Retained.
        let version: Unmanaged<VersionStorage>
        let revision: Int64
        let subRevision: UInt32
        /// Logical bytes that the change superseded and no compaction has given back.
        var reclaimable: UInt64
    }

    private var changes: ContiguousArray<Change> = []

    deinit {
        for change in changes { change.version.release() }
    }

    /// A change at the compacted revision has given back what it superseded.
    func append(_ version: VersionStorage, isCompacted: Bool) {
        changes.append(
            Change(
                version: .passRetained(version), revision: version.modRevision,
                subRevision: version.subRevision,
                reclaimable: isCompacted ? 0 : History.reclaimable(by: version, replacing: nil)))
    }

    /// The change that was appended last superseded this version.
    func noteReplaced(by newer: VersionStorage, _ version: VersionStorage) {
        let last = changes.count - 1
        precondition(changes[last].version.toOpaque() == Unmanaged.passUnretained(newer).toOpaque())
        changes[last].reclaimable = History.reclaimable(by: newer, replacing: version)
    }

    /// Puts the changes in the order they happened: counted per revision, then placed. Every
    /// revision of the range has at least one change.
    func makeHistory(from first: Int64, through revision: Int64) throws(SnapshotError) -> History {
        let order = try places(from: first, through: revision)
        var history = History()
        for index in order {
            // The reference that `append` counted becomes the history's.
            history.append(
                changes[index].version.takeRetainedValue(),
                reclaiming: changes[index].reclaimable)
        }
        changes = []
        return history
    }

    /// For each place in the history the change that belongs there; each change has one place.
    private func places(
        from first: Int64, through revision: Int64
    ) throws(SnapshotError) -> [Int] {
        guard revision - first + 1 <= Int64(changes.count) else {
            throw .invalid("a revision has no change")
        }
        var starts = [Int](repeating: 0, count: max(0, Int(revision - first + 1)) + 1)
        for change in changes { starts[Int(change.revision - first) + 1] += 1 }
        for index in 1..<starts.count {
            guard starts[index] > 0 else { throw .invalid("a revision has no change") }
            starts[index] += starts[index - 1]
        }
        var order = [Int](repeating: -1, count: changes.count)
        for (index, change) in changes.enumerated() {
            let slot = Int(change.revision - first)
            let place = starts[slot] + Int(change.subRevision)
            guard place < starts[slot + 1], order[place] == -1 else {
                throw .invalid("changes of a revision don't fit")
            }
            order[place] = index
        }
        return order
    }
}
