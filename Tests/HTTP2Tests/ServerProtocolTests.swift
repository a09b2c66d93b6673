import NIOCore
import NIOHPACK
import Testing

@testable import HTTP2

/// One test per rule of RFC 9113 that a client can keep or break.
@Suite("The server keeps to RFC 9113 and holds clients to it")
struct ServerProtocolTests {
    // MARK: Beginning

    @Test("the server's first frame is SETTINGS, then it acknowledges the client's")
    func handshake() {
        let server = ServerHarness(handshake: false)
        let first = server.sent()
        #expect(first.map(\.type) == [4, 8])
        let values = stride(from: 0, to: first[0].payload.count, by: 6).map { start in
            (
                first[0].payload[start + 1],
                word(first[0].payload[(start + 2)..<(start + 6)])
            )
        }
        #expect(values.map(\.0) == [4, 6, 3])
        #expect(values.map(\.1) == [1_048_576, 16_384, 100_000])
        #expect(first[1] == .windowUpdate(0, 16_777_216 - 65_535))
        server.feed(HTTP2Constant.preface)
        server.feed(TestFrame.settings())
        #expect(server.sent() == [.settingsAck])
        server.feed(TestFrame.settingsAck)
        #expect(server.sent().isEmpty)
        #expect(server.events.isEmpty)
    }

    @Test("anything but SETTINGS first ends the connection")
    func firstFrame() {
        for frame in [TestFrame.ping(), .headers(1, []), .settingsAck, .windowUpdate(0, 1)] {
            let server = ServerHarness(handshake: false)
            _ = server.sent()
            server.feed(HTTP2Constant.preface + frame.bytes)
            #expect(server.events == [.failed(1)], "\(frame)")
        }
    }

    // MARK: Rules whose breach ends the connection

    struct Breach: CustomStringConvertible {
        var description: String
        var code: UInt32
        var frames: [TestFrame]
    }

    static let open = TestFrame.headers(1, hpackBlock(requestFields))
    static let openAndEnd = TestFrame.headers(1, hpackBlock(requestFields), end: true)

    /// Small when compressed: a long value once, then its index.
    static let largeList = Array(
        repeatElement(("x", String(repeating: "v", count: 1_000)), count: 17))

