import EtcdWire

@testable import KVCore

/// The slowest correct store: a list of everything that ever happened.
struct Model {
    struct Change: Equatable {
        var kv: KV
        var isDeletion: Bool
    }

    var revision: Int64 = 1
    var compacted: Int64 = -1
    var changes: [Change] = []
    var leases: [Int64: Int64] = [:]

    private var pending = false

    func keys() -> [String] { Set(changes.map(\.kv.key)).sorted() }

    /// The live version of a key at a revision, by looking at everything.
    func value(_ key: String, at target: Int64) -> KV? {
        guard let last = changes.last(where: { $0.kv.key == key && $0.kv.mod <= target }),
            !last.isDeletion
        else { return nil }
        return last.kv
    }

    static func contains(_ key: String, _ start: String, _ end: String) -> Bool {
        if end.isEmpty { return key == start }
        if end == "\0" { return key >= start }
        return key >= start && key < end
    }

    func range(_ request: RangeRequest) throws(EtcdError) -> (kvs: [KV], more: Bool, count: Int) {
        guard request.revision <= revision else { throw .futureRevision }
        let target = request.revision <= 0 ? revision : request.revision
        guard target >= compacted else { throw .compacted }
        return readRange(request, at: target)
    }

    private func readRange(
        _ request: RangeRequest, at target: Int64
    ) -> (kvs: [KV], more: Bool, count: Int) {
        let start = String(decoding: request.key, as: UTF8.self)
        let end = String(decoding: request.rangeEnd, as: UTF8.self)
        let all = keys().filter { Model.contains($0, start, end) }
            .compactMap { value($0, at: target) }
        if request.countOnly { return ([], false, all.count) }
        var kvs = all
        let isFiltered =
            request.minModRevision != 0 || request.maxModRevision != 0
            || request.minCreateRevision != 0 || request.maxCreateRevision != 0
        let limit = request.limit > 0 ? Int(request.limit) : Int.max
        if !isFiltered && request.sortOrder == .none && limit < Int.max {
            kvs = Array(kvs.prefix(limit + 1))
        }
        kvs = kvs.filter { kv in
            (request.minModRevision == 0 || kv.mod >= request.minModRevision)
                && (request.maxModRevision == 0 || kv.mod <= request.maxModRevision)
                && (request.minCreateRevision == 0 || kv.create >= request.minCreateRevision)
                && (request.maxCreateRevision == 0 || kv.create <= request.maxCreateRevision)
        }
        let number: (KV) -> Int64
        switch request.sortTarget {
        case .key, .value, .unrecognized: number = { _ in 0 }
        case .version: number = { $0.version }
        case .create: number = { $0.create }
        case .mod: number = { $0.mod }
        }
        let text: (KV) -> String = {
            request.sortTarget == .value ? $0.value : (request.sortTarget == .key ? $0.key : "")
        }
        if request.sortOrder == .descend {
            kvs.sort { left, right in
                if number(left) != number(right) { return number(left) > number(right) }
                if text(left) != text(right) { return text(left) > text(right) }
                return left.key < right.key
            }
        } else {
            kvs.sort { left, right in
                if number(left) != number(right) { return number(left) < number(right) }
                if text(left) != text(right) { return text(left) < text(right) }
                return left.key < right.key
            }
        }
        let more = kvs.count > limit
        return (Array(kvs.prefix(limit)), more, all.count)
    }

    // MARK: Writes

    private mutating func finish() {
        if pending { revision += 1 }
        pending = false
    }

    private mutating func write(_ request: PutRequest) {
        let key = String(decoding: request.key, as: UTF8.self)
        let old = value(key, at: revision + 1)
        let kv = KV(
            key: key,
            value: request.ignoreValue
                ? old?.value ?? "" : String(decoding: request.value, as: UTF8.self),
            create: old?.create ?? revision + 1, mod: revision + 1,
            version: (old?.version ?? 0) + 1,
            lease: request.ignoreLease ? old?.lease ?? 0 : request.lease)
        changes.append(Change(kv: kv, isDeletion: false))
        pending = true
    }

    private mutating func remove(_ victims: [String]) -> Int {
        for key in victims {
            let kv = KV(key: key, value: "", create: 0, mod: revision + 1, version: 0, lease: 0)
            changes.append(Change(kv: kv, isDeletion: true))
            pending = true
        }
        return victims.count
    }

    private mutating func write(_ request: DeleteRangeRequest) -> Int {
        let start = String(decoding: request.key, as: UTF8.self)
        let end = String(decoding: request.rangeEnd, as: UTF8.self)
        return remove(
            keys().filter {
                Model.contains($0, start, end) && value($0, at: revision + 1) != nil
            })
    }

    mutating func put(_ request: PutRequest) -> EtcdError? {
        if let error = check(request, leaseFirst: true) { return error }
        write(request)
        finish()
        return nil
    }

