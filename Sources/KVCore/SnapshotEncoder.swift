/// Encodes a view, piece by piece; the layout is in `SnapshotFormat.swift`.
///
/// The bytes are a function of the entries applied, not of the sizes asked for, nor of what has
/// been trimmed. May run on any thread.
public struct SnapshotEncoder: ~Copyable {
    private enum Stage {
        case header
        case members
        case leases(next: Int)
        case versions
        case end
        case finished
    }

    private let view: StoreView
    private let leases: [LeaseInfo]
    private var stage = Stage.header
    private var hash: UInt64 = 0
    private var keys: UInt64 = 0
    private var versions: UInt64 = 0
    /// The key whose versions were encoded last, and the next of them if the block was full.
    private var lastKey: KeyVersion?
    private var pending: KeyVersion?

    /// An encoder of this view, which it keeps until it is done.
    public init(_ view: StoreView) {
        self.view = view
        leases = view.leases.sorted()
    }

    /// The next whole blocks, as many as fit into about `maxBytes` but at least one; nil after the
    /// last.
    public mutating func next(maxBytes: Int) -> [UInt8]? {
        var out: [UInt8] = []
        out.reserveCapacity(maxBytes)
        while out.isEmpty || out.count + SnapshotFormat.blockBytes <= maxBytes {
            guard appendBlock(to: &out) else { break }
        }
        withExtendedLifetime(view.lifetime) {}
        return out.isEmpty ? nil : out
    }

    private mutating func appendBlock(to out: inout [UInt8]) -> Bool {
        let start = out.count
        switch stage {
        case .header:
            out.appendBlockHead(.header)
            out.appendHeader(view)
            stage = .members
        case .members:
            out.appendBlockHead(.members)
            out.append(view.membership)
            stage = .leases(next: 0)
        case .leases(let next):
            guard next < leases.count else {
                stage = .versions
                return appendBlock(to: &out)
            }
            let count = min(leases.count - next, SnapshotFormat.blockBytes / 24 + 1)
            out.appendBlockHead(.leases)
            for lease in leases[next..<(next + count)] {
                out.append(littleEndian: lease.id)
                out.append(littleEndian: lease.grantedSeconds)
                out.append(littleEndian: lease.remainingSeconds)
            }
            stage = .leases(next: next + count)
        case .versions:
            guard hasMoreVersions() else {
                stage = .end
                return appendBlock(to: &out)
            }
            out.appendBlockHead(.versions)
            appendVersions(&out)
        case .end:
            out.appendBlockHead(.end)
            out.append(littleEndian: UInt64(leases.count))
            out.append(littleEndian: keys)
            out.append(littleEndian: versions)
            stage = .finished
        case .finished:
            return false
        }
        endBlock(from: start, &out)
        return true
    }

    /// Writes the length of the block that began at `start`, and its hash.
    private mutating func endBlock(from start: Int, _ out: inout [UInt8]) {
        let length = out.count - start - 4
        precondition(length <= SnapshotFormat.maximumBlockBytes, "requests are far smaller")
        // The four bytes at `start` were reserved when the block began; the rest is slices in bounds.
        hash = out.withUnsafeMutableBytes { bytes in
            bytes.storeBytes(of: UInt32(length).littleEndian, toByteOffset: start, as: UInt32.self)
            return SnapshotFormat.hash(
                previous: hash, UnsafeRawBufferPointer(rebasing: bytes[(start + 4)...]))
        }
        out.append(littleEndian: hash)
    }

    // MARK: Versions

    /// Moves on to the next key that has anything to encode, unless there are versions left of the
    /// last.
    private mutating func hasMoreVersions() -> Bool {
        if pending != nil { return true }
        var found: KeyVersion?
        scanOn { head in
            guard view.reader.isRetained(head) else { return true }
            found = KeyVersion(head)
            return false
        }
        return found != nil
    }

    /// Visits the heads of the keys behind the last one.
    private func scanOn(_ visit: (VersionStorage) -> Bool) {
        guard let last = lastKey?.storage else {
            view.tree.scan(.everything, visit: visit)
            return
        }
        last.withKey { key in
            view.tree.scan(from: TreePosition(lead: 0, bytes: key)) { head in
                head.withKey { compareBytes($0, key) } == 0 || visit(head)
            }
        }
    }

