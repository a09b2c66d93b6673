/// A lease as the replicated state knows it: without a deadline, since apply sees no time.
public struct LeaseInfo: Equatable, Sendable {
    /// The lease's id, never 0.
    public var id: Int64
    /// The time to live it was granted, in seconds.
    public var grantedSeconds: Int64
    /// What was left of it at the last checkpoint, in seconds; 0 = no checkpoint, so all of it.
    public var remainingSeconds: Int64

    /// A lease with these numbers.
    public init(id: Int64, grantedSeconds: Int64, remainingSeconds: Int64 = 0) {
        self.id = id
        self.grantedSeconds = grantedSeconds
        self.remainingSeconds = remainingSeconds
    }
}

/// The granted leases.
///
/// Split into shards so that the copy a change makes while a view holds the table is small.
struct LeaseTable: Sendable {
    private static let shardCount = 256
    private var shards = [[Int64: LeaseInfo]](repeating: [:], count: shardCount)
    /// Leases in the table.
    private(set) var count = 0

    private static func shard(of id: Int64) -> Int {
        // Clients choose ids, often counting: the multiplication spreads them.
        Int((UInt64(bitPattern: id) &* 0x9e37_79b9_7f4a_7c15) >> 56)
    }

    /// The lease with this id; set it to grant, change or forget it.
    subscript(id: Int64) -> LeaseInfo? {
        get { shards[LeaseTable.shard(of: id)][id] }
        set {
            let shard = LeaseTable.shard(of: id)
            let old = shards[shard].updateOrRemove(newValue, forKey: id)
            count += (newValue == nil ? 0 : 1) - (old == nil ? 0 : 1)
        }
    }

    /// Every lease by ascending id.
    func sorted() -> [LeaseInfo] {
        shards.flatMap(\.values).sorted { $0.id < $1.id }
    }
}

extension Dictionary {
    fileprivate mutating func updateOrRemove(_ value: Value?, forKey key: Key) -> Value? {
        guard let value else { return removeValue(forKey: key) }
        return updateValue(value, forKey: key)
    }
}

/// The body of a `leaseCheckpoint` entry: what is left of leases, for the next leader.
///
/// Layout, little-endian: count u32, then count × {lease id i64, remaining seconds i64}. Remaining
/// 0 clears a checkpoint: the lease was renewed and counts from its full TTL again.
public struct LeaseCheckpoint: Equatable, Sendable {
    /// Leases in one entry at most.
    public static let leaseLimit = 1_000

    /// One lease's share.
    public struct Item: Equatable, Sendable {
        /// The lease.
        public var id: Int64
        /// Seconds left, 0 to clear the checkpoint.
        public var remainingSeconds: Int64

        /// An item for this lease.
        public init(id: Int64, remainingSeconds: Int64) {
            self.id = id
            self.remainingSeconds = remainingSeconds
        }
    }

    /// The leases, at most `leaseLimit`.
    public var items: [Item]

    /// A checkpoint of these leases.
    public init(items: [Item]) {
        self.items = items
    }

    /// The entry body.
    public func encode() -> [UInt8] {
        precondition(items.count <= LeaseCheckpoint.leaseLimit)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(4 + items.count * 16)
        bytes.append(littleEndian: UInt32(items.count))
        for item in items {
            bytes.append(littleEndian: item.id)
            bytes.append(littleEndian: item.remainingSeconds)
        }
        return bytes
    }

    /// The checkpoint in an entry body, nil if the bytes are none.
    public static func decode(_ body: ArraySlice<UInt8>) -> LeaseCheckpoint? {
        let items = try? parsing(body) { reader throws(MalformedBytes) in
            try reader.list(elementBytes: 16) { reader throws(MalformedBytes) in
                Item(id: try reader.integer(), remainingSeconds: try reader.integer())
            }
        }
        guard let items, items.count <= leaseLimit else { return nil }
        return LeaseCheckpoint(items: items)
    }
}

/// The body of a `leaseExpiry` entry: leases whose time is up by the clock of the leader of `term`.
///
/// Layout, little-endian: term u64, count u32, then count × lease id i64. The entry is void in
/// another term: a leader that was deposed while it stalled must not revoke what its successor
/// keeps alive.
public struct LeaseExpiry: Equatable, Sendable {
    /// Leases in one entry at most.
    public static let leaseLimit = 500
    /// Keys that one entry deletes at most, unless a single lease has more.
    public static let keyLimit = 2_000

    /// The proposing leader's term.
    public var term: UInt64
    /// The leases, at most `leaseLimit`.
    public var ids: [Int64]

    /// The expiry of these leases.
    public init(term: UInt64, ids: [Int64]) {
        self.term = term
        self.ids = ids
    }

    /// The entry body.
    public func encode() -> [UInt8] {
        precondition(ids.count <= LeaseExpiry.leaseLimit)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(12 + ids.count * 8)
        bytes.append(littleEndian: term)
        bytes.append(littleEndian: UInt32(ids.count))
        for id in ids { bytes.append(littleEndian: id) }
        return bytes
    }

    /// The expiry in an entry body, nil if the bytes are none.
    public static func decode(_ body: ArraySlice<UInt8>) -> LeaseExpiry? {
        let expiry = try? parsing(body) { reader throws(MalformedBytes) in
            LeaseExpiry(
                term: try reader.integer(),
                ids: try reader.list(elementBytes: 8) { reader throws(MalformedBytes) in
                    try reader.integer()
                })
        }
        guard let expiry, expiry.ids.count <= leaseLimit else { return nil }
        return expiry
    }
}
