import EtcdWire
import NIOCore
import TestSupport
import Testing

@testable import HTTP2

@Suite("A message that comes in pieces")
struct ServerPieceTests {
    private let message = Array(UInt8(0)..<40)

    private func dataBytes(_ frames: [TestFrame]) -> [UInt8] {
        frames.filter { $0.type == 0 }.flatMap(\.payload)
    }

    /// A server whose answer on stream 1 has begun, and nothing of which may be sent.
    private func begun(byteCount: Int, limits: HTTP2Limits = HTTP2Limits()) -> ServerHarness {
        let server = ServerHarness(limits: limits)
        server.feed(TestFrame.settings([(4, 0)]))
        server.open(1, end: true)
        let begins = server.core.beginMessage(StreamID(1), byteCount: byteCount)
        #expect(begins)
        #expect(server.sent().map(\.type) == [4, 1])
        _ = server.takeEvents()
        return server
    }

    @discardableResult
    private func send(_ bytes: [UInt8], on server: ServerHarness) -> Bool {
        server.core.engine.continueMessage(StreamID(1), bytes)
    }

    @Test("leaves byte by byte through a window of one, its trailers behind it")
    func windowOfOne() {
        let server = begun(byteCount: message.count)
        var sent: [TestFrame] = []
        for byte in message {
            send([byte], on: server)
            server.feed(TestFrame.windowUpdate(1, 1))
            sent += server.sent()
        }
        #expect(dataBytes(sent) == Array(grpcMessage(message).prefix(40)))
        #expect(sent.allSatisfy { $0.payload.count == 1 })
        server.core.finish(StreamID(1), .ok, trailers: [])
        for _ in 0..<5 {
            server.feed(TestFrame.windowUpdate(1, 1))
            sent += server.sent()
        }
        #expect(dataBytes(sent) == grpcMessage(message))
        #expect(sent.last == .headers(1, ResponseBlocks.trailersOK, end: true))
        #expect(server.openStreams == 0)
        #expect(server.unsentBytes == 0)
    }

    @Test("may be empty")
    func empty() {
        let server = begun(byteCount: 0)
        server.core.finish(StreamID(1), .ok, trailers: [])
        server.feed(TestFrame.windowUpdate(1, 5))
        let sent = server.sent()
        #expect(dataBytes(sent) == grpcMessage([]))
        #expect(sent.last == .headers(1, ResponseBlocks.trailersOK, end: true))
    }

    @Test("is pulled by the client: each drained queue brings the next piece, however windows move")
    func pulled() {
        var generator = Seeded(seed: 11)
        for round in 0..<20 {
            var limits = HTTP2Limits()
            limits.drainedBytes = 100
            let whole = generator.bytes(generator.below(20_000))
            let server = begun(byteCount: whole.count, limits: limits)
            var rest = whole[...]
            var most = 0
            func proceed() {
                // A piece that leaves at once drains nothing: the next one may follow it.
                while server.core.engine.streams.count > 0, server.unsentBytes <= 100 {
                    if rest.isEmpty {
                        return server.core.finish(StreamID(1), .ok, trailers: [])
                    }
                    send(Array(rest.prefix(1_000)), on: server)
                    rest = rest.dropFirst(1_000)
                    most = max(most, server.unsentBytes)
                }
            }
            server.react = { _, event in if event == .drained(1, tag: 1_001) { proceed() } }
            proceed()
            var sent = server.sent()
            while server.openStreams > 0, sent.count < 50_000 {
                server.feed(TestFrame.windowUpdate(1, UInt32(1 + generator.below(3_000))))
                server.feed(TestFrame.windowUpdate(0, UInt32(1 + generator.below(3_000))))
                if generator.below(5) == 0 {
                    server.core.engine.isWritable = generator.below(2) == 0
                }
                sent += server.sent()
            }
            #expect(dataBytes(sent) == grpcMessage(whole), "round \(round)")
            #expect(most <= 1_100, "no more than a piece waits above the low-water mark")
        }
    }

    @Test("is forgotten with its stream")
    func reset() {
        let server = begun(byteCount: 40)
        send(Array(message.prefix(20)), on: server)
        server.feed(TestFrame.reset(1, 8))
        #expect(server.takeEvents() == [.cancelled(1, tag: 1_001)])
        #expect(server.unsentBytes == 0)
        let takesMore = send(Array(message.suffix(20)), on: server)
        #expect(!takesMore)
        server.core.finish(StreamID(1), .ok, trailers: [])
        server.feed(TestFrame.windowUpdate(0, 100))
        #expect(server.sent().isEmpty)
        // The slot's next stream owes nothing.
        server.open(3, end: true)
        server.send(3, [])
        server.core.finish(StreamID(3), .ok, trailers: [])
        server.feed(TestFrame.windowUpdate(3, 100))
        #expect(dataBytes(server.sent()) == grpcMessage([]))
    }

    @Test(
        "can't be followed by a status before its end: the stream is reset",
        arguments: [
            (.resourceExhausted, 11), (.deadlineExceeded, 8), (.outOfRange, 2),
        ] as [(GRPCStatusCode, UInt32)])
    func failure(status: GRPCStatusCode, code: UInt32) {
        let server = begun(byteCount: 40)
        send(Array(message.prefix(20)), on: server)
        server.core.finish(StreamID(1), GRPCStatus(status), trailers: [])
        let sent = server.sent()
        #expect(sent == [.reset(1, code)])
        #expect(server.openStreams == 0)
        #expect(server.unsentBytes == 0)
    }

    @Test("whose client breaks the protocol meanwhile is cut off without a status")
    func violation() {
        let server = ServerHarness()
        server.open(1)
        server.core.beginMessage(StreamID(1), byteCount: 40)
        _ = server.sent()
        _ = server.takeEvents()
        // No such message flag.
        server.feed(TestFrame.data(1, grpcMessage([1], flag: 7)))
        #expect(server.takeEvents() == [.cancelled(1, tag: 1_001)])
        #expect(server.sent().map(\.type) == [3])
    }

    @Test("goes on to its end after GOAWAY")
    func shutdown() {
        let server = begun(byteCount: 40)
        server.core.engine.beginShutdown()
        let frames = server.sent()
        #expect(frames.map(\.type) == [7, 6])
        server.feed(TestFrame.ping(frames[1].payload, ack: true))
        #expect(server.sent() == [.goAway(1)])
        #expect(!server.isShutDown)
        send(message, on: server)
        server.core.finish(StreamID(1), .ok, trailers: [])
        #expect(!server.isShutDown)
        server.feed(TestFrame.windowUpdate(1, 100))
        #expect(dataBytes(server.sent()) == grpcMessage(message))
        #expect(server.isShutDown)
    }
}
