import DurableLog
import Foundation
import NIOCore
import NIOPosix
import TestSupport
import Testing

@testable import KVServer

/// Bytes that no client and no member sends: the connection that brings them ends, with a line in
/// the log, and nobody else notices.
@Suite("Garbage on the wire")
struct GarbageTests {
    /// Sends bytes and waits until the other side has closed the connection.
    private func send(_ bytes: [UInt8], port: Int) async throws {
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(host: "127.0.0.1", port: port).get()
        channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
        let patience = channel.eventLoop.scheduleTask(in: .seconds(10)) {
            channel.close(promise: nil)
        }
        try await channel.closeFuture.get()
        patience.cancel()
    }

    /// A frame between members.
    private func framed(_ payload: [UInt8]) -> [UInt8] {
        Array(PeerFraming.frame(payload).readableBytesView)
    }

    @Test("neither kills a member nor disturbs another connection")
    func garbage() async throws {
        let cluster = try ProcessCluster(size: 3)
        try cluster.startAll()
        try await cluster.waitUntilServing()
        let bystander = try await RawClient.connect(port: cluster.clientPorts[0])
        let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
        let emptySettings: [UInt8] = [0, 0, 0, 4, 0, 0, 0, 0, 0]
        var noise = Seeded(seed: 42)
        for round in 0..<10 {
            try await send(noise.bytes(5_000), port: cluster.clientPorts[0])
            try await send(preface + noise.bytes(5_000), port: cluster.clientPorts[0])
            try await send(
                preface + emptySettings + noise.bytes(5_000), port: cluster.clientPorts[0])
            try await send(noise.bytes(5_000), port: cluster.peerPorts[0])
            // A frame that verifies but is no hello.
            try await send(framed(noise.bytes(40)), port: cluster.peerPorts[0])
            _ = try await bystander.put("round", "\(round)")
        }
        #expect(cluster.isRunning(0))
        #expect(try await bystander.all(prefix: "round") == ["round": "9"])
        let log = cluster.log(0)
        #expect(log.contains("closing a client's connection"))
        #expect(log.contains("closing a peer connection"))
    }

    @Test("a peer of another protocol version is refused by name", arguments: [1, 3] as [UInt16])
    func otherPeerProtocol(version: UInt16) async throws {
        let cluster = try ProcessCluster(size: 1)
        try cluster.startAll()
        try await cluster.waitUntilServing()
        var hello = PeerHello(
            kind: .main, clusterID: 1, sender: 2, receiver: 3,
            directoryID: DirectoryID(high: 4, low: 5), incarnation: 6)
        hello.lowestVersion = version
        hello.highestVersion = version
        try await send(framed(hello.encoded()), port: cluster.peerPorts[0])
        let reason = "member 2 speaks peer protocol \(version) to \(version), this one 2"
        #expect(cluster.log(0).contains(reason))
    }
}
