import EtcdMessages
import EtcdWire
import HTTP2

extension KVClient {
    /// Grants a lease.
    ///
    /// - Parameters:
    ///   - ttlSeconds: how long it lives without being renewed; the server may choose more.
    ///   - id: the id; 0 lets the server choose.
    public func leaseGrant(
        ttlSeconds: Int64, id: Int64 = 0
    ) async throws(KVClientError) -> Etcd.LeaseGrantResponse {
        var request = Etcdserverpb_LeaseGrantRequest()
        request.ttl = ttlSeconds
        request.id = id
        return try await call(.leaseGrant, request, effect: .writes)
    }

    /// Ends a lease; its keys are deleted.
    public func leaseRevoke(
        _ id: Int64
    ) async throws(KVClientError) -> Etcd.LeaseRevokeResponse {
        var request = Etcdserverpb_LeaseRevokeRequest()
        request.id = id
        return try await call(.leaseRevoke, request, effect: .writes)
    }

    /// Renews a lease once. A renewal may be repeated without harm, so it fails over like a read.
    ///
    /// - Returns: the answer; its TTL is 0 if the lease is gone.
    public func leaseKeepAlive(
        _ id: Int64, timeout: Duration? = nil
    ) async throws(KVClientError) -> Etcd.LeaseKeepAliveResponse {
        var request = Etcdserverpb_LeaseKeepAliveRequest()
        request.id = id
        return try await call(.leaseKeepAlive, request, effect: .reads, timeout: timeout)
    }

    /// Reads a lease's remaining time.
    ///
    /// - Parameter keys: read its keys, too.
    /// - Returns: the answer; its TTL is -1 if the lease is gone.
    public func leaseTimeToLive(
        _ id: Int64, keys: Bool = false
    ) async throws(KVClientError) -> Etcd.LeaseTimeToLiveResponse {
        var request = Etcdserverpb_LeaseTimeToLiveRequest()
        request.id = id
        request.keys = keys
        return try await call(.leaseTimeToLive, request, effect: .reads)
    }

    /// All leases.
    public func leaseList() async throws(KVClientError) -> Etcd.LeaseLeasesResponse {
        try await call(.leaseLeases, Etcdserverpb_LeaseLeasesRequest(), effect: .reads)
    }
}
