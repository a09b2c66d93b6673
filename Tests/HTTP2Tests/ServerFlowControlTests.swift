import NIOCore
import TestSupport
import Testing

@testable import HTTP2

@Suite("The server sends within windows, turns and bounds")
struct ServerFlowControlTests {
    private func dataBytes(_ frames: [TestFrame], _ stream: UInt32) -> [UInt8] {
        frames.filter { $0.type == 0 && $0.stream == stream }.flatMap(\.payload)
    }

    @Test("a stream's window is used to the last byte and no further") func streamWindow() {
        let server = ServerHarness()
        server.feed(TestFrame.settings([(4, 10)]))
        server.open(1, end: true)
        _ = server.sent()
        let message = Array(UInt8(0)..<40)
        server.core.sendMessage(StreamID(1)) { $0.writeBytes(message) }
        server.core.finish(StreamID(1), .ok, trailers: [])
        var seen: [UInt8] = []
        let first = server.sent()
        #expect(first.map(\.type) == [1, 0])
        seen += dataBytes(first, 1)
        #expect(seen.count == 10)
        #expect(server.unsentBytes == 35)
        server.feed(TestFrame.windowUpdate(1, 1))
        seen += dataBytes(server.sent(), 1)
        #expect(seen.count == 11)
        // A larger initial window counts for open streams too.
        server.feed(TestFrame.settings([(4, 30)]))
        seen += dataBytes(server.sent(), 1)
        #expect(seen.count == 31)
        // A smaller one may make the window negative.
        server.feed(TestFrame.settings([(4, 0)]), .windowUpdate(1, 30))
        #expect(dataBytes(server.sent(), 1).isEmpty)
        server.feed(TestFrame.windowUpdate(1, 100))
        let rest = server.sent()
        seen += dataBytes(rest, 1)
        #expect(seen == grpcMessage(message))
        #expect(rest.last == .headers(1, ResponseBlocks.trailersOK, end: true))
        #expect(server.openStreams == 0)
        #expect(server.unsentBytes == 0)
    }

    @Test("the connection's window is shared in turns") func connectionWindow() {
        let server = ServerHarness()
        server.feed(TestFrame.settings([(4, 1_000_000)]))
        for stream: UInt32 in [1, 3, 5] { server.open(stream, end: true) }
        for stream: UInt32 in [1, 3, 5] {
            server.core.sendMessage(StreamID(stream)) {
                $0.writeRepeatingByte(UInt8(stream), count: 60_000)
            }
        }
        let first = server.sent()
        #expect(first.filter { $0.type == 0 }.map(\.payload.count).reduce(0, +) == 65_535)
        for stream: UInt32 in [1, 3, 5] { #expect(!dataBytes(first, stream).isEmpty) }
        #expect(first.allSatisfy { $0.payload.count <= 16_384 })
        server.feed(TestFrame.windowUpdate(0, 1_000_000))
        let rest = server.sent()
        for stream: UInt32 in [1, 3, 5] {
            #expect(
                dataBytes(first + rest, stream)
                    == grpcMessage(Array(repeating: UInt8(stream), count: 60_000)))
        }
    }

    @Test("larger frames are used when the client allows them, to a bound") func frameSize() {
        let server = ServerHarness()
        server.feed(
            TestFrame.settings([(4, 1_000_000), (5, 1_000_000)]), .windowUpdate(0, 1_000_000))
        server.open(1, end: true)
        _ = server.sent()
        server.core.sendMessage(StreamID(1)) { $0.writeRepeatingByte(1, count: 200_000) }
        let sizes = server.sent().filter { $0.type == 0 }.map(\.payload.count)
        #expect(sizes == [65_536, 65_536, 65_536, 3_397])
    }

