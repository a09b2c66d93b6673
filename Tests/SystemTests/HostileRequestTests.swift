import EtcdWire
import HTTP2
import NIOCore
import NIOPosix
import Testing

/// Clients that ask for too much, or too often.
@Suite("Hostile requests", .serialized)
struct HostileRequestTests {
    private static let maxRequestBytes = 1_572_864

    /// A put whose message has exactly so many bytes.
    private static func put(messageBytes: Int) -> [UInt8] {
        var request = PutRequest()
        request.key = Array("k".utf8)[...]
        var message: [UInt8] = []
        request.value = [UInt8](repeating: 1, count: messageBytes - 100)[...]
        request.encode(into: &message)
        let missing = messageBytes - message.count
        request.value = [UInt8](repeating: 1, count: messageBytes - 100 + missing)[...]
        message.removeAll()
        request.encode(into: &message)
        return message
    }

    @Test("a request of the largest size is served, one byte more is refused with etcd's text")
    func tooLarge() async throws {
        let cluster = try ProcessCluster(size: 3)
        try cluster.startAll()
        try await cluster.waitUntilServing()
        for port in cluster.clientPorts {
            let client = try await RawClient.connect(port: port)
            let fitting = Self.put(messageBytes: Self.maxRequestBytes)
            try #require(fitting.count == Self.maxRequestBytes)
            _ = try await client.call(.put, fitting)
            let refused = await #expect(throws: GRPCCallError.self) {
                _ = try await client.call(
                    .put, Self.put(messageBytes: Self.maxRequestBytes + 1))
            }
            #expect(refused?.status.code == .invalidArgument)
            #expect(refused?.status.message == "etcdserver: request is too large")
            let huge = await #expect(throws: GRPCCallError.self) {
                _ = try await client.call(.put, Self.put(messageBytes: 4 << 20))
            }
            #expect(huge?.status.code == .resourceExhausted)
            // The connection goes on.
            #expect(try await client.version(of: "k") > 0)
            await client.connection.close()
        }
    }

    // MARK: - Floods

    private static let preface =
        Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + frame(type: 4, stream: 0, [])
    private static let enhanceYourCalm: UInt32 = 11

    private static func frame(
        type: UInt8, flags: UInt8 = 0, stream: UInt32, _ payload: [UInt8]
    ) -> [UInt8] {
        let length = UInt32(payload.count)
        return [UInt8(length >> 16 & 0xff), UInt8(length >> 8 & 0xff), UInt8(length & 0xff)]
            + [type, flags]
            + withUnsafeBytes(of: stream.bigEndian) { Array($0) } + payload
    }

    private static func pings(_ count: Int) -> [UInt8] {
        let one = frame(type: 6, stream: 0, [1, 2, 3, 4, 5, 6, 7, 8])
        return (0..<count).flatMap { _ in one }
    }

    /// Requests that are reset as soon as they are made.
    private static func resets(_ count: Int) -> [UInt8] {
        func field(_ index: [UInt8], _ value: String) -> [UInt8] {
            index + [UInt8(value.utf8.count)] + Array(value.utf8)
        }
        // Indices of HPACK's static table: method POST, scheme http, path, authority, content-type.
        let block =
            [0x83, 0x86] + field([0x04], RPCMethod.range.path) + field([0x01], "test")
            + field([0x0f, 0x10], "application/grpc") + field([0x00, 2, 0x74, 0x65], "trailers")
        return (0..<count).flatMap { number in
            let stream = UInt32(2 * number + 1)
            return frame(type: 1, flags: 0x4, stream: stream, block)
                + frame(type: 3, stream: stream, [0, 0, 0, 8])
        }
    }

    /// What a connection brought: answers to PINGs, and the code of a GOAWAY.
    private struct Outcome {
        var pingAnswers = 0
        var goAway: UInt32?
    }

    /// Sends bytes and reads until so many PINGs are answered or the server ends the connection.
    private static func flood(
        _ port: Int, _ bytes: [UInt8], untilPings: Int
    ) async throws -> Outcome {
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(
                        wrappingChannelSynchronously: channel)
                }
            }
        let patience = channel.channel.eventLoop.scheduleTask(in: .seconds(20)) {
            channel.channel.close(promise: nil)
        }
        defer { patience.cancel() }
        return try await channel.executeThenClose { inbound, outbound in
            channel.channel.writeAndFlush(ByteBuffer(bytes: preface + bytes), promise: nil)
            var outcome = Outcome()
            var buffer = ByteBuffer()
            do {
                for try await part in inbound {
                    buffer.writeImmutableBuffer(part)
                    note(&buffer, into: &outcome)
                    if outcome.goAway != nil || outcome.pingAnswers >= untilPings { break }
                }
            } catch is IOError {
                // The server closed with our bytes unread.
            }
            return outcome
        }
    }

    private static func note(_ buffer: inout ByteBuffer, into outcome: inout Outcome) {
        while let head = buffer.getBytes(at: buffer.readerIndex, length: 9) {
            let length = Int(head[0]) << 16 | Int(head[1]) << 8 | Int(head[2])
            guard buffer.readableBytes >= 9 + length else { return }
            buffer.moveReaderIndex(forwardBy: 9)
            let payload = buffer.readSlice(length: length)!
            if head[3] == 6, head[4] & 1 == 1 { outcome.pingAnswers += 1 }
            if head[3] == 7 {
                outcome.goAway = payload.getInteger(at: payload.readerIndex + 4, as: UInt32.self)
            }
        }
    }

    @Test("floods within the limits are served; beyond them that connection ends, no other")
    func floods() async throws {
        let cluster = try ProcessCluster(size: 1)
        try cluster.startAll()
        try await cluster.waitUntilServing()
        let port = cluster.clientPorts[0]
        let bystander = try await RawClient.connect(port: port)

        let pings = try await Self.flood(port, Self.pings(10_000), untilPings: 10_000)
        #expect(pings.pingAnswers == 10_000)
        #expect(pings.goAway == nil)
        // The PING behind the resets is answered: the connection outlived them.
        let resets = try await Self.flood(
            port, Self.resets(10_000) + Self.pings(1), untilPings: 1)
        #expect(resets.pingAnswers == 1)
        #expect(resets.goAway == nil)
        _ = try await bystander.put("still", "here")

        for excess in [Self.pings(300_000), Self.resets(100_000)] {
            async let flooded = Self.flood(port, excess, untilPings: .max)
            var slowest = Duration.zero
            for number in 0..<50 {
                let start = ContinuousClock.now
                _ = try await bystander.put("still", "\(number)")
                slowest = max(slowest, .now - start)
            }
            #expect(slowest < .seconds(2), "a bystander's put took \(slowest)")
            let outcome = try await flooded
            #expect(outcome.goAway == Self.enhanceYourCalm)
        }
        #expect(cluster.log(0).contains("closing a client's connection"))
        #expect(try await bystander.all(prefix: "still") == ["still": "49"])
        await bystander.connection.close()
    }
}
