import EtcdMessages
import EtcdWire
import HTTP2
import NIOCore
import NIOPosix

/// A connection to one member that knows puts and gets and repeats nothing: what it says of an
/// outcome is what the server said.
struct RawClient: Sendable {
    let connection: GRPCClientConnection

    static func connect(
        port: Int, limits: HTTP2Limits = HTTP2Limits()
    ) async throws -> RawClient {
        let connection = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connectTimeout(.seconds(1))
            .connect(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try GRPCClientConnection.add(
                        to: channel,
                        configuration: GRPCClientConfiguration(authority: "test", limits: limits))
                }
            }
        return RawClient(connection: connection)
    }

    /// Returns the revision of an acknowledged put.
    func put(_ key: String, _ value: String) async throws(GRPCCallError) -> Int64 {
        var request = PutRequest()
        request.key = Array(key.utf8)[...]
        request.value = Array(value.utf8)[...]
        var message: [UInt8] = []
        request.encode(into: &message)
        let answer = try await call(.put, message)
        return (try? Etcdserverpb_PutResponse(serializedBytes: answer))?.header.revision ?? 0
    }

    /// Every key under a prefix with its value, linearizable.
    func all(prefix: String) async throws -> [String: String] {
        var request = RangeRequest()
        request.key = Array(prefix.utf8)[...]
        request.rangeEnd = Self.end(ofPrefix: prefix)
        var message: [UInt8] = []
        request.encode(into: &message)
        let answer = try Etcdserverpb_RangeResponse(
            serializedBytes: try await call(.range, message))
        var found: [String: String] = [:]
        for pair in answer.kvs {
            found[String(decoding: pair.key, as: UTF8.self)] =
                String(decoding: pair.value, as: UTF8.self)
        }
        return found
    }

    /// How often a key was put since it was created.
    func version(of key: String) async throws -> Int64 {
        var request = RangeRequest()
        request.key = Array(key.utf8)[...]
        var message: [UInt8] = []
        request.encode(into: &message)
        let answer = try await call(.range, message)
        return try Etcdserverpb_RangeResponse(serializedBytes: answer).kvs.first?.version ?? 0
    }

    /// How many members have announced their client URLs.
    func announcedMembers() async throws -> Int {
        let answer = try Etcdserverpb_MemberListResponse(
            serializedBytes: try await call(.memberList, []))
        return answer.members.filter { !$0.clientUrls.isEmpty }.count
    }

    /// What the member says of itself.
    func status() async throws -> Etcdserverpb_StatusResponse {
        try Etcdserverpb_StatusResponse(serializedBytes: try await call(.status, []))
    }

    /// The end of a range of all keys with a prefix.
    static func end(ofPrefix prefix: String) -> ArraySlice<UInt8> {
        (Array(prefix.utf8.dropLast()) + [prefix.utf8.last! + 1])[...]
    }

    func call(_ method: RPCMethod, _ message: [UInt8]) async throws(GRPCCallError) -> [UInt8] {
        try await connection.unary(
            GRPCRequest(path: method.path, timeoutNanoseconds: 10_000_000_000), message)
    }
}