    @Test("while the socket is full DATA waits, and answers keep their order") func writability() {
        let server = ServerHarness()
        server.open(1)
        server.core.engine.isWritable = false
        for value: UInt8 in 1...3 {
            server.core.sendMessage(StreamID(1)) { $0.writeBytes([value]) }
        }
        server.core.finish(StreamID(1), .ok, trailers: [])
        #expect(server.sent().map(\.type) == [1])
        #expect(server.unsentBytes == 18)
        server.core.engine.isWritable = true
        let sent = server.sent()
        #expect(
            dataBytes(sent, 1) == grpcMessage([1]) + grpcMessage([2]) + grpcMessage([3]))
        #expect(sent.map(\.type) == [0, 1, 3])
    }

    @Test("one batch is bounded, and the rest goes with the next") func batchBound() {
        var limits = HTTP2Limits()
        limits.outboundBatchBytes = 50_000
        let server = ServerHarness(limits: limits)
        server.feed(TestFrame.settings([(4, 10_000_000)]), .windowUpdate(0, 10_000_000))
        server.open(1)
        for _ in 0..<100 {
            server.core.sendMessage(StreamID(1)) { $0.writeRepeatingByte(1, count: 5_000) }
        }
        #expect(server.gatheredBytes < 70_000)
        #expect(server.unsentBytes > 400_000)
        #expect(dataBytes(server.sent(), 1).count == 100 * 5_005)
    }

    @Test("a long queue that becomes short is reported once") func drained() {
        var limits = HTTP2Limits()
        limits.drainedBytes = 1_000
        let server = ServerHarness(limits: limits)
        server.feed(TestFrame.settings([(4, 0)]))
        server.open(1)
        server.core.sendMessage(StreamID(1)) { $0.writeRepeatingByte(1, count: 5_000) }
        _ = server.takeEvents()
        server.feed(TestFrame.windowUpdate(1, 4_004))
        #expect(server.takeEvents().isEmpty)
        server.feed(TestFrame.windowUpdate(1, 1))
        #expect(server.takeEvents() == [.drained(1, tag: 1_001)])
        server.feed(TestFrame.windowUpdate(1, 500))
        #expect(server.takeEvents().isEmpty)
        // A queue that was never long is not worth a word.
        server.feed(TestFrame.windowUpdate(1, 500))
        server.core.sendMessage(StreamID(1)) { $0.writeRepeatingByte(1, count: 900) }
        server.feed(TestFrame.windowUpdate(1, 1_000_000))
        #expect(server.takeEvents().isEmpty)
    }

    @Test("a reset frees what was unsent") func resetFrees() {
        let server = ServerHarness()
        server.feed(TestFrame.settings([(4, 0)]))
        server.open(1)
        server.core.sendMessage(StreamID(1)) { $0.writeRepeatingByte(1, count: 5_000) }
        #expect(server.unsentBytes == 5_005)
        server.feed(TestFrame.reset(1, 8))
        #expect(server.unsentBytes == 0)
        server.feed(TestFrame.windowUpdate(0, 1_000))
        #expect(server.sent().allSatisfy { $0.type != 0 })
    }

    @Test("random windows never change what arrives") func randomWindows() {
        var generator = Seeded(seed: 5)
        for _ in 0..<30 {
            let server = ServerHarness()
            server.feed(TestFrame.settings([(4, UInt32(generator.below(3_000)))]))
            var expected: [UInt32: [UInt8]] = [:]
            var seen: [UInt32: [UInt8]] = [:]
            var ended: Set<UInt32> = []
            func collect() {
                for frame in server.sent() {
                    if frame.type == 0 { seen[frame.stream, default: []] += frame.payload }
                    if frame.type == 1, frame.flags & 1 == 1 { ended.insert(frame.stream) }
                }
            }
            for index in 0..<10 {
                let stream = UInt32(index * 2 + 1)
                server.open(stream, end: true)
                for _ in 0..<(1 + generator.below(5)) {
                    let message = generator.bytes(generator.below(20_000))
                    server.core.sendMessage(StreamID(stream)) { $0.writeBytes(message) }
                    expected[stream, default: []] += grpcMessage(message)
                    server.core.engine.isWritable = generator.below(4) > 0
                    if generator.below(2) == 0 { collect() }
                }
                server.core.finish(StreamID(stream), .ok, trailers: [])
            }
            server.core.engine.isWritable = true
            var rounds = 0
            while ended.count < 10, rounds < 20_000 {
                rounds += 1
                let stream = UInt32(generator.below(11)) * 2
                let target = stream == 0 ? 0 : stream - 1
                let amount = UInt32(1 + generator.below(5_000))
                server.feed(TestFrame.windowUpdate(target, amount))
                if generator.below(10) == 0 {
                    server.feed(TestFrame.settings([(4, UInt32(generator.below(3_000)))]))
                }
                collect()
            }
            #expect(seen == expected)
            #expect(server.unsentBytes == 0 && server.openStreams == 0)
        }
    }
}
