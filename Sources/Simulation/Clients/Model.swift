import EtcdMessages
import EtcdWire
import KVCore
import Foundation

/// What the map should be: the data model of etcd written down as plainly as possible, with the
/// whole history. It shares no code with the store it is compared with.
struct Model {
    /// A version of a key; a deletion has version 0.
    struct Version: Equatable {
        var key: [UInt8]
        var value: [UInt8]
        var create: Int64
        var mod: Int64
        var version: Int64
        var lease: Int64

        var isDeletion: Bool { version == 0 }

        var message: Mvccpb_KeyValue {
            var message = Mvccpb_KeyValue()
            message.key = Data(key)
            message.value = Data(value)
            message.createRevision = create
            message.modRevision = mod
            message.version = version
            message.lease = lease
            return message
        }
    }
    /// A change with what it replaced.
    struct Change {
        var version: Version
        var previous: Version?
    }
    typealias Operation = Etcdserverpb_RequestOp
    typealias Answer = Etcdserverpb_ResponseOp

    private(set) var revision: Int64 = 1
    private(set) var compacted: Int64 = 0
    /// Seconds granted, by lease.
    private(set) var leases: [Int64: Int64] = [:]
    /// The changes of each revision; nothing happened in revisions 0 and 1.
    private(set) var changes: [[Change]] = [[], []]
    private var keys: [[UInt8]] = []
    private var history: [[UInt8]: [Version]] = [:]
    private var open: [Change] = []

    // MARK: - Reading

    /// The live version of a key at a revision.
    func value(_ key: [UInt8], at revision: Int64) -> Version? {
        guard let found = history[key]?.last(where: { $0.mod <= revision }), !found.isDeletion
        else { return nil }
        return found
    }

    /// The live versions in a range at a revision, by key.
    func values(_ key: [UInt8], _ end: [UInt8], at revision: Int64) -> [Version] {
        if end.isEmpty { return value(key, at: revision).map { [$0] } ?? [] }
        return keys.filter { Self.contains($0, from: key, to: end) }
            .compactMap { value($0, at: revision) }
    }

    static func contains(_ key: [UInt8], from start: [UInt8], to end: [UInt8]) -> Bool {
        if end.isEmpty { return key == start }
        guard !key.lexicographicallyPrecedes(start) else { return false }
        return end == [0] || key.lexicographicallyPrecedes(end)
    }

    /// Keys that hang on a lease now.
    func keys(ofLease lease: Int64) -> [[UInt8]] {
        keys.filter { value($0, at: revision)?.lease == lease }
    }

    /// A range's answer at a revision, without header and without the request's checks.
    func range(
        _ request: Etcdserverpb_RangeRequest, at revision: Int64
    ) -> Etcdserverpb_RangeResponse {
        var found = values(Array(request.key), Array(request.rangeEnd), at: revision)
        var response = Etcdserverpb_RangeResponse()
        response.count = Int64(found.count)
        if request.countOnly { return response }
        if request.limit > 0, found.count > Int(request.limit) {
            found.removeLast(found.count - Int(request.limit))
            response.more = true
        }
        response.kvs = found.map { version in
            var message = version.message
            if request.keysOnly { message.value = Data() }
            return message
        }
        return response
    }

    // MARK: - Writing

    private mutating func write(_ version: Version) {
        let previous = value(version.key, at: revision + 1)
        if history[version.key] == nil {
            let place = keys.firstIndex { version.key.lexicographicallyPrecedes($0) }
            keys.insert(version.key, at: place ?? keys.count)
        }
        history[version.key, default: []].append(version)
        open.append(Change(version: version, previous: previous))
    }

    private mutating func finish() {
        guard !open.isEmpty else { return }
        revision += 1
        changes.append(open)
        open.removeAll()
    }

    private mutating func put(_ request: Etcdserverpb_PutRequest) -> Etcdserverpb_PutResponse {
        let key = Array(request.key)
        let old = value(key, at: revision + 1)
        write(
            Version(
                key: key, value: request.ignoreValue ? old?.value ?? [] : Array(request.value),
                create: old?.create ?? revision + 1, mod: revision + 1,
                version: (old?.version ?? 0) + 1,
                lease: request.ignoreLease ? old?.lease ?? 0 : request.lease))
        var response = Etcdserverpb_PutResponse()
        if request.prevKv, let old { response.prevKv = old.message }
        return response
    }

