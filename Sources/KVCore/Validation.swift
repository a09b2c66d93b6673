import EtcdWire

/// The checks of requests that need no state, in etcd's order.
///
/// The server runs them before it proposes, so that a bad request costs no log entry; apply runs
/// them again, because it must hold whatever an entry contains. The operation limit is a matter of
/// the proposer alone: it is a flag, and flags may differ between members. Whether a transaction
/// writes a key twice is a matter of apply alone: to find out costs an eighth of what a leader
/// spends on it before it is committed, and hardly any does.
public enum Validation {
    /// Checks a range.
    public static func check(_ request: RangeRequest) throws(EtcdError) {
        guard !request.key.isEmpty else { throw .emptyKey }
        switch request.sortOrder {
        case .none, .ascend, .descend: break
        case .unrecognized: throw .invalidSortOption
        }
        switch request.sortTarget {
        case .key, .version, .create, .mod, .value: break
        case .unrecognized: throw .invalidSortOption
        }
    }

    /// Checks a put.
    public static func check(_ request: PutRequest) throws(EtcdError) {
        guard !request.key.isEmpty else { throw .emptyKey }
        if request.ignoreValue && !request.value.isEmpty { throw .valueProvided }
        if request.ignoreLease && request.lease != 0 { throw .leaseProvided }
    }

    /// Checks a deletion.
    public static func check(_ request: DeleteRangeRequest) throws(EtcdError) {
        guard !request.key.isEmpty else { throw .emptyKey }
    }

    /// Checks a grant whose id and TTL are settled.
    public static func check(_ request: LeaseGrantRequest) throws(EtcdError) {
        guard request.ttl <= StoreLimits.maximumLeaseSeconds else { throw .leaseTTLTooLarge }
    }

    /// Checks a transaction with at most this many operations in a list.
    public static func check(
        _ request: TxnRequest, maximumOperations: Int
    ) throws(EtcdError) {
        try checkOperations(request, maximumOperations: maximumOperations)
        try checkKeys(request)
    }

    /// The check that apply makes.
    static func checkApplied(_ request: TxnRequest) throws(EtcdError) {
        try checkOperations(request, maximumOperations: .max)
        try checkKeys(request)
    }

    /// The part of the check that is made before a transaction is proposed. A nested transaction may
    /// use what the largest list of its parent leaves.
    public static func checkOperations(
        _ request: TxnRequest, maximumOperations budget: Int
    ) throws(EtcdError) {
        let largest = max(request.compare.count, request.success.count, request.failure.count)
        guard largest <= budget else { throw .tooManyOperations }
        for compare in request.compare where compare.key.isEmpty { throw .emptyKey }
        for operation in request.success { try check(operation, budget: budget - largest) }
        for operation in request.failure { try check(operation, budget: budget - largest) }
    }

    private static func check(_ operation: RequestOperation, budget: Int) throws(EtcdError) {
        switch operation {
        case .empty: throw .keyNotFound
        case .range(let request): try check(request)
        case .put(let request): try check(request)
        case .deleteRange(let request): try check(request)
        case .txn(let request): try checkOperations(request, maximumOperations: budget)
        }
    }

    // MARK: Duplicate keys

    private static func checkKeys(_ request: TxnRequest) throws(EtcdError) {
        _ = try writes(of: request.success)
        _ = try writes(of: request.failure)
    }

    /// What a list of operations may write.
    private struct Writes {
        var puts: [ArraySlice<UInt8>] = []
        var deletions: [KeyRange] = []
    }

