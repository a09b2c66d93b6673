import EtcdWire

/// The replicated map of one member: what all committed entries, applied in order, amount to.
///
/// Owned by one thread, hence not copyable; readers on other threads take a ``StoreView``.
///
/// `@unchecked Sendable`: the store has one owner at a time. What it can change (nodes of its own
/// epoch, the history, chains below every view's floor) is reachable through it only, and what it
/// shares with views is never changed, so it may move to another thread.
public struct Store: ~Copyable, @unchecked Sendable {
    /// What bounds the store.
    public let limits: StoreLimits
    /// The revision of the newest change; 1 in a fresh store.
    public internal(set) var revision: Int64 = 1
    /// The revision of the last compaction, −1 before the first: reads below it are refused.
    public internal(set) var compactedRevision: Int64 = -1
    /// The log index of the newest entry applied.
    public internal(set) var appliedIndex: UInt64 = 0
    /// The term of the newest entry applied.
    public internal(set) var appliedTerm: UInt64 = 0

    var tree = KeyTree<KeyOrder>()
    var leasedKeys = KeyTree<LeaseOrder>()
    var leases = LeaseTable()
    var history = History()
    var membership = MemberTable()
    var hasher = RollingHash()
    /// What all versions that no compaction covers count towards the quota.
    var versionBytes: UInt64 = 0
    /// What compactions have taken off `versionBytes` so far, as the history counts.
    var reclaimedBytes: UInt64 = 0
    /// Changes of the revision being made.
    var pendingChanges: UInt32 = 0
    /// Views that may still follow chains, see `compactStep`.
    var viewFloors: [ViewFloor] = []

    /// An empty store.
    public init(limits: StoreLimits = StoreLimits()) {
        self.limits = limits
    }

    /// A hash over every change since the cluster began, in order: equal on all members that have
    /// applied the same entries.
    public var stateHash: UInt64 { hasher.value }

    /// What the store counts towards the quota: a function of the applied entries alone.
    public var logicalBytes: UInt64 {
        versionBytes + UInt64(leases.count) * StoreLimits.leaseBytes
    }

    /// Keys in the tree, including deleted ones that no compaction has trimmed yet.
    public var keyCount: Int { tree.count }

    /// Changes of keys since the store was made or restored.
    package var changeCount: Int { history.end }

    /// Tree nodes copied because a view held them.
    package var nodeCopies: Int { tree.nodeCopies }

    /// Levels of nodes in the tree.
    package var treeHeight: Int { tree.height }

    /// The members, by ascending id.
    public var members: [ClusterMember] { membership.members }

    /// Ids of removed members, ascending; they never come back.
    public var removedMemberIDs: [UInt64] { membership.removedIDs }

    var reader: RangeReader {
        RangeReader(tree: tree.reader, revision: revision, compactedRevision: compactedRevision)
    }

    // MARK: Reads

    /// Answers a range on the present state.
    ///
    /// It visits every key of the range, because the count is part of the answer.
    public func range(_ request: RangeRequest) throws(EtcdError) -> RangeOutcome {
        try Validation.check(request)
        return try reader.range(request)
    }

    /// Answers a range on the present state, nil if that would go beyond `bounds`.
    public func range(
        _ request: RangeRequest, within bounds: RangeBounds
    ) throws(EtcdError) -> RangeOutcome? {
        try Validation.check(request)
        return try reader.range(request, within: bounds)
    }

    /// A range on the present state, to be read in steps from a view of this state or a later one.
    /// The header's revision is this state's, whatever the one given.
    public func largeRange(
        _ request: RangeRequest, header: ResponseHeader
    ) throws(EtcdError) -> LargeRange {
        try Validation.check(request)
        var header = header
        header.revision = revision
        return LargeRange(
            request, revision: try reader.readRevision(request.revision), header: header)
    }

    /// The lease with this id.
    public func lease(_ id: Int64) -> LeaseInfo? { leases[id] }

    /// Every lease, by ascending id.
    public func allLeases() -> [LeaseInfo] { leases.sorted() }

    /// Leases granted and not gone.
    public var leaseCount: Int { leases.count }

    /// The keys attached to a lease, in order.
    public func keys(ofLease id: Int64) -> [KeyVersion] {
        var keys: [KeyVersion] = []
        visitKeys(ofLease: id) {
            keys.append(KeyVersion($0))
            return true
        }
        return keys
    }

    func visitKeys(ofLease id: Int64, _ visit: (VersionStorage) -> Bool) {
        leasedKeys.reader.scan(lead: id, .everything, visit: visit)
    }

    /// How many of `candidates`, taken from the front, fit into one expiry entry.
    public func expiryBatchCount(_ candidates: [Int64]) -> Int {
        var keys = 0
        for (index, id) in candidates.prefix(LeaseExpiry.leaseLimit).enumerated() {
            visitKeys(ofLease: id) { _ in
                keys += 1
                return keys <= LeaseExpiry.keyLimit
            }
            if keys > LeaseExpiry.keyLimit { return max(1, index) }
        }
        return min(candidates.count, LeaseExpiry.leaseLimit)
    }

    /// A hash of everything visible at `revision` and above the last compaction (0: the newest
    /// revision), as HashKV answers it.
    public func hashKV(revision requested: Int64) throws(EtcdError) -> HashKVResult {
        try reader.hashKV(revision: requested)
    }
}

/// What HashKV answers.
public struct HashKVResult: Equatable, Sendable {
    /// The hash.
    public let hash: UInt32
    /// The compaction it starts from.
    public let compactedRevision: Int64
    /// The revision it reaches to.
    public let hashRevision: Int64
}

extension RangeReader {
    /// Whether a version still means something after the compaction: it is above it, or the key's
    /// value at it, or a deletion exactly there, which a watch from there must see.
    ///
    /// Asked of a chain from its head on; the first version at or below the compaction ends it.
    func isRetained(_ version: VersionStorage) -> Bool {
        version.modRevision >= compactedRevision || !version.isTombstone
    }

    func hashKV(revision requested: Int64) throws(EtcdError) -> HashKVResult {
        let target = try readRevision(requested)
        var hasher = RollingHash()
        tree.scan(.everything) { head in
            var candidate: VersionStorage? = head
            while let version = candidate {
                if version.modRevision <= target && isRetained(version) { hasher.combine(version) }
                candidate = version.modRevision > compactedRevision ? version.previous : nil
            }
            return true
        }
        return HashKVResult(
            hash: UInt32(truncatingIfNeeded: hasher.value ^ (hasher.value >> 32)),
            compactedRevision: compactedRevision, hashRevision: target)
    }
}
