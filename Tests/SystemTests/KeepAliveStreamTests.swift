import EtcdMessages
import EtcdWire
import HTTP2
import Testing

/// Streams with many renewals under way at once, ended or given up in the middle of them.
@Suite("Keep-alive streams", .serialized)
struct KeepAliveStreamTests {
    private static let renewals = 500
    private static let seconds: Int64 = 60

    private static func open(_ client: RawClient, renewing lease: Int64) async throws
        -> GRPCClientStream
    {
        let stream = client.connection.openStream(GRPCRequest(path: RPCMethod.leaseKeepAlive.path))
        var request = Etcdserverpb_LeaseKeepAliveRequest()
        request.id = lease
        let message: [UInt8] = try request.serializedBytes()
        for _ in 0..<renewals { try await stream.send(message) }
        return stream
    }

    private static func expectAnswers(_ stream: GRPCClientStream, of lease: Int64) async throws {
        for _ in 0..<renewals {
            let answer = try Etcdserverpb_LeaseKeepAliveResponse(
                serializedBytes: try #require(try await stream.receive()))
            #expect(answer.id == lease)
            #expect(answer.ttl == seconds)
        }
    }

    /// Does the same with a client of each of three members, and a lease of its own.
    private static func atEachMember(
        _ body: (RawClient, _ lease: Int64) async throws -> Void
    ) async throws {
        let cluster = try ProcessCluster(size: 3)
        try cluster.startAll()
        try await cluster.waitUntilServing()
        for port in cluster.clientPorts {
            let client = try await RawClient.connect(port: port)
            try await body(client, try await client.grantLease(seconds: seconds))
            await client.connection.close()
        }
    }

    @Test("a client that has said all is given every answer and then the end, by each member")
    func saidAll() async throws {
        try await Self.atEachMember { client, lease in
            let stream = try await Self.open(client, renewing: lease)
            stream.finishSending()
            try await Self.expectAnswers(stream, of: lease)
            #expect(try await stream.receive() == nil)
        }
    }

    @Test("one that is given up in the middle disturbs no other stream of its connection")
    func givenUp() async throws {
        try await Self.atEachMember { client, lease in
            let lost = try await Self.open(client, renewing: lease)
            let kept = try await Self.open(client, renewing: lease)
            lost.cancel()
            try await Self.expectAnswers(kept, of: lease)
            kept.finishSending()
            #expect(try await kept.receive() == nil)
            #expect(try await client.put("k", "v") > 0)
        }
    }

    @Test("a lease that is gone is told so, and the stream goes on") func gone() async throws {
        let cluster = try ProcessCluster(size: 1)
        try cluster.startAll()
        try await cluster.waitUntilServing()
        let client = try await RawClient.connect(port: cluster.clientPorts[0])
        let stream = client.connection.openStream(GRPCRequest(path: RPCMethod.leaseKeepAlive.path))
        let lease = try await client.grantLease(seconds: Self.seconds)
        for (id, seconds) in [(lease + 1, 0), (lease, Self.seconds)] {
            var request = Etcdserverpb_LeaseKeepAliveRequest()
            request.id = id
            try await stream.send(try request.serializedBytes())
            let answer = try Etcdserverpb_LeaseKeepAliveResponse(
                serializedBytes: try #require(try await stream.receive()))
            #expect(answer.id == id)
            #expect(answer.ttl == seconds)
        }
        stream.finishSending()
        #expect(try await stream.receive() == nil)
        await client.connection.close()
    }
}
