import EtcdWire

@testable import KVCore

extension String {
    var raw: ArraySlice<UInt8> { [UInt8](utf8)[...] }
}

/// A version by value, for comparing and printing.
struct KV: Equatable, CustomStringConvertible {
    var key: String
    var value: String
    var create: Int64
    var mod: Int64
    var version: Int64
    var lease: Int64

    init(key: String, value: String, create: Int64, mod: Int64, version: Int64, lease: Int64) {
        self.key = key
        self.value = value
        self.create = create
        self.mod = mod
        self.version = version
        self.lease = lease
    }

    init(_ version: KeyVersion) {
        self.init(
            key: String(decoding: version.key, as: UTF8.self),
            value: String(decoding: version.value, as: UTF8.self), create: version.createRevision,
            mod: version.modRevision, version: version.version, lease: version.lease)
    }

    var description: String { "\(key)=\(value)(c\(create) m\(mod) v\(version) l\(lease))" }
}

func putRequest(
    _ key: String, _ value: String, lease: Int64 = 0, prevKV: Bool = false,
    ignoreValue: Bool = false, ignoreLease: Bool = false
) -> PutRequest {
    var request = PutRequest()
    request.key = key.raw
    request.value = value.raw
    request.lease = lease
    request.prevKV = prevKV
    request.ignoreValue = ignoreValue
    request.ignoreLease = ignoreLease
    return request
}

func deleteRequest(_ key: String, end: String = "", prevKV: Bool = false) -> DeleteRangeRequest {
    var request = DeleteRangeRequest()
    request.key = key.raw
    request.rangeEnd = end.raw
    request.prevKV = prevKV
    return request
}

func rangeRequest(
    _ key: String, end: String = "", revision: Int64 = 0, limit: Int64 = 0,
    order: SortOrder = .none, target: SortTarget = .key
) -> RangeRequest {
    var request = RangeRequest()
    request.key = key.raw
    request.rangeEnd = end.raw
    request.revision = revision
    request.limit = limit
    request.sortOrder = order
    request.sortTarget = target
    return request
}

func compare(
    _ key: String, _ target: Compare.Target, _ result: Compare.Result, _ operand: Compare.Operand,
    end: String = ""
) -> Compare {
    var compare = Compare()
    compare.key = key.raw
    compare.target = target
    compare.result = result
    compare.operand = operand
    compare.rangeEnd = end.raw
    return compare
}

func txnRequest(
    _ compares: [Compare] = [], then success: [RequestOperation] = [],
    else failure: [RequestOperation] = []
) -> TxnRequest {
    var request = TxnRequest()
    request.compare = compares
    request.success = success
    request.failure = failure
    return request
}

/// A store with the bookkeeping around it that a member would do.
final class Member {
    var store: Store
    var index: UInt64 = 0
    var term: UInt64 = 1
    /// Every change since the start.
    var changes: [KeyVersion] = []
    /// The entries applied, for feeding another member.
    var log: [[UInt8]] = []

    init(limits: StoreLimits = StoreLimits()) {
        store = Store(limits: limits)
    }

    init(_ store: consuming Store) {
        index = store.appliedIndex
        term = store.appliedTerm
        self.store = store
    }

    @discardableResult
    func apply(_ kind: EntryKind, _ body: [UInt8]) -> ApplyResult {
        apply(
            Envelope.encode(
                kind: kind, origin: Origin(member: 1, boot: 1, sequence: index), body: body))
    }

    @discardableResult
    func apply(_ entry: [UInt8]) -> ApplyResult {
        index += 1
        log.append(entry)
        guard let envelope = try? Envelope(decoding: entry) else { fatalError("own entry") }
        let first = store.history.end
        defer {
            changes += (first..<store.history.end).map { KeyVersion(store.history[$0].version) }
        }
        return store.apply(envelope, index: index, term: term)
    }

    @discardableResult
    func put(_ request: PutRequest) -> ApplyResult { apply(.put, encoded(request.encode)) }

    @discardableResult
    func put(_ key: String, _ value: String = "v", lease: Int64 = 0) -> ApplyResult {
        put(putRequest(key, value, lease: lease))
    }

    @discardableResult
    func delete(_ key: String, end: String = "", prevKV: Bool = false) -> ApplyResult {
        apply(.deleteRange, encoded(deleteRequest(key, end: end, prevKV: prevKV).encode))
    }

    @discardableResult
    func txn(_ request: TxnRequest) -> ApplyResult { apply(.txn, encoded(request.encode)) }

    @discardableResult
    func compact(_ revision: Int64) -> ApplyResult {
        var request = CompactionRequest()
        request.revision = revision
        return apply(.compact, encoded(request.encode))
    }

    @discardableResult
    func grant(_ id: Int64, ttl: Int64 = 10) -> ApplyResult {
        var request = LeaseGrantRequest()
        request.id = id
        request.ttl = ttl
        return apply(.leaseGrant, encoded(request.encode))
    }

    @discardableResult
    func revoke(_ id: Int64) -> ApplyResult {
        var request = LeaseRevokeRequest()
        request.id = id
        return apply(.leaseRevoke, encoded(request.encode))
    }

    @discardableResult
    func expire(_ ids: [Int64], term: UInt64? = nil) -> ApplyResult {
        apply(.leaseExpiry, LeaseExpiry(term: term ?? self.term, ids: ids).encode())
    }

    func answer(_ request: RangeRequest) throws(EtcdError) -> RangeOutcome {
        try store.range(request)
    }

    func range(_ request: RangeRequest) throws(EtcdError) -> [KV] {
        try store.range(request).versions.map(KV.init)
    }

    func get(_ key: String, revision: Int64 = 0) throws(EtcdError) -> KV? {
        try range(rangeRequest(key, revision: revision)).first
    }

    /// Trims until nothing is left to do.
    func trim() {
        while store.compactStep(budget: 7) == .more {}
    }

    func snapshot() -> [UInt8] {
        let view = store.takeView()
        return encodeSnapshot(view)
    }
}

func encoded(_ encode: (inout [UInt8]) -> Void) -> [UInt8] {
    var bytes: [UInt8] = []
    encode(&bytes)
    return bytes
}

func encodeSnapshot(_ view: StoreView, maxBytes: Int = 1) -> [UInt8] {
    var encoder = SnapshotEncoder(view)
    var bytes: [UInt8] = []
    while let piece = encoder.next(maxBytes: maxBytes) { bytes += piece }
    return bytes
}

func decodeSnapshot(_ bytes: [UInt8], pieces: Int = .max) throws(SnapshotError) -> Store {
    var decoder = SnapshotDecoder()
    var rest = bytes[...]
    while !rest.isEmpty {
        try decoder.feed(rest.prefix(pieces))
        rest = rest.dropFirst(pieces)
    }
    return try decoder.finish()
}

extension ApplyResult {
    var error: EtcdError? {
        if case .failure(let error) = outcome { return error }
        return nil
    }

    var put: PutOutcome? {
        if case .put(let put) = outcome { return put }
        return nil
    }

    var deletion: DeleteRangeOutcome? {
        if case .deleteRange(let deletion) = outcome { return deletion }
        return nil
    }

    var txn: TxnOutcome? {
        if case .txn(let txn) = outcome { return txn }
        return nil
    }
}

extension OperationOutcome {
    var range: RangeOutcome? {
        if case .range(let range) = self { return range }
        return nil
    }

    var txn: TxnOutcome? {
        if case .txn(let txn) = self { return txn }
        return nil
    }
}
