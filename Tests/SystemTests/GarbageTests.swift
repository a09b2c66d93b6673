import DurableLog
import Foundation
import NIOCore
import NIOPosix
import TestSupport
import Testing

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
            let payload = noise.bytes(40)
            var frame = withUnsafeBytes(of: UInt32(payload.count).littleEndian) { Array($0) }
            frame += withUnsafeBytes(of: CRC32C.checksum(payload).littleEndian) { Array($0) }
            try await send(frame + payload, port: cluster.peerPorts[0])
            _ = try await bystander.put("round", "\(round)")
        }
        #expect(cluster.isRunning(0))
        #expect(try await bystander.all(prefix: "round") == ["round": "9"])
        let log = cluster.log(0)
        #expect(log.contains("closing a client's connection"))
        #expect(log.contains("closing a peer connection"))
    }
}
