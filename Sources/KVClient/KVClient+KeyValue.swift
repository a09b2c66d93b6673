import EtcdMessages
import EtcdWire
import FoundationEssentials

extension KVClient {
    /// Reads keys.
    public func range(
        _ request: Etcd.RangeRequest
    ) async throws(KVClientError) -> Etcd.RangeResponse {
        try await call(.range, request, effect: .reads)
    }

    /// Reads one key; nil if it doesn't exist.
    public func get(_ key: [UInt8]) async throws(KVClientError) -> Etcd.KeyValue? {
        try await range(.keys(.key(key))).kvs.first
    }

    /// Reads the keys of a range in pages, all at one revision.
    ///
    /// - Parameters:
    ///   - request: what to read; `limit` is the size of a page and must not be 0.
    ///   - page: takes each page, together with the revision that was read.
    public func pages(
        _ request: Etcd.RangeRequest, _ page: (Etcd.RangeResponse) async throws -> Void
    ) async throws {
        precondition(request.limit > 0, "a page needs a limit")
        var request = request
        while true {
            let response = try await range(request)
            try await page(response)
            guard response.more, let last = response.kvs.last else { return }
            if request.revision == 0 { request.revision = response.header.revision }
            request.key = last.key + [0]
        }
    }

    /// Writes keys.
    public func put(_ request: Etcd.PutRequest) async throws(KVClientError) -> Etcd.PutResponse {
        try await call(.put, request, effect: .writes)
    }

    /// Writes one key.
    @discardableResult
    public func put(
        _ key: [UInt8], _ value: [UInt8], lease: Int64 = 0
    ) async throws(KVClientError) -> Etcd.PutResponse {
        var request = Etcd.PutRequest()
        request.key = Data(key)
        request.value = Data(value)
        request.lease = lease
        return try await put(request)
    }

    /// Deletes keys.
    public func delete(
        _ request: Etcd.DeleteRangeRequest
    ) async throws(KVClientError) -> Etcd.DeleteRangeResponse {
        try await call(.deleteRange, request, effect: .writes)
    }

    /// Runs a transaction. One that only reads may be repeated by the client.
    public func txn(_ request: Etcd.TxnRequest) async throws(KVClientError) -> Etcd.TxnResponse {
        try await call(.txn, request, effect: request.isReadOnly ? .reads : .writes)
    }

    /// Drops the history before a revision.
    ///
    /// - Parameter physical: wait until it is done.
    public func compact(
        _ revision: Int64, physical: Bool = false
    ) async throws(KVClientError) -> Etcd.CompactionResponse {
        var request = Etcdserverpb_CompactionRequest()
        request.revision = revision
        request.physical = physical
        return try await call(.compact, request, effect: .writes)
    }
}

extension Etcd.RangeRequest {
    /// A request for all keys of a range.
    public static func keys(_ range: KeyRange) -> Self {
        var request = Self()
        request.key = Data(range.start)
        request.rangeEnd = Data(range.end)
        return request
    }
}

extension Etcd.TxnRequest {
    /// True if no branch writes, at any depth.
    public var isReadOnly: Bool {
        (success + failure).allSatisfy { operation in
            switch operation.request {
            case .requestRange, nil: true
            case .requestPut, .requestDeleteRange: false
            case .requestTxn(let nested): nested.isReadOnly
            }
        }
    }
}
