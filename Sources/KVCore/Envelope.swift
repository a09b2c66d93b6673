/// What a log entry asks the replicated map to do. The raw values are the storage format: they are
/// never renumbered.
public enum EntryKind: UInt8, Sendable, CaseIterable {
    /// Nothing: a new leader's first entry.
    case noop = 0
    /// A `PutRequest`.
    case put = 1
    /// A `DeleteRangeRequest`.
    case deleteRange = 2
    /// A `TxnRequest`.
    case txn = 3
    /// A `CompactionRequest`.
    case compact = 4
    /// A `LeaseGrantRequest` whose id and TTL were settled before the proposal.
    case leaseGrant = 5
    /// A `LeaseRevokeRequest`.
    case leaseRevoke = 6
    /// A ``LeaseCheckpoint``.
    case leaseCheckpoint = 7
    /// A ``LeaseExpiry``.
    case leaseExpiry = 8
    /// Reserved: an `AlarmRequest`.
    case alarm = 9
    /// Reserved: a change of users and roles.
    case auth = 10
    /// A ``MemberAttributes``.
    case memberAttributes = 11
    /// Reserved: the version whose apply rules the whole cluster follows.
    case clusterVersion = 12
    /// A ``MembershipRecord``.
    case configuration = 13

    /// Whether the kind has its number but no meaning yet: as unknown as one without a number.
    public var isReserved: Bool {
        switch self {
        case .alarm, .auth, .clusterVersion: true
        case .noop, .put, .deleteRange, .txn, .compact, .leaseGrant, .leaseRevoke,
            .leaseCheckpoint, .leaseExpiry, .memberAttributes, .configuration:
            false
        }
    }
}

/// Who proposed an entry: enough for that member to find the caller that waits for the answer.
public struct Origin: Equatable, Hashable, Sendable {
    /// The member's id.
    public var member: UInt64
    /// The incarnation of its process.
    public var boot: UInt64
    /// The request's number within that incarnation.
    public var sequence: UInt64

    /// An origin of these three numbers.
    public init(member: UInt64, boot: UInt64, sequence: UInt64) {
        self.member = member
        self.boot = boot
        self.sequence = sequence
    }
}

/// Why bytes are not an entry envelope. A committed entry that fails so stops the member: it was
/// written by a newer version or is damaged, and skipping it would let replicas diverge.
public enum EnvelopeError: Error, Equatable, Sendable {
    /// Fewer bytes than the header, or than the user name it announces.
    case truncated
    /// A format version this program doesn't know.
    case unknownFormatVersion(UInt8)
    /// A kind this program doesn't know, or only as a reserved number.
    case unknownKind(UInt8)
    /// Flags this program doesn't know.
    case unknownFlags(UInt16)
}

/// One log entry: who asked for what, followed by the request's own protobuf bytes.
///
/// Layout, little-endian, in this order:
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 1 | format version, 1 |
/// | 1 | 1 | kind, see ``EntryKind`` |
/// | 2 | 2 | flags, 0 |
/// | 4 | 8 | origin member |
/// | 12 | 8 | origin boot |
/// | 20 | 8 | origin sequence |
/// | 28 | 8 | auth revision the permission check used |
/// | 36 | 2 | length of the user name, n |
/// | 38 | n | user name, empty without authentication |
/// | 38 + n | rest | body |
public struct Envelope: Sendable {
    /// The layout's version.
    public static let formatVersion: UInt8 = 1
    /// Bytes in front of the user name.
    public static let headerBytes = 38

    /// What the entry asks for.
    public let kind: EntryKind
    /// Reserved for meaning that an older program must not ignore; 0 in version 1.
    public let flags: UInt16
    /// Who proposed it.
    public let origin: Origin
    /// The auth store's revision under which the proposer checked permissions.
    public let authRevision: UInt64
    // One reference to the entry, not one for each part: every member reads two envelopes a put.
    private let bytes: ArraySlice<UInt8>
    private let bodyStart: Int

    /// The authenticated user, empty without authentication.
    public var user: ArraySlice<UInt8> {
        bytes[(bytes.startIndex + Envelope.headerBytes)..<bodyStart]
    }

    /// The request, as it came over the wire.
    public var body: ArraySlice<UInt8> { bytes[bodyStart...] }

    /// Reads an envelope out of an entry's bytes; `user` and `body` share their storage.
    public init(decoding bytes: [UInt8]) throws(EnvelopeError) {
        try self.init(decoding: bytes[...])
    }

    /// Reads an envelope out of an entry's bytes; `user` and `body` share their storage.
    public init(decoding bytes: ArraySlice<UInt8>) throws(EnvelopeError) {
        guard bytes.count >= Envelope.headerBytes else { throw .truncated }
        let start = bytes.startIndex
        guard bytes[start] == Envelope.formatVersion else {
            throw .unknownFormatVersion(bytes[start])
        }
        guard let kind = EntryKind(rawValue: bytes[start + 1]), !kind.isReserved else {
            throw .unknownKind(bytes[start + 1])
        }
        self.kind = kind
        let userBytes: Int
        (flags, origin, authRevision, userBytes) = bytes.withUnsafeBytes { raw in
            // All offsets lie within the header, whose length was checked; an integer has no
            // invalid bit pattern.
            func load<Value: FixedWidthInteger>(_ offset: Int, as type: Value.Type) -> Value {
                Value(littleEndian: raw.loadUnaligned(fromByteOffset: offset, as: type))
            }
            let origin = Origin(
                member: load(4, as: UInt64.self), boot: load(12, as: UInt64.self),
                sequence: load(20, as: UInt64.self))
            return (
                load(2, as: UInt16.self), origin, load(28, as: UInt64.self),
                Int(load(36, as: UInt16.self))
            )
        }
        guard flags == 0 else { throw .unknownFlags(flags) }
        bodyStart = start + Envelope.headerBytes + userBytes
        guard bodyStart <= bytes.endIndex else { throw .truncated }
        self.bytes = bytes
    }

    /// The bytes of an entry, in one allocation of exactly their size.
    ///
    /// The user name must be shorter than 65,536 bytes.
    public static func encode(
        kind: EntryKind, origin: Origin, authRevision: UInt64 = 0,
        user: ArraySlice<UInt8> = [], body: ArraySlice<UInt8>
    ) -> [UInt8] {
        precondition(user.count <= Int(UInt16.max), "user names are limited when they are created")
        precondition(!kind.isReserved, "no member could apply the entry")
        var entry: [UInt8] = []
        ByteRoom.append(byteCount: headerBytes + user.count + body.count, to: &entry) { room in
            room.write(formatVersion)
            room.write(kind.rawValue)
            room.write(UInt16(0))
            room.write(origin.member)
            room.write(origin.boot)
            room.write(origin.sequence)
            room.write(authRevision)
            room.write(UInt16(user.count))
            user.withUnsafeBytes { room.write($0) }
            body.withUnsafeBytes { room.write($0) }
        }
        return entry
    }

    /// The bytes of an entry whose body is a whole array.
    public static func encode(
        kind: EntryKind, origin: Origin, authRevision: UInt64 = 0,
        user: ArraySlice<UInt8> = [], body: [UInt8]
    ) -> [UInt8] {
        encode(
            kind: kind, origin: origin, authRevision: authRevision, user: user, body: body[...])
    }
}