    private mutating func delete(_ victims: [Version]) {
        for victim in victims {
            write(
                Version(
                    key: victim.key, value: [], create: 0, mod: revision + 1, version: 0, lease: 0))
        }
    }

    private mutating func deleteRange(
        _ request: Etcdserverpb_DeleteRangeRequest
    ) -> Etcdserverpb_DeleteRangeResponse {
        let victims = values(Array(request.key), Array(request.rangeEnd), at: revision + 1)
        delete(victims)
        var response = Etcdserverpb_DeleteRangeResponse()
        response.deleted = Int64(victims.count)
        if request.prevKv { response.prevKvs = victims.map(\.message) }
        return response
    }

    private mutating func endLease(_ lease: Int64) {
        delete(keys(ofLease: lease).compactMap { value($0, at: revision) })
        finish()
        leases[lease] = nil
    }

    // MARK: - Transactions

    private func holds(_ compare: Etcdserverpb_Compare) -> Bool {
        let found = values(Array(compare.key), Array(compare.rangeEnd), at: revision)
        if found.isEmpty {
            // A key that doesn't exist has no value to compare, and zero for the rest.
            if compare.target == .value { return false }
            return holds(
                compare, Version(key: [], value: [], create: 0, mod: 0, version: 0, lease: 0))
        }
        return found.allSatisfy { holds(compare, $0) }
    }

    private func holds(_ compare: Etcdserverpb_Compare, _ version: Version) -> Bool {
        let order: Int
        func sign<Value: Comparable>(_ a: Value, _ b: Value) -> Int { a < b ? -1 : a > b ? 1 : 0 }
        switch compare.target {
        case .version: order = sign(version.version, compare.version)
        case .create: order = sign(version.create, compare.createRevision)
        case .mod: order = sign(version.mod, compare.modRevision)
        case .lease: order = sign(version.lease, compare.lease)
        case .value:
            let value = Array(compare.value)
            order =
                version.value == value
                ? 0 : version.value.lexicographicallyPrecedes(value) ? -1 : 1
        case .UNRECOGNIZED: return false
        }
        switch compare.result {
        case .equal: return order == 0
        case .notEqual: return order != 0
        case .greater: return order > 0
        case .less: return order < 0
        case .UNRECOGNIZED: return false
        }
    }

    /// Which branch each transaction takes, decided before anything is written.
    private func branches(_ request: Etcdserverpb_TxnRequest, into path: inout [Bool]) {
        let succeeded = request.compare.allSatisfy(holds)
        path.append(succeeded)
        for operation in succeeded ? request.success : request.failure {
            if case .requestTxn(let nested)? = operation.request { branches(nested, into: &path) }
        }
    }

    private func fault(
        _ request: Etcdserverpb_TxnRequest, path: inout ArraySlice<Bool>
    ) -> EtcdError? {
        for operation in path.removeFirst() ? request.success : request.failure {
            switch operation.request {
            case .requestPut(let put):
                if let error = fault(put) { return error }
            case .requestRange(let range):
                if range.revision > revision { return .futureRevision }
                if range.revision != 0, range.revision < compacted { return .compacted }
            case .requestTxn(let nested):
                if let error = fault(nested, path: &path) { return error }
            case .requestDeleteRange, nil: break
            }
        }
        return nil
    }

    private func fault(_ put: Etcdserverpb_PutRequest) -> EtcdError? {
        if put.ignoreValue || put.ignoreLease, value(Array(put.key), at: revision) == nil {
            return .keyNotFound
        }
        return put.lease != 0 && leases[put.lease] == nil ? .leaseNotFound : nil
    }

