import Crypto
import EtcdMessages
import EtcdWire
import FoundationEssentials
import HTTP2

extension KVClient {
    /// The endpoints, in configured order; calls about one member take an index into it.
    public var endpoints: [Endpoint] { configuration.endpoints }

    /// The cluster's members.
    ///
    /// - Parameter linearizable: ask the leader, instead of what one member knows.
    public func memberList(
        linearizable: Bool = true
    ) async throws(KVClientError) -> Etcd.MemberListResponse {
        var request = Etcdserverpb_MemberListRequest()
        request.linearizable = linearizable
        return try await call(.memberList, request, effect: .reads)
    }

    /// The state of the member at an endpoint.
    public func status(at endpoint: Int) async throws(KVClientError) -> Etcd.StatusResponse {
        try await call(.status, Etcdserverpb_StatusRequest(), effect: .reads, at: endpoint)
    }

    /// Proves that the member at an endpoint serves linearizable reads, so that it reaches a leader
    /// with a majority behind it.
    ///
    /// - Returns: how long the read took.
    public func checkHealth(at endpoint: Int) async throws(KVClientError) -> Duration {
        let started = ContinuousClock.now
        let request = Etcd.RangeRequest.keys(.key(Array("health".utf8)))
        let _: Etcd.RangeResponse = try await call(.range, request, effect: .reads, at: endpoint)
        return ContinuousClock.now - started
    }

    /// The hash of the store of the member at an endpoint.
    ///
    /// - Parameter revision: the revision to hash up to; 0 is the newest.
    public func hashKV(
        at endpoint: Int, revision: Int64 = 0
    ) async throws(KVClientError) -> Etcd.HashKVResponse {
        var request = Etcdserverpb_HashKVRequest()
        request.revision = revision
        return try await call(.hashKV, request, effect: .reads, at: endpoint)
    }

    /// Defragments the member at an endpoint. Martlet has nothing to do; etcd does.
    public func defragment(
        at endpoint: Int
    ) async throws(KVClientError) -> Etcd.DefragmentResponse {
        try await call(.defragment, Etcdserverpb_DefragmentRequest(), effect: .reads, at: endpoint)
    }

    /// Downloads a snapshot from an endpoint and verifies the SHA-256 at its end.
    ///
    /// - Parameters:
    ///   - endpoint: an index into `endpoints`.
    ///   - write: takes the bytes in order, the hash included; it must not be relied on before this
    ///     method has returned.
    /// - Returns: the number of bytes, hash included.
    public func snapshot(
        at endpoint: Int, _ write: ([UInt8]) throws -> Void
    ) async throws -> Int {
        let connection = try await pool.connection(endpoint)
        let name = endpoints[endpoint].description
        let stream = connection.openStream(GRPCRequest(path: RPCMethod.snapshot.path))
        var verifier = SnapshotVerifier()
        do throws(GRPCCallError) {
            try await stream.send(Self.encode(Etcdserverpb_SnapshotRequest()))
        } catch {
            throw FailedTry(error, effect: .reads, endpoint: name).cause
        }
        stream.finishSending()
        while true {
            let message: [UInt8]?
            do throws(GRPCCallError) {
                message = try await stream.receive()
            } catch {
                throw FailedTry(error, effect: .reads, endpoint: name).cause
            }
            guard let message else { break }
            let response: Etcdserverpb_SnapshotResponse = try Self.decode(
                message, endpoint: endpoints[endpoint])
            let blob = [UInt8](response.blob)
            verifier.take(blob)
            try write(blob)
        }
        guard verifier.isValid else {
            throw KVClientError(
                .invalidAnswer, endpoint: name,
                cause: "the snapshot's SHA-256 doesn't match its \(verifier.byteCount) bytes",
                remedy: "download it again")
        }
        return verifier.byteCount
    }
}

/// Checks that a stream of bytes ends with the SHA-256 of all bytes before it.
public struct SnapshotVerifier: Sendable {
    private var hash = SHA256()
    /// The last bytes, which may be the hash itself.
    private var tail: [UInt8] = []
    /// All bytes taken.
    public private(set) var byteCount = 0

    /// A verifier that has seen nothing.
    public init() {}

    /// Takes the next bytes.
    public mutating func take(_ bytes: [UInt8]) {
        byteCount += bytes.count
        tail += bytes
        let settled = tail.count - SHA256.byteCount
        guard settled > 0 else { return }
        hash.update(data: tail[..<settled])
        tail.removeFirst(settled)
    }

    /// True if the bytes so far end with the hash of those before.
    public var isValid: Bool {
        tail.count == SHA256.byteCount && hash.finalize().elementsEqual(tail)
    }
}
