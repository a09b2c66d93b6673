import EtcdWire
import HTTP2
import NIOCore
import Testing

/// Clients that say how long they wait (`grpc-timeout`) and let the server say that it was too long.
@Suite("A client's deadline", .serialized)
struct ClientDeadlineTests {
    private static let timeout = "700m"

    /// The deadline is in the metadata only, so that nothing on this side can answer first.
    private func call(
        _ client: RawClient, _ method: RPCMethod, _ message: [UInt8]
    ) async throws -> (error: GRPCCallError?, time: Duration) {
        let start = ContinuousClock.now
        let error = await #expect(throws: GRPCCallError.self) {
            _ = try await client.connection.unary(
                GRPCRequest(
                    path: method.path, metadata: [("grpc-timeout", Self.timeout)]), message)
        }
        return (error, ContinuousClock.now - start)
    }

    @Test("is kept by a member that reaches no majority, with etcd's error and the reason")
    func withoutMajority() async throws {
        let cluster = try ProcessCluster(size: 3)
        try cluster.start(0)
        var client: RawClient?
        while client == nil {
            client = try? await RawClient.connect(port: cluster.clientPorts[0])
            // Nothing tells from outside when a process begins to listen.
            if client == nil { try await Task.sleep(for: .milliseconds(20)) }
            try #require(cluster.isRunning(0), "\(cluster.log(0))")
        }
        let member = try #require(client)
        var range = RangeRequest()
        range.key = Array("k".utf8)[...]
        var message: [UInt8] = []
        range.encode(into: &message)
        let read = try await call(member, .range, message)
        #expect(read.error?.status.code == .deadlineExceeded)
        #expect(read.error?.status.message == "etcdserver: context deadline exceeded")
        let detail = read.error?.trailers.first { $0.name == "martlet-detail" }
        #expect(detail?.value.contains("needs a leader") == true)
        #expect(read.time >= .milliseconds(600))
        // Far below the 5 s after which the member gives up by itself.
        #expect(read.time < .seconds(3))

        var put = PutRequest()
        put.key = Array("k".utf8)[...]
        message.removeAll()
        put.encode(into: &message)
        let write = try await call(member, .put, message)
        // That it says no leader means that nothing was written.
        #expect(write.error?.status.message == "etcdserver: no leader")
        #expect(write.time >= .milliseconds(600))
        #expect(write.time < .seconds(3))
        await member.connection.close()
    }
}
