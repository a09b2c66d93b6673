/// What a member counts as.
public enum MemberRole: UInt8, Sendable, CaseIterable {
    /// Votes.
    case voter = 0
    /// Receives the log without a vote until it is promoted by name.
    case learner = 1
    /// A voter to be, which catches up before it gets its vote.
    case staging = 2
}

/// One member as the replicated state knows it.
public struct ClusterMember: Equatable, Sendable {
    /// Its id, never used again once removed.
    public var id: UInt64
    /// Its name; empty until it has announced itself.
    public var name: String
    /// Where its peers reach it.
    public var peerURLs: [String]
    /// Where clients reach it; empty until it has announced itself.
    public var clientURLs: [String]
    /// What it counts as.
    public var role: MemberRole
    /// The 16 random bytes of its data directory; empty until it has announced itself.
    public var directoryID: [UInt8]

    /// A member with these attributes.
    public init(
        id: UInt64, name: String = "", peerURLs: [String], clientURLs: [String] = [],
        role: MemberRole, directoryID: [UInt8] = []
    ) {
        self.id = id
        self.name = name
        self.peerURLs = peerURLs
        self.clientURLs = clientURLs
        self.role = role
        self.directoryID = directoryID
    }
}

/// The body of a `configuration` entry: all members, and all that ever were.
///
/// Layout, little-endian: count u32, count × {id u64, role u8, URL count u32, URLs × {length u32,
/// UTF-8}}, then removed count u32, removed × id u64. Both lists ascend by id.
public struct MembershipRecord: Equatable, Sendable {
    /// One member's share.
    public struct Item: Equatable, Sendable {
        /// Its id.
        public var id: UInt64
        /// Where its peers reach it.
        public var peerURLs: [String]
        /// What it counts as.
        public var role: MemberRole

        /// A member with these attributes.
        public init(id: UInt64, peerURLs: [String], role: MemberRole) {
            self.id = id
            self.peerURLs = peerURLs
            self.role = role
        }
    }

    /// The members, by ascending id.
    public var members: [Item]
    /// Ids of removed members, ascending; they are never given out again.
    public var removedIDs: [UInt64]

    /// A record of these members; the order given doesn't matter.
    public init(members: [Item], removedIDs: [UInt64]) {
        self.members = members.sorted { $0.id < $1.id }
        self.removedIDs = removedIDs.sorted()
    }

    /// The entry body.
    public func encode() -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: UInt32(members.count))
        for member in members {
            bytes.append(littleEndian: member.id)
            bytes.append(member.role.rawValue)
            bytes.append(littleEndian: UInt32(member.peerURLs.count))
            for url in member.peerURLs { bytes.append(lengthPrefixed: url) }
        }
        bytes.append(littleEndian: UInt32(removedIDs.count))
        for id in removedIDs { bytes.append(littleEndian: id) }
        return bytes
    }

    /// The record in an entry body, nil if the bytes are none.
    public static func decode(_ body: ArraySlice<UInt8>) -> MembershipRecord? {
        let record = try? parsing(body) { reader throws(MalformedBytes) in
            let members = try reader.list(elementBytes: 13) {
                reader throws(MalformedBytes) -> Item in
                let id = try reader.integer(UInt64.self)
                guard let role = MemberRole(rawValue: try reader.integer()) else {
                    throw MalformedBytes()
                }
                let urls = try reader.list(elementBytes: 4) { reader throws(MalformedBytes) in
                    try reader.string()
                }
                return Item(id: id, peerURLs: urls, role: role)
            }
            let removed = try reader.list(elementBytes: 8) { reader throws(MalformedBytes) in
                try reader.integer(UInt64.self)
            }
            return MembershipRecord(members: members, removedIDs: removed)
        }
        guard let record, !hasRepetition(record.members.map(\.id)),
            !hasRepetition(record.removedIDs)
        else { return nil }
        return record
    }

    private static func hasRepetition(_ sorted: [UInt64]) -> Bool {
        zip(sorted, sorted.dropFirst()).contains { $0 == $1 }
    }
}

/// The body of a `memberAttributes` entry: what a member says about itself when it starts.
///
/// Layout, little-endian: id u64, name {length u32, UTF-8}, URL count u32, URLs × {length u32,
/// UTF-8}, directory id 16 bytes.
public struct MemberAttributes: Equatable, Sendable {
    /// Bytes of a directory id.
    public static let directoryIDBytes = 16

    /// The member.
    public var id: UInt64
    /// Its name.
    public var name: String
    /// Where clients reach it.
    public var clientURLs: [String]
    /// The 16 random bytes of its data directory.
    public var directoryID: [UInt8]

    /// Attributes of a member.
    public init(id: UInt64, name: String, clientURLs: [String], directoryID: [UInt8]) {
        precondition(directoryID.count == MemberAttributes.directoryIDBytes)
        self.id = id
        self.name = name
        self.clientURLs = clientURLs
        self.directoryID = directoryID
    }

    /// The entry body.
    public func encode() -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: id)
        bytes.append(lengthPrefixed: name)
        bytes.append(littleEndian: UInt32(clientURLs.count))
        for url in clientURLs { bytes.append(lengthPrefixed: url) }
        bytes.append(contentsOf: directoryID)
        return bytes
    }

    /// The attributes in an entry body, nil if the bytes are none.
    public static func decode(_ body: ArraySlice<UInt8>) -> MemberAttributes? {
        try? parsing(body) { reader throws(MalformedBytes) in
            MemberAttributes(
                id: try reader.integer(), name: try reader.string(),
                clientURLs: try reader.list(elementBytes: 4) { reader throws(MalformedBytes) in
                    try reader.string()
                },
                directoryID: [UInt8](try reader.bytes(directoryIDBytes)))
        }
    }
}

/// The members and the ids that may not come back.
struct MemberTable: Equatable, Sendable {
    /// By ascending id.
    var members: [ClusterMember] = []
    /// Ascending.
    var removedIDs: [UInt64] = []

    /// Takes over a configuration; members keep what they announced about themselves.
    mutating func apply(_ record: MembershipRecord) {
        let known = members
        members = record.members.map { item in
            var member =
                known.first { $0.id == item.id }
                ?? ClusterMember(id: item.id, peerURLs: item.peerURLs, role: item.role)
            member.peerURLs = item.peerURLs
            member.role = item.role
            return member
        }
        // Kept for ever, even if a record forgot some.
        let merged = (removedIDs + record.removedIDs).sorted()
        removedIDs = merged.indices.filter { $0 == 0 || merged[$0] != merged[$0 - 1] }
            .map { merged[$0] }
    }

    /// Takes over what a member announced; false if there is no such member.
    mutating func apply(_ attributes: MemberAttributes) -> Bool {
        guard let index = members.firstIndex(where: { $0.id == attributes.id }) else {
            return false
        }
        members[index].name = attributes.name
        members[index].clientURLs = attributes.clientURLs
        members[index].directoryID = attributes.directoryID
        return true
    }
}
