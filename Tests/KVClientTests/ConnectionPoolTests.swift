import EtcdWire
import HTTP2
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import KVClient

/// A server that answers every range with a revision of its own, and counts connections.
private final class TestServer: Sendable {
    private final class Service: GRPCService {
        let revision: Int64
        let connectionCount: TestServer.Counter
        var open: [ObjectIdentifier: GRPCServerConnection] = [:]

        init(revision: Int64, connectionCount: TestServer.Counter) {
            self.revision = revision
            self.connectionCount = connectionCount
        }

        func connectionOpened(_ connection: GRPCServerConnection) {
            connectionCount.value.add(1, ordering: .relaxed)
            open[ObjectIdentifier(connection)] = connection
        }

        func connectionClosed(_ connection: GRPCServerConnection) {
            open[ObjectIdentifier(connection)] = nil
        }

        func requestStarted(
            _ stream: StreamID, _ head: RequestHead, on connection: GRPCServerConnection
        ) -> UInt64 { 0 }

        func messageReceived(
            _ stream: StreamID, tag: UInt64, _ message: [UInt8], isLast: Bool,
            on connection: GRPCServerConnection
        ) {
            var response = Etcd.RangeResponse()
            response.header.revision = revision
            connection.sendUnary(stream, KVClient.encode(response))
        }

        func requestEnded(_ stream: StreamID, tag: UInt64, on connection: GRPCServerConnection) {}
        func streamCancelled(
            _ stream: StreamID, tag: UInt64, on connection: GRPCServerConnection
        ) {}
        func streamDrained(_ stream: StreamID, tag: UInt64, on connection: GRPCServerConnection) {}
        func readBatchComplete(on connection: GRPCServerConnection) {}
        func connectionFailed(_ connection: GRPCServerConnection, _ error: HTTP2ConnectionError) {}
    }

    final class Counter: Sendable {
        let value = Atomic<Int>(0)
    }

    private let loop: any EventLoop
    private let service: NIOLoopBound<Service>
    private let listener: any Channel
    private let counter = Counter()

    var endpoint: String { "127.0.0.1:\(listener.localAddress?.port ?? 0)" }
    var connectionCount: Int { counter.value.load(ordering: .relaxed) }

    init(revision: Int64, port: Int = 0) async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let counter = self.counter
        let service = try await loop.submit {
            NIOLoopBound(
                Service(revision: revision, connectionCount: counter), eventLoop: loop)
        }.get()
        self.loop = loop
        self.service = service
        listener = try await ServerBootstrap(group: loop)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        GRPCServerHandler(service: service.value))
                }
            }
            .bind(host: "127.0.0.1", port: port).get()
    }

    var port: Int { listener.localAddress?.port ?? 0 }

    /// Closes every connection, as a server does that ends.
    func dropConnections() async throws {
        try await loop.submit { [service] in
            for connection in service.value.open.values { connection.close() }
        }.get()
    }

    func stop() async throws {
        try await listener.close()
        try await dropConnections()
    }
}

@Suite("The connections of a client")
struct ConnectionPoolTests {
    private func client(_ servers: TestServer...) throws -> KVClient {
        let endpoints = servers.map(\.endpoint).joined(separator: ",")
        return KVClient(KVClientConfiguration(endpoints: try Endpoint.list(endpoints)))
    }

    private func revision(_ client: KVClient) async throws -> Int64 {
        try await client.range(.keys(.key([1]))).header.revision
    }

    @Test("many calls at once share one connection, and the other endpoints get none")
    func shared() async throws {
        let first = try await TestServer(revision: 1)
        let second = try await TestServer(revision: 2)
        let client = try client(first, second)
        try await withThrowingTaskGroup(of: Int64.self) { group in
            for _ in 0..<50 { group.addTask { try await revision(client) } }
            for try await revision in group { #expect(revision == 1) }
        }
        #expect(first.connectionCount == 1)
        #expect(second.connectionCount == 0)
        await client.shutdown()
        try await first.stop()
        try await second.stop()
    }

    @Test("when an endpoint is gone the next one serves, and is preferred from then on")
    func failover() async throws {
        let first = try await TestServer(revision: 1)
        let port = first.port
        let second = try await TestServer(revision: 2)
        let client = try client(first, second)
        #expect(try await revision(client) == 1)
        try await first.stop()
        #expect(try await revision(client) == 2)
        // The first is back, but nobody asks it as long as the second answers.
        let back = try await TestServer(revision: 3, port: port)
        for _ in 0..<5 { #expect(try await revision(client) == 2) }
        #expect(back.connectionCount == 0)
        #expect(second.connectionCount == 1)
        try await second.stop()
        #expect(try await revision(client) == 3)
        await client.shutdown()
        try await back.stop()
    }

    @Test("a connection that broke is replaced, at the same endpoint if that still serves")
    func reconnect() async throws {
        let server = try await TestServer(revision: 1)
        let client = try client(server)
        #expect(try await revision(client) == 1)
        try await server.dropConnections()
        #expect(try await revision(client) == 1)
        #expect(server.connectionCount == 2)
        await client.shutdown()
        try await server.stop()
    }

    @Test("a client that is shut down makes no more connections")
    func shutdown() async throws {
        let server = try await TestServer(revision: 1)
        let client = try client(server)
        #expect(try await revision(client) == 1)
        await client.shutdown()
        let error = await #expect(throws: KVClientError.self) { try await revision(client) }
        #expect(error?.description.contains("shut down") == true)
        #expect(server.connectionCount == 1)
        try await server.stop()
    }
}