    private mutating func run(
        _ request: Etcdserverpb_TxnRequest, path: inout ArraySlice<Bool>
    ) -> Etcdserverpb_TxnResponse {
        var response = Etcdserverpb_TxnResponse()
        response.succeeded = path.removeFirst()
        for operation in response.succeeded ? request.success : request.failure {
            var answer = Answer()
            switch operation.request {
            case .requestPut(let put): answer.responsePut = self.put(put)
            case .requestDeleteRange(let deletion):
                answer.responseDeleteRange = deleteRange(deletion)
            case .requestRange(let range):
                let newest = open.isEmpty ? revision : revision + 1
                answer.responseRange = self.range(
                    range, at: range.revision > 0 ? range.revision : newest)
            case .requestTxn(let nested): answer.responseTxn = run(nested, path: &path)
            case nil: continue
            }
            response.responses.append(answer)
        }
        return response
    }

    /// A transaction that only reads, at a revision, without header.
    func read(
        _ request: Etcdserverpb_TxnRequest, at revision: Int64
    ) -> Result<Etcdserverpb_TxnResponse, EtcdError> {
        var past = self
        past.revision = revision
        // Whether the past is still there is judged by what the member knew, not by us.
        past.compacted = 0
        return past.transact(request)
    }

    private mutating func transact(
        _ request: Etcdserverpb_TxnRequest
    ) -> Result<Etcdserverpb_TxnResponse, EtcdError> {
        var path: [Bool] = []
        branches(request, into: &path)
        var remaining = path[...]
        if let error = fault(request, path: &remaining) { return .failure(error) }
        remaining = path[...]
        let response = run(request, path: &remaining)
        finish()
        return .success(response)
    }

    // MARK: - Entries

    /// What an entry leads to.
    enum Outcome {
        case put(Etcdserverpb_PutResponse)
        case deleteRange(Etcdserverpb_DeleteRangeResponse)
        case txn(Etcdserverpb_TxnResponse)
        case compacted
        case granted(lease: Int64, seconds: Int64)
        case revoked(lease: Int64)
        case expired([Int64])
        case failed(EtcdError)
        case nothing
    }

    /// Applies a committed entry.
    mutating func apply(_ envelope: Envelope, term: UInt64) throws -> Outcome {
        let body = Data(envelope.body)
        switch envelope.kind {
        case .put:
            let request = try Etcdserverpb_PutRequest(serializedBytes: body)
            // A put alone looks at the lease first, a transaction at the flags.
            if request.lease != 0, leases[request.lease] == nil { return .failed(.leaseNotFound) }
            if let error = fault(request) { return .failed(error) }
            let response = put(request)
            finish()
            return .put(response)
        case .deleteRange:
            let response = deleteRange(try Etcdserverpb_DeleteRangeRequest(serializedBytes: body))
            finish()
            return .deleteRange(response)
        case .txn:
            switch transact(try Etcdserverpb_TxnRequest(serializedBytes: body)) {
            case .success(let response): return .txn(response)
            case .failure(let error): return .failed(error)
            }
        case .compact:
            let target = try Etcdserverpb_CompactionRequest(serializedBytes: body).revision
            if target <= compacted { return .failed(.compacted) }
            if target > revision { return .failed(.futureRevision) }
            compacted = target
            return .compacted
        case .leaseGrant:
            let request = try Etcdserverpb_LeaseGrantRequest(serializedBytes: body)
            if leases[request.id] != nil { return .failed(.leaseExists) }
            leases[request.id] = request.ttl
            return .granted(lease: request.id, seconds: request.ttl)
        case .leaseRevoke:
            let request = try Etcdserverpb_LeaseRevokeRequest(serializedBytes: body)
            guard leases[request.id] != nil else { return .failed(.leaseNotFound) }
            endLease(request.id)
            return .revoked(lease: request.id)
        case .leaseExpiry:
            guard let expiry = LeaseExpiry.decode(envelope.body), expiry.term == term else {
                return .nothing
            }
            var ended: [Int64] = []
            for lease in expiry.ids where leases[lease] != nil {
                endLease(lease)
                ended.append(lease)
            }
            return .expired(ended)
        case .noop, .leaseCheckpoint, .memberAttributes, .configuration, .alarm, .auth,
            .clusterVersion:
            return .nothing
        }
    }
}
