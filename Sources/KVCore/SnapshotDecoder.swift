/// Why bytes are not a snapshot body.
public enum SnapshotError: Error, Equatable, Sendable {
    /// A format version this program doesn't know.
    case unknownFormatVersion(UInt32)
    /// A block's hash doesn't fit: the bytes were damaged or are not a snapshot.
    case damaged
    /// The blocks are intact and contradict each other or the format.
    case invalid(String)
    /// The bytes end before the last block, or go on behind it.
    case incomplete
}

/// Builds a store from the bytes of a ``SnapshotEncoder``, fed in pieces of any size.
///
/// It believes nothing: whatever the bytes are, the result is an error or a store equal to the
/// encoded one.
public struct SnapshotDecoder: ~Copyable {
    private enum Stage: UInt8 {
        case header
        case members
        case leases
        case versions
        case finished
    }

    private let limits: StoreLimits
    private var stage = Stage.header
    private var buffer: [UInt8] = []
    private var hash: UInt64 = 0

    private var header = Header()
    private var membership = MemberTable()
    private var leases = LeaseTable()
    private var lastLease: LeaseInfo?
    private var loader = VersionLoader()

    private struct Header {
        var revision: Int64 = 0
        var compactedRevision: Int64 = 0
        var appliedIndex: UInt64 = 0
        var appliedTerm: UInt64 = 0
        var stateHash: UInt64 = 0
    }

    /// A decoder for a store with these limits.
    public init(limits: StoreLimits = StoreLimits()) {
        self.limits = limits
    }

    /// Takes the next bytes. After an error the decoder is of no more use.
    public mutating func feed(_ bytes: some Collection<UInt8>) throws(SnapshotError) {
        buffer.append(contentsOf: bytes)
        let input = buffer
        buffer = []
        var offset = 0
        while let length = try blockLength(input, at: offset) {
            try decodeBlock(input[(offset + 4)..<(offset + 4 + length + 8)])
            offset += 4 + length + 8
        }
        buffer = offset == 0 ? input : [UInt8](input[offset...])
    }

    /// The length of kind and payload of the block at `offset`, nil while the block isn't complete.
    private func blockLength(_ input: [UInt8], at offset: Int) throws(SnapshotError) -> Int? {
        guard input.count - offset >= 5 else { return nil }
        var length = 0
        for position in (0..<4).reversed() { length = length << 8 | Int(input[offset + position]) }
        guard length >= 1, length <= SnapshotFormat.maximumBlockBytes else { throw .damaged }
        return input.count - offset >= 4 + length + 8 ? length : nil
    }

    private mutating func decodeBlock(_ block: ArraySlice<UInt8>) throws(SnapshotError) {
        let content = block.dropLast(8)
        let (expected, found) = block.withUnsafeBytes { bytes in
            (
                SnapshotFormat.hash(previous: hash, .init(rebasing: bytes.dropLast(8))),
                // In bounds: the block has a kind and eight bytes of hash.
                UInt64(
                    littleEndian: bytes.loadUnaligned(
                        fromByteOffset: bytes.count - 8, as: UInt64.self))
            )
        }
        guard expected == found else { throw .damaged }
        hash = expected
        guard let kind = SnapshotFormat.BlockKind(rawValue: content[content.startIndex]) else {
            throw .invalid("unknown kind of block")
        }
        let payload = content.dropFirst()
        switch (stage, kind) {
        case (.header, .header):
            try decodeHeader(payload)
            stage = .members
        case (.members, .members):
            membership = try SnapshotDecoder.parse(payload, SnapshotDecoder.decodeMembers)
            try checkMembers()
            stage = .leases
        case (.leases, .leases):
            try decodeLeases(payload)
        case (.leases, .versions), (.versions, .versions):
            stage = .versions
            try loader.load(payload)
        case (.leases, .end), (.versions, .end):
            try decodeEnd(payload)
            stage = .finished
        case (_, _):
            throw .invalid("block out of order")
        }
    }

    /// The store, once the last block was fed.
    public consuming func finish() throws(SnapshotError) -> Store {
        guard case .finished = stage, buffer.isEmpty else { throw .incomplete }
        let leases = leases
        let result = try loader.finish { leases[$0] != nil }
        var store = Store(limits: limits)
        store.revision = header.revision
        store.compactedRevision = header.compactedRevision
        store.appliedIndex = header.appliedIndex
        store.appliedTerm = header.appliedTerm
        store.hasher = RollingHash(header.stateHash)
        store.leases = leases
        store.membership = membership
        store.tree = result.tree
        store.leasedKeys = result.leasedKeys
        store.history = result.history
        store.versionBytes = result.versionBytes
        return store
    }