    private mutating func appendVersions(_ out: inout [UInt8]) {
        let limit = out.count + SnapshotFormat.blockBytes
        var count: UInt64 = 0
        var rest: KeyVersion?
        if let next = pending {
            rest = SnapshotEncoder.appendChain(
                next.storage, isFirst: false, view.compactedRevision, limit: limit, &count, &out)
        }
        if rest == nil {
            var last: Unmanaged<VersionStorage>?
            var found: UInt64 = 0
            scanOn { head in
                guard out.count < limit else { return false }
                guard view.reader.isRetained(head) else { return true }
                found += 1
                last = .passUnretained(head)
                rest = SnapshotEncoder.appendChain(
                    head, isFirst: true, view.compactedRevision, limit: limit, &count, &out)
                return rest == nil
            }
            // The view holds it.
            if let last { lastKey = KeyVersion(last.takeUnretainedValue()) }
            keys += found
        }
        pending = rest
        versions += count
    }

    /// Appends the versions of a key from `head` on and returns the next one if the block is full.
    private static func appendChain(
        _ head: VersionStorage, isFirst: Bool, _ compactedRevision: Int64, limit: Int,
        _ count: inout UInt64, _ out: inout [UInt8]
    ) -> KeyVersion? {
        var isFirst = isFirst
        var candidate: Unmanaged<VersionStorage>? = .passUnretained(head)
        while let current = candidate {
            // The view holds all that is visited. To count references would write to each of them.
            let hasRoom = current._withUnsafeGuaranteedRef { version in
                // Asked for while this one is written.
                let older =
                    version.modRevision > compactedRevision ? version.unretainedPrevious : nil
                older?.prefetch()
                candidate = nil
                if version.isTombstone && version.modRevision < compactedRevision { return true }
                if !isFirst && out.count >= limit { return false }
                out.append(version, isFirst: isFirst)
                count += 1
                isFirst = false
                candidate = older
                return true
            }
            if !hasRoom { return KeyVersion(current.takeUnretainedValue()) }
        }
        return nil
    }
}

extension [UInt8] {
    /// Room for a block's length, and its kind.
    fileprivate mutating func appendBlockHead(_ kind: SnapshotFormat.BlockKind) {
        append(littleEndian: UInt32(0))
        append(kind.rawValue)
    }

    fileprivate mutating func appendHeader(_ view: StoreView) {
        append(littleEndian: SnapshotFormat.version)
        append(littleEndian: view.revision)
        append(littleEndian: view.compactedRevision)
        append(littleEndian: view.appliedIndex)
        append(littleEndian: view.appliedTerm)
        append(littleEndian: view.stateHash)
    }

    fileprivate mutating func append(_ table: MemberTable) {
        append(littleEndian: UInt32(table.members.count))
        for member in table.members {
            append(littleEndian: member.id)
            append(member.role.rawValue)
            append(lengthPrefixed: member.name)
            append(littleEndian: UInt32(member.peerURLs.count))
            for url in member.peerURLs { append(lengthPrefixed: url) }
            append(littleEndian: UInt32(member.clientURLs.count))
            for url in member.clientURLs { append(lengthPrefixed: url) }
            append(UInt8(member.directoryID.count))
            append(contentsOf: member.directoryID)
        }
        append(littleEndian: UInt32(table.removedIDs.count))
        for id in table.removedIDs { append(littleEndian: id) }
    }

    fileprivate mutating func append(_ version: VersionStorage, isFirst: Bool) {
        let isDeletion = version.isTombstone
        let keyBytes = isFirst ? 4 + version.keyLength : 0
        let valueBytes = isDeletion ? 0 : 28 + version.valueLength
        // In one piece: ten take a sixth longer.
        ByteRoom.append(byteCount: 1 + keyBytes + 12 + valueBytes, to: &self) { room in
            room.write(
                (isFirst ? 0 : SnapshotFormat.sameKeyFlag)
                    | (isDeletion ? SnapshotFormat.deletionFlag : 0))
            if isFirst {
                room.write(UInt32(version.keyLength))
                version.withKey { room.write($0) }
            }
            room.write(version.modRevision)
            room.write(version.subRevision)
            guard !isDeletion else { return }
            room.write(version.createRevision)
            room.write(version.version)
            room.write(version.lease)
            room.write(UInt32(version.valueLength))
            version.withValue { room.write($0) }
        }
    }
}