    /// The writes of a list, all of whose operations run together. No key may be put twice, nor
    /// put and deleted: then each key changes at most once in a revision.
    ///
    /// The two branches of a nested transaction exclude each other, so they may coincide. etcd lets
    /// one more case through, a put in one nested transaction and its deletion in a later sibling.
    private static func writes(of operations: [RequestOperation]) throws(EtcdError) -> Writes {
        var all = Writes()
        guard !operations.isEmpty else { return all }
        all.puts.reserveCapacity(operations.count)
        var isNested = false
        for operation in operations {
            switch operation {
            case .empty, .range: break
            case .put(let request): all.puts.append(request.key)
            case .deleteRange(let request):
                all.deletions.append(KeyRange(key: request.key, rangeEnd: request.rangeEnd))
            case .txn: isNested = true
            }
        }
        guard isNested else {
            try checkDisjoint(all.puts, all.deletions)
            return all
        }
        // One group per operation that may run on its own: two writes conflict if they come from
        // different groups, or from this level.
        var groups = [all]
        for operation in operations {
            guard case .txn(let request) = operation else { continue }
            let success = try writes(of: request.success)
            let failure = try writes(of: request.failure)
            // Equal puts of the exclusive branches count once.
            var union = Writes(
                puts: success.puts, deletions: success.deletions + failure.deletions)
            let known = Set(success.puts)
            union.puts.append(contentsOf: failure.puts.filter { !known.contains($0) })
            groups.append(union)
        }
        try checkDisjoint(all.puts, all.deletions)
        try checkAcross(groups)
        return groups.dropFirst().reduce(into: all) { all, group in
            all.puts.append(contentsOf: group.puts)
            all.deletions.append(contentsOf: group.deletions)
        }
    }

    private static func checkDisjoint(
        _ puts: [ArraySlice<UInt8>], _ deletions: [KeyRange]
    ) throws(EtcdError) {
        guard puts.count > 1 || !deletions.isEmpty else { return }
        guard areDistinct(puts) else { throw .duplicateKey }
        guard !deletions.isEmpty else { return }
        let deleted = RangeUnion(deletions)
        for key in puts where deleted.contains(key) { throw .duplicateKey }
    }

    /// Keys below which a comparison of each with each is quicker than a set of them.
    private static let fewKeys = 12

    private static func areDistinct(_ keys: [ArraySlice<UInt8>]) -> Bool {
        // Who loads many keys names them in order: that spares the set, 5 % of a start with 1 M keys.
        var isAscending = true
        for place in keys.indices.dropFirst() where isAscending {
            isAscending = compareBytes(keys[place - 1], keys[place]) < 0
        }
        if isAscending { return true }
        // Only membership is asked of the set, so its order can't matter.
        guard keys.count < fewKeys else { return Set(keys).count == keys.count }
        for place in keys.indices {
            for other in keys[(place + 1)...] where compareBytes(keys[place], other) == 0 {
                return false
            }
        }
        return true
    }

    private static func checkAcross(_ groups: [Writes]) throws(EtcdError) {
        var owners: [ArraySlice<UInt8>: Int] = [:]
        for (index, group) in groups.enumerated() {
            for key in group.puts where owners.updateValue(index, forKey: key) != nil {
                throw .duplicateKey
            }
        }
        for (index, group) in groups.enumerated() where !group.deletions.isEmpty {
            let deleted = RangeUnion(group.deletions)
            for (other, puts) in groups.enumerated() where other != index {
                for key in puts.puts where deleted.contains(key) { throw .duplicateKey }
            }
        }
    }
}

/// The union of key ranges, asked in logarithmic time whether it holds a key.
private struct RangeUnion {
    private struct Piece {
        let start: ArraySlice<UInt8>
        /// Nil: no end.
        var end: ArraySlice<UInt8>?
    }

    /// Disjoint, ascending.
    private var pieces: [Piece] = []

    init(_ ranges: [KeyRange]) {
        let all = ranges.filter { !$0.isEmpty }.map { range in
            switch range.bound {
            case .single: Piece(start: range.start, end: range.start + [0])
            case .unbounded: Piece(start: range.start, end: nil)
            case .before(let end): Piece(start: range.start, end: end)
            }
        }
        for piece in all.sorted(by: { compareBytes($0.start, $1.start) < 0 }) {
            guard let last = pieces.last, RangeUnion.isBefore(piece.start, last.end) else {
                pieces.append(piece)
                continue
            }
            if let end = piece.end, RangeUnion.isBefore(end, last.end) { continue }
            pieces[pieces.count - 1].end = piece.end
        }
    }

    private static func isBefore(_ key: ArraySlice<UInt8>, _ end: ArraySlice<UInt8>?) -> Bool {
        guard let end else { return true }
        return compareBytes(key, end) < 0
    }

    func contains(_ key: ArraySlice<UInt8>) -> Bool {
        var low = 0
        var high = pieces.count
        while low < high {
            let middle = (low + high) / 2
            if compareBytes(pieces[middle].start, key) <= 0 {
                low = middle + 1
            } else {
                high = middle
            }
        }
        return low > 0 && RangeUnion.isBefore(key, pieces[low - 1].end)
    }
}