    static let connectionBreaches: [Breach] = [
        .init(description: "DATA on stream 0", code: 1, frames: [.data(0, [1])]),
        .init(description: "DATA on an idle stream", code: 1, frames: [.data(1, [1])]),
        .init(description: "DATA on a server's stream", code: 1, frames: [.data(2, [1])]),
        .init(description: "HEADERS on stream 0", code: 1, frames: [.headers(0, [])]),
        .init(description: "HEADERS on an even stream", code: 1, frames: [.headers(2, [0x83])]),
        .init(
            description: "padding longer than the frame", code: 1,
            frames: [open, TestFrame(type: 0, flags: 8, stream: 1, payload: [4, 0, 0])]),
        .init(
            description: "padded without a length", code: 6,
            frames: [open, TestFrame(type: 0, flags: 8, stream: 1)]),
        .init(
            description: "HEADERS too short for priority", code: 6,
            frames: [TestFrame(type: 1, flags: 0x24, stream: 1, payload: [0, 0, 0, 0])]),
        .init(
            description: "invalid HPACK", code: 9,
            frames: [.headers(1, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff])]),
        .init(description: "HPACK index 0", code: 9, frames: [.headers(1, [0x80])]),
        .init(
            description: "header list too large", code: 0xb,
            frames: [.headers(1, hpackBlock(largeList))]),
        .init(
            description: "CONTINUATION without HEADERS", code: 1,
            frames: [.continuation(1, [0x83], end: true)]),
        .init(
            description: "a frame between HEADERS and CONTINUATION", code: 1,
            frames: [.headers(1, [0x83], endHeaders: false), .ping()]),
        .init(
            description: "CONTINUATION on another stream", code: 1,
            frames: [
                .headers(1, [0x83], endHeaders: false), .continuation(3, [0x83], end: true),
            ]),
        .init(
            description: "HEADERS on a closed stream", code: 5,
            frames: [.headers(3, hpackBlock(requestFields), end: true), .headers(1, [0x83])]),
        .init(
            description: "PRIORITY on stream 0", code: 1,
            frames: [TestFrame(type: 2, payload: [0, 0, 0, 0, 0])]),
        .init(description: "RST_STREAM on stream 0", code: 1, frames: [.reset(0, 8)]),
        .init(description: "RST_STREAM on an idle stream", code: 1, frames: [.reset(1, 8)]),
        .init(
            description: "RST_STREAM of the wrong size", code: 6,
            frames: [open, TestFrame(type: 3, stream: 1, payload: [0, 0, 8])]),
        .init(
            description: "SETTINGS on a stream", code: 1, frames: [TestFrame(type: 4, stream: 1)]),
        .init(
            description: "SETTINGS of the wrong size", code: 6,
            frames: [TestFrame(type: 4, payload: [0, 4, 0, 0, 1])]),
        .init(
            description: "SETTINGS acknowledgement with a payload", code: 6,
            frames: [TestFrame(type: 4, flags: 1, payload: [0, 4, 0, 0, 1, 0])]),
        .init(description: "ENABLE_PUSH of 2", code: 1, frames: [.settings([(2, 2)])]),
        .init(
            description: "initial window beyond 2^31 - 1", code: 3,
            frames: [.settings([(4, 0x8000_0000)])]),
        .init(description: "MAX_FRAME_SIZE too small", code: 1, frames: [.settings([(5, 16_383)])]),
        .init(
            description: "MAX_FRAME_SIZE too large", code: 1,
            frames: [.settings([(5, 16_777_216)])]),
        .init(
            description: "PUSH_PROMISE", code: 1,
            frames: [TestFrame(type: 5, flags: 4, stream: 1, payload: [0, 0, 0, 2])]),
        .init(
            description: "PING on a stream", code: 1,
            frames: [TestFrame(type: 6, stream: 1, payload: Array(repeating: 0, count: 8))]),
        .init(
            description: "PING of the wrong size", code: 6,
            frames: [TestFrame(type: 6, payload: [0])]),
        .init(
            description: "GOAWAY on a stream", code: 1,
            frames: [TestFrame(type: 7, stream: 1, payload: Array(repeating: 0, count: 8))]),
        .init(
            description: "GOAWAY of the wrong size", code: 6,
            frames: [TestFrame(type: 7, payload: [0, 0, 0, 0])]),
        .init(
            description: "WINDOW_UPDATE of the wrong size", code: 6,
            frames: [TestFrame(type: 8, payload: [0, 0, 1])]),
        .init(description: "WINDOW_UPDATE of zero", code: 1, frames: [.windowUpdate(0, 0)]),
        .init(
            description: "connection window overflow", code: 3,
            frames: [.windowUpdate(0, 0x7fff_ffff)]),
        .init(
            description: "WINDOW_UPDATE on an idle stream", code: 1, frames: [.windowUpdate(1, 1)]),
        .init(
            description: "stream window overflow through SETTINGS", code: 3,
            frames: [open, .windowUpdate(1, 0x7fff_0000), .settings([(4, 0x7fff_0000)])]),
    ]

    @Test("a breach of a connection rule ends the connection", arguments: connectionBreaches)
    func connectionBreach(_ breach: Breach) {
        let server = ServerHarness()
        server.feed(breach.frames.flatMap(\.bytes))
        #expect(server.events.last == .failed(breach.code))
        let sent = server.sent()
        #expect(sent.last?.type == 7)
        #expect(sent.last?.errorCode == breach.code)
        // Nothing that comes behind is looked at.
        server.feed(TestFrame.ping())
        #expect(server.sent().isEmpty)
    }

    @Test("a frame above the size limit ends the connection") func frameSize() {
        let server = ServerHarness()
        server.feed([0, 0x40, 0x01, 0, 0, 0, 0, 0, 1])
        #expect(server.events == [.failed(6)])
    }

    @Test("more DATA than the connection's window ends the connection") func connectionWindow() {
        var limits = HTTP2Limits()
        limits.connectionReceiveWindowBytes = 65_535
        limits.streamReceiveWindowBytes = 1_000_000
        let server = ServerHarness(limits: limits)
        server.open(1)
        // The window is granted again in halves as it is used, so only a peer that ignores it
        // can break it: send without end inside one read, from before any grant could be seen.
        server.core.engine.receiveWindow = ReceiveWindow(100)
        server.feed(TestFrame.data(1, Array(repeating: 0, count: 101)))
        #expect(server.events.last == .failed(3))
    }

    // MARK: Rules whose breach ends the stream

    static let streamBreaches: [Breach] = [
        .init(
            description: "DATA after END_STREAM", code: 5, frames: [openAndEnd, .data(1, [1])]),
        .init(
            description: "HEADERS after END_STREAM", code: 5,
            frames: [openAndEnd, .headers(1, hpackBlock([("x", "y")]), end: true)]),
        .init(
            description: "trailers without END_STREAM", code: 1,
            frames: [open, .headers(1, hpackBlock([("x", "y")]))]),
        .init(
            description: "trailers with a pseudo-header field", code: 1,
            frames: [open, .headers(1, hpackBlock([(":path", "/")]), end: true)]),
        .init(
            description: "PRIORITY of the wrong size", code: 6,
            frames: [open, TestFrame(type: 2, stream: 1, payload: [0])]),
        .init(
            description: "WINDOW_UPDATE of zero", code: 1, frames: [open, .windowUpdate(1, 0)]),
        .init(
            description: "stream window overflow", code: 3,
            frames: [open, .windowUpdate(1, 0x7fff_ffff)]),
        .init(
            description: "body longer than content-length", code: 1,
            frames: [
                .headers(1, hpackBlock(requestFields([("content-length", "5")]))),
                .data(1, grpcMessage([1])),
            ]),
        .init(
            description: "body shorter than content-length", code: 1,
            frames: [
                .headers(1, hpackBlock(requestFields([("content-length", "7")]))),
                .data(1, grpcMessage([1]), end: true),
            ]),
        .init(
            description: "trailers before content-length is reached", code: 1,
            frames: [
                .headers(1, hpackBlock(requestFields([("content-length", "7")]))),
                .headers(1, hpackBlock([("x", "y")]), end: true),
            ]),
    ]

    @Test(
        "a breach of a stream rule ends the stream, and the connection goes on",
        arguments: streamBreaches)
    func streamBreach(_ breach: Breach) {
        let server = ServerHarness()
        server.feed(breach.frames.flatMap(\.bytes))
        #expect(server.takeEvents().last == .cancelled(1, tag: 1_001))
        #expect(server.sent().last == .reset(1, breach.code))
        #expect(server.openStreams == 0)
        server.feed(TestFrame.ping())
        #expect(server.sent() == [.ping(ack: true)])
    }

    @Test("malformed heads are reset before anybody hears of them") func malformedHead() {
        let server = ServerHarness()
        server.open(1, fields: requestFields([("connection", "close")]))
        server.open(3, fields: requestFields([("content-length", "1")]), end: true)
        #expect(server.events.isEmpty)
        #expect(server.sent() == [.reset(1, 1), .reset(3, 1)])
    }

    @Test("more DATA than the stream's window ends the stream") func streamWindow() {
        var limits = HTTP2Limits()
        limits.streamReceiveWindowBytes = 100
        let server = ServerHarness(limits: limits)
        server.open(1)
        server.feed(TestFrame.data(1, Array(repeating: 0, count: 101)))
        #expect(server.sent() == [.reset(1, 3)])
        #expect(server.events.last == .cancelled(1, tag: 1_001))
    }

    // MARK: What is allowed

    @Test("padding, priority fields and unknown frames are passed over") func allowedExtras() {
        let server = ServerHarness()
        let block = hpackBlock(requestFields)
        let headers = TestFrame(
            type: 1, flags: 0x2c, stream: 1,
            payload: [3] + [0, 0, 0, 0, 9] + block + [0, 0, 0])
        let data = TestFrame(
            type: 0, flags: 9, stream: 1, payload: [2] + grpcMessage([7]) + [0, 0])
        server.feed(
            headers, TestFrame(type: 0xee, flags: 0xff, stream: 1, payload: [1, 2, 3]),
            TestFrame(type: 2, stream: 99, payload: [0, 0, 0, 0, 0]), data)
        #expect(
            server.events == [
                .request(1, path: "/etcdserverpb.KV/Put", isEnd: false),
                .message(1, tag: 1_001, [7], isLast: true),
            ])
    }

    @Test("a header block may come in pieces") func continuation() {
        let block = hpackBlock(requestFields)
        for size in [1, 7, 60] {
            var limits = HTTP2Limits()
            limits.maximumContinuations = block.count
            let server = ServerHarness(limits: limits)
            let pieces = stride(from: 0, to: block.count, by: size).map {
                Array(block[$0..<min($0 + size, block.count)])
            }
            server.feed(TestFrame.headers(1, pieces[0], end: true, endHeaders: pieces.count == 1))
            for (index, piece) in pieces.enumerated().dropFirst() {
                server.feed(TestFrame.continuation(1, piece, end: index == pieces.count - 1))
            }
            #expect(
                server.events == [.request(1, path: "/etcdserverpb.KV/Put", isEnd: true)])
        }
    }

    @Test("CONTINUATION frames are bounded in number and bytes") func continuationBounds() {
        let server = ServerHarness()
        server.feed(TestFrame.headers(1, [], endHeaders: false))
        for _ in 0..<16 { server.feed(TestFrame.continuation(1, [], end: false)) }
        #expect(server.events.isEmpty)
        server.feed(TestFrame.continuation(1, [], end: false))
        #expect(server.events == [.failed(0xb)])

        let second = ServerHarness()
        second.feed(
            TestFrame.headers(1, Array(repeating: 0, count: 16_384), endHeaders: false),
            .continuation(1, Array(repeating: 0, count: 16_384), end: false))
        #expect(second.events.isEmpty)
        second.feed(TestFrame.continuation(1, [0], end: false))
        #expect(second.events == [.failed(0xb)])
    }

    @Test("PING is answered with its data, and an answer is not") func ping() {
        let server = ServerHarness()
        server.feed(TestFrame.ping([9, 8, 7, 6, 5, 4, 3, 2]), .ping(ack: true))
        #expect(server.sent() == [.ping([9, 8, 7, 6, 5, 4, 3, 2], ack: true)])
    }

    @Test("frames on a stream that we reset are ignored, on older ones answered")
    func closedStreams() {
        let server = ServerHarness()
        server.open(1)
        server.core.engine.resetStream(StreamID(1), .cancel)
        server.open(3)
        server.feed(TestFrame.reset(3, 8))
        _ = server.sent()
        server.feed(TestFrame.data(1, [1]), .windowUpdate(1, 5), .reset(1, 8))
        server.feed(TestFrame.headers(1, hpackBlock([("x", "y")]), end: true))
        #expect(server.sent().isEmpty)
        // The client itself closed stream 3: DATA behind that is its mistake.
        server.feed(TestFrame.data(3, [1]))
        #expect(server.sent() == [.reset(3, 5)])
        server.feed(TestFrame.windowUpdate(3, 5), .reset(3, 8))
        #expect(server.sent().isEmpty)
        #expect(!server.events.contains { if case .failed = $0 { true } else { false } })
    }

    @Test("stream ids may skip, and skipped ones are closed") func skippedStreams() {
        let server = ServerHarness()
        server.open(5, end: true)
        server.feed(TestFrame.headers(3, [0x83]))
        #expect(server.events.last == .failed(5))
    }

    @Test("streams above the limit are refused and others go on") func concurrentStreams() {
        var limits = HTTP2Limits()
        limits.maximumConcurrentStreams = 2
        let server = ServerHarness(limits: limits)
        for stream: UInt32 in [1, 3, 5] { server.open(stream) }
        #expect(server.sent() == [.reset(5, 7)])
        server.feed(TestFrame.reset(1, 8))
        server.open(7)
        #expect(server.sent().isEmpty)
        #expect(server.openStreams == 2)
    }

    @Test("a smaller header table is acknowledged in the next block") func tableSize() {
        let server = ServerHarness()
        server.feed(TestFrame.settings([(1, 0)]))
        server.open(1, end: true)
        server.open(3, end: true)
        _ = server.sent()
        server.core.finish(StreamID(1), .ok, trailers: [])
        server.core.finish(StreamID(3), .ok, trailers: [])
        let sent = server.sent()
        #expect(sent[0].payload.first == 0x20)
        #expect(sent[1].payload.first == 0x88)
    }

    @Test("plain answers name fields that the client was told once, until its table shrinks")
    func fieldsOfAnswers() throws {
        let server = ServerHarness()
        var decoder = HPACKDecoder(allocator: ByteBufferAllocator())
        func answer(_ stream: UInt32) throws -> [Int] {
            server.open(stream, end: true)
            _ = server.sent()
            server.core.sendUnary(StreamID(stream), [7])
            let frames = server.sent()
            try #require(frames.map(\.type) == [1, 0, 1])
            #expect(frames[1].payload == [0, 0, 0, 0, 1, 7])
            var fields: [[String]] = []
            for frame in [frames[0], frames[2]] {
                var block = ByteBuffer(bytes: frame.payload)
                fields.append(try decoder.decodeHeaders(from: &block).map { "\($0.0): \($0.1)" })
            }
            #expect(
                fields == [[":status: 200", "content-type: application/grpc"], ["grpc-status: 0"]])
            return [frames[0].payload.count, frames[2].payload.count]
        }
        #expect(try answer(1) == [19, 15])
        #expect(try answer(3) == [2, 1])
        // A stream of messages uses the same head.
        server.open(5, end: true)
        _ = server.sent()
        server.core.sendMessage(StreamID(5), [7])
        #expect(server.sent().map(\.payload.count) == [2, 6])
        server.feed(TestFrame.settings([(1, 4_095)]))
        _ = server.sent()
        // One byte says that the table is empty now.
        #expect(try answer(7) == [21, 15])
        #expect(try answer(9) == [20, 15])
        server.feed(TestFrame.settings([(1, 4_096)]))
        #expect(try answer(11) == [20, 15])
    }

    // MARK: Floods

    @Test("a busy client's PINGs pass and a flood does not") func pingFlood() {
        let server = ServerHarness()
        // A minute of 800 PINGs a second.
        let pings = Array(repeatElement(TestFrame.ping().bytes, count: 80).joined())
        for tick in 1...600 {
            server.nowNanoseconds = UInt64(tick) * 100_000_000
            server.feed(pings)
            _ = server.sentBytes()
        }
        #expect(server.events.isEmpty)
        for _ in 0..<300 { server.feed(pings) }
        #expect(server.events == [.failed(0xb)])
    }

    struct Flood: CustomStringConvertible {
        var description: String
        var frames: [TestFrame]
    }

    static let floods: [Flood] = [
        .init(description: "SETTINGS", frames: [.settings([(4, 1)]), .settings([(4, 2)])]),
        .init(description: "SETTINGS acknowledgements", frames: [.settingsAck]),
        .init(
            description: "PRIORITY",
            frames: [TestFrame(type: 2, stream: 1, payload: [0, 0, 0, 0, 0])]
        ),
        .init(description: "empty DATA", frames: [.data(1, [])]),
        .init(description: "WINDOW_UPDATE", frames: [.windowUpdate(3, 1)]),
        .init(description: "unknown frames", frames: [TestFrame(type: 0x77, stream: 1)]),
        .init(description: "GOAWAY", frames: [.goAway(0)]),
        .init(description: "DATA on a closed stream", frames: [.data(3, [1])]),
    ]

    @Test("floods of frames that cost the peer nothing end the connection", arguments: floods)
    func flood(_ flood: Flood) {
        let server = ServerHarness()
        server.open(1)
        server.open(3)
        server.feed(TestFrame.reset(3, 8))
        let bytes = Array(
            repeatElement(flood.frames.flatMap(\.bytes), count: 1_000 / flood.frames.count)
                .joined())
        for _ in 0..<21 {
            server.feed(bytes)
            _ = server.sentBytes()
        }
        #expect(server.events.last == .failed(0xb))
    }

    @Test("rapid resets are bounded, whoever sends the RST_STREAM") func rapidReset() {
        for isOurs in [false, true] {
            var limits = HTTP2Limits()
            limits.streamResetBurst = 50
            let server = ServerHarness(limits: limits)
            var stream: UInt32 = 1
            func one() {
                server.open(stream)
                // Either the client resets, or it provokes us to (CVE-2025-8671).
                server.feed(isOurs ? .windowUpdate(stream, 0) : .reset(stream, 8))
                stream += 2
            }
            for _ in 0..<50 { one() }
            #expect(!server.takeEvents().contains(.failed(0xb)))
            one()
            #expect(server.events.last == .failed(0xb))
        }
    }

    @Test("malformed requests count as resets") func malformedFlood() {
        var limits = HTTP2Limits()
        limits.streamResetBurst = 50
        let server = ServerHarness(limits: limits)
        for index in 0..<51 {
            server.open(UInt32(index * 2 + 1), fields: [(":method", "POST")])
        }
        #expect(server.events == [.failed(0xb)])
    }

    // MARK: Graceful end

    @Test("a graceful end goes in two steps and loses no request") func shutdown() {
        let server = ServerHarness()
        server.open(1)
        server.core.engine.beginShutdown()
        let first = server.sent()
        #expect(first.map(\.type) == [7, 6])
        #expect(first[0] == .goAway(0x7fff_ffff))
        // A request that was on its way when the client had not heard of it yet.
        server.open(3)
        #expect(server.takeEvents().last == .request(3, path: "/etcdserverpb.KV/Put", isEnd: false))
        server.feed(TestFrame.ping(first[1].payload, ack: true))
        #expect(server.sent() == [.goAway(3)])
        server.open(5)
        server.feed(TestFrame.data(5, grpcMessage([1]), end: true))
        #expect(server.takeEvents().isEmpty)
        #expect(server.sent() == [.reset(5, 7)])
        #expect(!server.isShutDown)
        for stream: UInt32 in [1, 3] {
            server.feed(TestFrame.data(stream, [], end: true))
            server.core.finish(StreamID(stream), .ok, trailers: [])
        }
        #expect(server.isShutDown)
    }
}