    // MARK: Blocks

    private static func parse<Result>(
        _ payload: ArraySlice<UInt8>,
        _ parse: (inout ByteReader) throws(MalformedBytes) -> Result
    ) throws(SnapshotError) -> Result {
        do throws(MalformedBytes) {
            return try parsing(payload, parse)
        } catch {
            throw .invalid("block ends inside a field")
        }
    }

    private mutating func decodeHeader(_ payload: ArraySlice<UInt8>) throws(SnapshotError) {
        let version = payload.prefix(4).reversed().reduce(0) { $0 << 8 | UInt32($1) }
        guard version == SnapshotFormat.version else { throw .unknownFormatVersion(version) }
        let header = try SnapshotDecoder.parse(payload.dropFirst(4)) {
            reader throws(MalformedBytes) in
            Header(
                revision: try reader.integer(), compactedRevision: try reader.integer(),
                appliedIndex: try reader.integer(), appliedTerm: try reader.integer(),
                stateHash: try reader.integer())
        }
        guard header.revision >= 1, header.compactedRevision >= -1,
            header.compactedRevision <= header.revision
        else { throw .invalid("revisions contradict each other") }
        // Far from where counting on would overflow.
        guard header.revision <= SnapshotFormat.maximumNumber,
            max(header.appliedIndex, header.appliedTerm) <= UInt64(SnapshotFormat.maximumNumber)
        else { throw .invalid("a number is out of bounds") }
        self.header = header
        loader = VersionLoader(
            revision: header.revision, compactedRevision: header.compactedRevision)
    }

    private static func decodeMembers(
        _ reader: inout ByteReader
    ) throws(MalformedBytes) -> MemberTable {
        let members = try reader.list(elementBytes: 22) {
            reader throws(MalformedBytes) -> ClusterMember in
            let id = try reader.integer(UInt64.self)
            guard let role = MemberRole(rawValue: try reader.integer()) else {
                throw MalformedBytes()
            }
            let name = try reader.string()
            let peerURLs = try reader.list(elementBytes: 4) { reader throws(MalformedBytes) in
                try reader.string()
            }
            let clientURLs = try reader.list(elementBytes: 4) { reader throws(MalformedBytes) in
                try reader.string()
            }
            let length = try reader.integer(UInt8.self)
            guard length == 0 || Int(length) == MemberAttributes.directoryIDBytes else {
                throw MalformedBytes()
            }
            return ClusterMember(
                id: id, name: name, peerURLs: peerURLs, clientURLs: clientURLs, role: role,
                directoryID: [UInt8](try reader.bytes(Int(length))))
        }
        let removed = try reader.list(elementBytes: 8) { reader throws(MalformedBytes) in
            try reader.integer(UInt64.self)
        }
        return MemberTable(members: members, removedIDs: removed)
    }

    private func checkMembers() throws(SnapshotError) {
        for ids in [membership.members.map(\.id), membership.removedIDs]
        where zip(ids, ids.dropFirst()).contains(where: { $0 >= $1 }) {
            throw .invalid("members are not in order")
        }
    }

    private mutating func decodeLeases(_ payload: ArraySlice<UInt8>) throws(SnapshotError) {
        let items = try SnapshotDecoder.parse(payload) { reader throws(MalformedBytes) in
            var items: [LeaseInfo] = []
            while reader.remaining > 0 {
                items.append(
                    LeaseInfo(
                        id: try reader.integer(), grantedSeconds: try reader.integer(),
                        remainingSeconds: try reader.integer()))
            }
            return items
        }
        for item in items {
            if let lastLease, lastLease.id >= item.id { throw .invalid("leases are not in order") }
            guard item.id != 0, item.grantedSeconds > 0,
                item.grantedSeconds <= StoreLimits.maximumLeaseSeconds,
                item.remainingSeconds >= 0, item.remainingSeconds <= item.grantedSeconds
            else { throw .invalid("a lease is out of bounds") }
            leases[item.id] = item
            lastLease = item
        }
    }

    private func decodeEnd(_ payload: ArraySlice<UInt8>) throws(SnapshotError) {
        let counts = try SnapshotDecoder.parse(payload) { reader throws(MalformedBytes) in
            [
                try reader.integer(UInt64.self), try reader.integer(UInt64.self),
                try reader.integer(UInt64.self),
            ]
        }
        guard counts == [UInt64(leases.count), loader.keyCount, loader.versionCount] else {
            throw .invalid("the counts at the end don't fit")
        }
    }
}
