import KVClient

// The JSON of etcdctl: field names of the API, bytes in base64, zero values left out.

extension Printer {
    func jsonLine(_ json: JSON) -> [UInt8] {
        Array((json.text + "\n").utf8)
    }

    static func json(_ header: Etcd.ResponseHeader) -> JSON {
        JSONObject {
            $0.add("cluster_id", header.clusterID)
            $0.add("member_id", header.memberID)
            $0.add("revision", header.revision)
            $0.add("raft_term", header.raftTerm)
        }.json
    }

    static func json(_ kv: Etcd.KeyValue) -> JSON {
        JSONObject {
            $0.add("key", .base64(kv.key))
            $0.add("create_revision", kv.createRevision)
            $0.add("mod_revision", kv.modRevision)
            $0.add("version", kv.version)
            if !kv.value.isEmpty { $0.add("value", .base64(kv.value)) }
            $0.add("lease", kv.lease)
        }.json
    }

    static func json(_ response: Etcd.RangeResponse) -> JSON {
        JSONObject {
            if response.hasHeader { $0.add("header", json(response.header)) }
            if !response.kvs.isEmpty { $0.add("kvs", .array(response.kvs.map(json))) }
            if response.more { $0.add("more", .bool(true)) }
            $0.add("count", response.count)
        }.json
    }

    static func json(_ response: Etcd.PutResponse) -> JSON {
        JSONObject {
            if response.hasHeader { $0.add("header", json(response.header)) }
            if response.hasPrevKv { $0.add("prev_kv", json(response.prevKv)) }
        }.json
    }

    static func json(_ response: Etcd.DeleteRangeResponse) -> JSON {
        JSONObject {
            if response.hasHeader { $0.add("header", json(response.header)) }
            $0.add("deleted", response.deleted)
            if !response.prevKvs.isEmpty {
                $0.add("prev_kvs", .array(response.prevKvs.map(json)))
            }
        }.json
    }

    /// As etcdctl prints it, with Go's names of the variants.
    static func json(_ response: Etcd.TxnResponse) -> JSON {
        JSONObject {
            if response.hasHeader { $0.add("header", json(response.header)) }
            if response.succeeded { $0.add("succeeded", .bool(true)) }
            if !response.responses.isEmpty {
                $0.add("responses", .array(response.responses.map(json)))
            }
        }.json
    }

    private static func json(_ operation: Etcd.ResponseOp) -> JSON {
        let variant: JSON =
            switch operation.response {
            case .responseRange(let range): .object([("ResponseRange", json(range))])
            case .responsePut(let put): .object([("ResponsePut", json(put))])
            case .responseDeleteRange(let deletion):
                .object([("ResponseDeleteRange", json(deletion))])
            case .responseTxn(let nested): .object([("ResponseTxn", json(nested))])
            case nil: .null
            }
        return .object([("Response", variant)])
    }
}

/// Builds an object; numbers that are 0 are left out.
struct JSONObject {
    private var members: [(String, JSON)] = []

    init(_ build: (inout JSONObject) -> Void) {
        build(&self)
    }

    var json: JSON { .object(members) }

    mutating func add(_ name: String, _ value: JSON) {
        members.append((name, value))
    }

    mutating func add(_ name: String, _ value: Int64) {
        if value != 0 { members.append((name, .integer(value))) }
    }

    mutating func add(_ name: String, _ value: UInt64) {
        if value != 0 { members.append((name, .unsigned(value))) }
    }
}
