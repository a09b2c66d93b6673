import EtcdWire

/// Reads of the map at one state: the store's own, or a view's.
struct RangeReader {
    let tree: TreeView<KeyOrder>
    /// The newest revision whose changes the tree holds.
    let revision: Int64
    let compactedRevision: Int64

    /// The revision a request reads at, after etcd's checks; the newest for 0 and below.
    func readRevision(_ requested: Int64) throws(EtcdError) -> Int64 {
        guard requested <= revision else { throw .futureRevision }
        let target = requested <= 0 ? revision : requested
        guard target >= compactedRevision else { throw .compacted }
        return target
    }

    /// Visits what was stored under the keys of a range at a revision, in key order.
    func visit(_ range: KeyRange, at target: Int64, _ body: (VersionStorage) -> Bool) {
        tree.scan(range) { head in
            if head.modRevision <= target { return head.isTombstone || body(head) }
            guard let version = head.version(at: target), !version.isTombstone else { return true }
            return body(version)
        }
    }

    /// Answers a request that `Validation.check` has passed.
    func range(_ request: RangeRequest) throws(EtcdError) -> RangeOutcome {
        guard let outcome = try range(request, within: .unbounded) else {
            preconditionFailure("a range was too large without a bound")
        }
        return outcome
    }

    /// Answers a request that `Validation.check` has passed, nil if that would go beyond `bounds`.
    func range(
        _ request: RangeRequest, within bounds: RangeBounds
    ) throws(EtcdError) -> RangeOutcome? {
        let target = try readRevision(request.revision)
        let range = KeyRange(key: request.key, rangeEnd: request.rangeEnd)
        let options = RangeOptions(request)
        let keysOnly = request.keysOnly
        var versions: [KeyVersion] = []
        var count: Int64 = 0
        var visits = 0
        var bytes = 0
        tree.scan(range) { head in
            if visits >= bounds.visits || bytes >= bounds.bytes {
                visits = .max
                return false
            }
            visits += 1
            var version = head
            while version.modRevision > target {
                // A step down a key's history costs as much as a step to the next key.
                guard visits < bounds.visits else {
                    visits = .max
                    return false
                }
                visits += 1
                guard let previous = version.previous else { return true }
                version = previous
            }
            guard !version.isTombstone else { return true }
            count += 1
            if versions.count < options.fetchLimit && options.passes(version) {
                versions.append(KeyVersion(version))
                bytes += version.keyLength + (keysOnly ? 0 : version.valueLength)
            }
            return true
        }
        guard visits < .max else { return nil }
        options.sort(&versions)
        var more = false
        if request.limit > 0, versions.count > request.limit {
            versions.removeLast(versions.count - Int(request.limit))
            more = true
        }
        return RangeOutcome(
            versions: versions, more: more, count: count, keysOnly: keysOnly,
            revision: revision)
    }
}

/// What may be done for a range at once.
public struct RangeBounds: Sendable {
    /// Keys visited, and steps down their histories, at most.
    public var visits: Int
    /// Bytes of keys and values after which nothing more is collected.
    public var bytes: Int

    /// Bounds from their parts.
    public init(visits: Int, bytes: Int) {
        self.visits = visits
        self.bytes = bytes
    }

    static let unbounded = RangeBounds(visits: .max - 1, bytes: .max)
}

/// What a range request wants beyond its keys.
struct RangeOptions {
    /// Key-values collected before sorting; all, unless the order is the tree's own.
    let fetchLimit: Int
    private let target: SortTarget
    private let order: SortOrder
    private let modRevisions: ClosedRange<Int64>
    private let createRevisions: ClosedRange<Int64>
    /// Whether the response has the tree's order, or no key-values at all.
    let isStreamable: Bool

    init(_ request: borrowing RangeRequest) {
        func bounds(_ low: Int64, _ high: Int64) -> ClosedRange<Int64> {
            let lower = low == 0 ? Int64.min : low
            let upper = high == 0 ? Int64.max : high
            // Bounds that exclude each other: no revision is Int64.min.
            return lower <= upper ? lower...upper : Int64.min...Int64.min
        }
        modRevisions = bounds(request.minModRevision, request.maxModRevision)
        createRevisions = bounds(request.minCreateRevision, request.maxCreateRevision)
        let isFiltered =
            request.minModRevision != 0 || request.maxModRevision != 0
            || request.minCreateRevision != 0 || request.maxCreateRevision != 0
        target = request.sortTarget
        // A target other than the key means ascending, but only of what the limit let through.
        order = request.sortOrder == .none && target != .key ? .ascend : request.sortOrder
        let isOwnOrder =
            request.sortOrder == .none || (target == .key && request.sortOrder == .ascend)
        isStreamable = request.countOnly || (target == .key && isOwnOrder)
        if request.countOnly {
            fetchLimit = 0
        } else if isOwnOrder && !isFiltered && request.limit > 0 {
            fetchLimit = Int(request.limit == .max ? .max : request.limit + 1)
        } else {
            fetchLimit = .max
        }
    }

    func passes(_ version: VersionStorage) -> Bool {
        modRevisions.contains(version.modRevision)
            && createRevisions.contains(version.createRevision)
    }

    /// Key-values above twice the limit that are collected before the needless ones are dropped.
    private static let pruningSlack = 4_096

    /// Drops key-values that can't be among the first `limit`, once there are many of them; true if
    /// it dropped any. What stays can be added to, and sorted at the end.
    func prune(_ versions: inout [KeyVersion], limit: Int) -> Bool {
        guard fetchLimit == .max, versions.count - Self.pruningSlack > limit,
            (versions.count - Self.pruningSlack) / 2 > limit
        else { return false }
        switch (target, order) {
        // Must stay in key order, which is what `sort` reverses.
        case (.key, .descend): versions.removeFirst(versions.count - limit)
        default:
            sort(&versions)
            versions.removeLast(versions.count - limit)
        }
        return true
    }

    /// Sorts key-values that stand in key order. Equals stay in key order, also when descending.
    func sort(_ versions: inout [KeyVersion]) {
        switch order {
        case .none, .unrecognized: return
        case .ascend, .descend: break
        }
        let isDescending = order == .descend
        switch target {
        case .key, .unrecognized:
            if isDescending { versions.reverse() }
        case .version: sort(&versions, isDescending) { $0.version }
        case .create: sort(&versions, isDescending) { $0.createRevision }
        case .mod: sort(&versions, isDescending) { $0.modRevision }
        case .value:
            sort(&versions, isDescending) { left, right in
                left.withValue { left in right.withValue { compareBytes(left, $0) } }
            }
        }
    }

    private func sort(
        _ versions: inout [KeyVersion], _ isDescending: Bool, by number: (VersionStorage) -> Int64
    ) {
        sort(&versions, isDescending) { left, right in
            let (left, right) = (number(left), number(right))
            return left == right ? 0 : (left < right ? -1 : 1)
        }
    }

    private func sort(
        _ versions: inout [KeyVersion], _ isDescending: Bool,
        _ compare: (VersionStorage, VersionStorage) -> Int
    ) {
        versions.sort { left, right in
            let order = compare(left.storage, right.storage)
            if order != 0 { return isDescending ? order > 0 : order < 0 }
            return left.storage.withKey { left in right.storage.withKey { compareBytes(left, $0) } }
                < 0
        }
    }
}
