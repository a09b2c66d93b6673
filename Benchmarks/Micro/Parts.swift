import EtcdWire
import HTTP2
import KVCore
import NIOCore

/// The hot parts.
enum Parts {
    static let all: [(name: String, make: @Sendable () throws -> Part)] = [
        ("http2-unary", unary), ("replica-put", replicaPut), ("replica-range", replicaRange),
        ("replica-serializable", replicaSerializable), ("store-put", storePut),
        ("watch-event", watchEvent),
    ]

    static let key = Array("bench/0000000000".utf8)
    static let value = [UInt8](repeating: 0x76, count: 256)

    static var put: [UInt8] {
        var request = PutRequest()
        request.key = key[...]
        request.value = value[...]
        var bytes: [UInt8] = []
        request.encode(into: &bytes)
        return bytes
    }

    static func range(isSerializable: Bool) -> [UInt8] {
        var request = RangeRequest()
        request.key = key[...]
        request.serializable = isSerializable
        var bytes: [UInt8] = []
        request.encode(into: &bytes)
        return bytes
    }

    // MARK: The serving layer

    private static func unary() -> Part {
        Part(name: "http2-unary", title: "a unary call of 256 bytes through the server's HTTP/2") {
            try UnaryCalls(count: $0).run()
        }
    }

    // MARK: The members

    private static let batch = 64

    private static func replicaPart(
        _ name: String, _ title: String, _ kind: ClientRequestKind, _ body: [UInt8]
    ) throws -> Part {
        let cluster = try BareCluster()
        try cluster.call(.put, put, times: 1)
        return Part(name: name, title: title) { count in
            for _ in 0..<count / batch { try cluster.call(kind, body, times: batch) }
        }
    }

    private static func replicaPut() throws -> Part {
        try replicaPart("replica-put", "a put in three members, 64 in a batch", .put, put)
    }

    private static func replicaRange() throws -> Part {
        try replicaPart(
            "replica-range", "a linearizable range in three members, 64 in a batch", .range,
            range(isSerializable: false))
    }

    private static func replicaSerializable() throws -> Part {
        try replicaPart(
            "replica-serializable", "a serializable range at the leader, 64 in a batch", .range,
            range(isSerializable: true))
    }

    // MARK: The map

    private static func storePut() throws -> Part {
        let store = AppliedStore()
        let body = put
        return Part(name: "store-put", title: "a put applied to the map") { count in
            for _ in 0..<count { try store.apply(body) }
        }
    }

    private static func watchEvent() throws -> Part {
        let store = AppliedStore()
        let watchers = 64
        for _ in 0..<watchers { store.watch(key) }
        let body = put
        return Part(name: "watch-event", title: "an event for one of 64 watchers of a key") {
            for _ in 0..<$0 / watchers { try store.apply(body) }
        }
    }
}