    private func check(_ request: PutRequest, leaseFirst: Bool) -> EtcdError? {
        let key = String(decoding: request.key, as: UTF8.self)
        let lease: EtcdError? =
            request.lease != 0 && leases[request.lease] == nil ? .leaseNotFound : nil
        let flags: EtcdError? =
            (request.ignoreValue || request.ignoreLease) && value(key, at: revision) == nil
            ? .keyNotFound : nil
        return leaseFirst ? lease ?? flags : flags ?? lease
    }

    mutating func delete(_ request: DeleteRangeRequest) -> Int {
        let count = write(request)
        finish()
        return count
    }

    mutating func compact(_ target: Int64) -> EtcdError? {
        if target <= compacted { return .compacted }
        if target > revision { return .futureRevision }
        compacted = target
        return nil
    }

    mutating func grant(_ id: Int64, ttl: Int64) -> EtcdError? {
        if leases[id] != nil { return .leaseExists }
        leases[id] = ttl
        return nil
    }

    mutating func revoke(_ id: Int64) -> EtcdError? {
        guard leases[id] != nil else { return .leaseNotFound }
        _ = remove(keys().filter { value($0, at: revision)?.lease == id })
        finish()
        leases[id] = nil
        return nil
    }

    // MARK: Transactions

    /// What one operation answered, printed.
    mutating func txn(_ request: TxnRequest) -> Result<String, EtcdError> {
        var path: [Bool] = []
        decide(request, &path)
        var check = path
        if let error = checkTxn(request, &check) { return .failure(error) }
        let text = run(request, &path)
        finish()
        return .success(text)
    }

    private func decide(_ request: TxnRequest, _ path: inout [Bool]) {
        let succeeded = request.compare.allSatisfy(holds)
        path.append(succeeded)
        for operation in succeeded ? request.success : request.failure {
            if case .txn(let nested) = operation { decide(nested, &path) }
        }
    }

    private func holds(_ compare: Compare) -> Bool {
        let start = String(decoding: compare.key, as: UTF8.self)
        let end = String(decoding: compare.rangeEnd, as: UTF8.self)
        let found = keys().filter { Model.contains($0, start, end) }
            .compactMap { value($0, at: revision) }
        if found.isEmpty {
            if compare.target == .value { return false }
            return holds(
                compare, KV(key: "", value: "", create: 0, mod: 0, version: 0, lease: 0))
        }
        return found.allSatisfy { holds(compare, $0) }
    }

    private func holds(_ compare: Compare, _ kv: KV) -> Bool {
        func test<Value: Comparable>(_ left: Value, _ right: Value) -> Bool {
            switch compare.result {
            case .equal: left == right
            case .notEqual: left != right
            case .greater: left > right
            case .less: left < right
            case .unrecognized: true
            }
        }
        switch compare.operand {
        case .version(let number): return test(kv.version, number)
        case .createRevision(let number): return test(kv.create, number)
        case .modRevision(let number): return test(kv.mod, number)
        case .lease(let number): return test(kv.lease, number)
        case .value(let bytes): return test(kv.value, String(decoding: bytes, as: UTF8.self))
        case .none: return test(0, 0)
        }
    }

    private func checkTxn(_ request: TxnRequest, _ path: inout [Bool]) -> EtcdError? {
        for operation in path.removeFirst() ? request.success : request.failure {
            switch operation {
            case .empty, .deleteRange: break
            case .range(let range):
                if range.revision > revision { return .futureRevision }
                if range.revision != 0 && range.revision < compacted { return .compacted }
            case .put(let put):
                if let error = check(put, leaseFirst: false) { return error }
            case .txn(let nested):
                if let error = checkTxn(nested, &path) { return error }
            }
        }
        return nil
    }

    private mutating func run(_ request: TxnRequest, _ path: inout [Bool]) -> String {
        let succeeded = path.removeFirst()
        var parts: [String] = []
        for operation in succeeded ? request.success : request.failure {
            switch operation {
            case .empty: break
            case .range(let range):
                let newest = pending ? revision + 1 : revision
                let target = range.revision <= 0 ? newest : range.revision
                let answer = readRange(range, at: target)
                parts.append("range \(answer.kvs) \(answer.more) \(answer.count)")
            case .put(let put):
                write(put)
                parts.append("put")
            case .deleteRange(let deletion):
                parts.append("delete \(write(deletion))")
            case .txn(let nested): parts.append(run(nested, &path))
            }
        }
        return "\(succeeded)[" + parts.joined(separator: "; ") + "]"
    }
}

/// The outcome of a transaction, printed as the model prints it.
func describe(_ outcome: TxnOutcome) -> String {
    let parts = outcome.responses.map { response in
        switch response {
        case .range(let range):
            "range \(range.versions.map(KV.init)) \(range.more) \(range.count)"
        case .put: "put"
        case .deleteRange(let deletion): "delete \(deletion.deleted)"
        case .txn(let nested): describe(nested)
        }
    }
    return "\(outcome.succeeded)[" + parts.joined(separator: "; ") + "]"
}
