import EtcdWire
import NIOCore
import Testing

@testable import HTTP2

@Suite("The server takes gRPC messages in any shape and answers them")
struct ServerMessageTests {
    private func messages(_ events: [ServerHarness.Event]) -> [[UInt8]] {
        events.compactMap { if case .message(_, _, let bytes, _) = $0 { bytes } else { nil } }
    }

    @Test("a message cut into DATA frames at any byte arrives whole") func fragmentation() {
        let message = Array("a message of some length".utf8)
        let bytes = grpcMessage(message)
        for first in 0...bytes.count {
            for second in [first, (first + bytes.count) / 2, bytes.count] where second >= first {
                let server = ServerHarness()
                server.open(1)
                server.feed(
                    TestFrame.data(1, Array(bytes[..<first])),
                    .data(1, Array(bytes[first..<second])),
                    .data(1, Array(bytes[second...]), end: true))
                let last = second < bytes.count
                #expect(
                    server.events.dropFirst()
                        == (last
                            ? [.message(1, tag: 1_001, message, isLast: true)]
                            : [
                                .message(1, tag: 1_001, message, isLast: false),
                                .ended(1, tag: 1_001),
                            ]))
                #expect(server.assemblyBytes == 0)
            }
        }
    }

    @Test("several messages in one frame come one by one") func severalMessages() {
        let server = ServerHarness()
        server.open(1)
        let parts: [[UInt8]] = [[1], [], [2, 3], Array(repeating: 4, count: 900)]
        server.feed(TestFrame.data(1, parts.flatMap { grpcMessage($0) }, end: true))
        #expect(messages(server.events) == parts)
        #expect(
            server.events.last == .message(1, tag: 1_001, parts[3], isLast: true))
    }

    @Test("an end without a message, in HEADERS, DATA or trailers") func ends() {
        let server = ServerHarness()
        server.open(1, end: true)
        server.open(3)
        server.feed(TestFrame.data(3, [], end: true))
        server.open(5)
        server.feed(TestFrame.headers(5, hpackBlock([("x", "y")]), end: true))
        #expect(
            server.events == [
                .request(1, path: "/etcdserverpb.KV/Put", isEnd: true),
                .request(3, path: "/etcdserverpb.KV/Put", isEnd: false), .ended(3, tag: 1_003),
                .request(5, path: "/etcdserverpb.KV/Put", isEnd: false), .ended(5, tag: 1_005),
            ])
    }

    @Test("streams do not disturb each other") func interleaving() {
        let server = ServerHarness()
        server.open(1)
        server.open(3)
        let one = grpcMessage([1, 1, 1, 1])
        let three = grpcMessage([3, 3])
        server.feed(
            TestFrame.data(1, Array(one[..<3])), .data(3, Array(three[..<6])),
            .data(1, Array(one[3...])), .data(3, Array(three[6...])))
        #expect(messages(server.events) == [[1, 1, 1, 1], [3, 3]])
    }

    /// Feeds one bad body; returns the status the client is told.
    private func status(
        of body: [TestFrame], limits: HTTP2Limits = HTTP2Limits()
    ) -> (code: String?, message: String?, frames: [TestFrame], events: [ServerHarness.Event]) {
        let server = ServerHarness(limits: limits)
        server.open(1)
        server.feed(body.flatMap(\.bytes))
        let sent = server.sent().filter { $0.type != 8 }
        let fields = sent.first.map { hpackFields($0.payload) } ?? [:]
        return (fields["grpc-status"], fields["grpc-message"], sent, server.events)
    }

    @Test("what cannot be taken is answered with grpc-go's status") func violations() {
        var limits = HTTP2Limits()
        limits.maximumMessageBytes = 10
        let large = status(of: [.data(1, [0, 0, 0, 0, 11])], limits: limits)
        #expect(large.code == "8")
        #expect(large.message == "grpc: received message larger than max (11 vs. 10)")
        #expect(large.frames.map(\.type) == [1, 3])
        #expect(large.frames[0].flags == 5)
        #expect(large.frames[1] == .reset(1, 0))
        #expect(large.events.last == .cancelled(1, tag: 1_001))

        let fits = status(
            of: [.data(1, grpcMessage(Array(repeating: 1, count: 10)))], limits: limits)
        #expect(fits.code == nil)

        let compressed = status(of: [.data(1, grpcMessage([1], flag: 1))])
        #expect(compressed.code == "13")
        #expect(
            compressed.message == "grpc: compressed flag set with identity or empty encoding")
        #expect(status(of: [.data(1, grpcMessage([1], flag: 2))]).code == "13")
        let truncated = status(of: [.data(1, [0, 0, 0, 0, 9, 1], end: true)])
        #expect(truncated.code == "13" && truncated.message == "unexpected EOF")
        let trailers = TestFrame.headers(1, hpackBlock([("x", "y")]), end: true)
        #expect(status(of: [.data(1, [0, 0, 0]), trailers]).message == "unexpected EOF")
    }

    @Test("bytes of incomplete messages are bounded over all streams") func assemblyBound() {
        var limits = HTTP2Limits()
        limits.maximumAssemblyBytes = 1_000
        let server = ServerHarness(limits: limits)
        for index in 0..<4 {
            let stream = UInt32(index * 2 + 1)
            server.open(stream)
            server.feed(TestFrame.data(stream, [0, 0, 0, 8, 0] + Array(repeating: 1, count: 300)))
        }
        #expect(server.events.last == .cancelled(7, tag: 1_007))
        #expect(server.assemblyBytes == 900)
        server.feed(TestFrame.reset(1, 8))
        #expect(server.assemblyBytes == 600)
    }

    @Test("a large message passes though it is larger than the stream's window")
    func largeMessage() {
        var limits = HTTP2Limits()
        limits.streamReceiveWindowBytes = 65_535
        limits.connectionReceiveWindowBytes = 65_535
        let server = ServerHarness(limits: limits)
        server.open(1)
        let message = Array(repeating: UInt8(5), count: 1_000_000)
        let bytes = grpcMessage(message)
        var granted = 65_535
        var connectionGranted = 65_535
        var position = 0
        while position < bytes.count {
            let count = min(16_384, bytes.count - position, granted, connectionGranted)
            guard count > 0 else {
                Issue.record("the server stopped granting at \(position)")
                return
            }
            let next = position + count
            server.feed(TestFrame.data(1, Array(bytes[position..<next]), end: next == bytes.count))
            granted -= count
            connectionGranted -= count
            position = next
            for frame in server.sent() where frame.type == 8 {
                let increment = Int(word(frame.payload[...]))
                if frame.stream == 0 {
                    connectionGranted += increment
                } else {
                    granted += increment
                }
            }
        }
        #expect(messages(server.events) == [message])
    }

    // MARK: Answers

    @Test("a unary answer is head, message and trailers") func unaryAnswer() {
        let server = ServerHarness()
        server.react = { harness, event in
            guard case .message(let id, _, let message, _) = event else { return }
            harness.core.sendMessage(StreamID(id)) { $0.writeBytes(message.reversed()) }
            harness.core.finish(StreamID(id), .ok, trailers: [])
        }
        server.open(1)
        server.feed(TestFrame.data(1, grpcMessage([1, 2, 3]), end: true))
        let sent = server.sent()
        #expect(
            sent == [
                .headers(1, ResponseBlocks.head), .data(1, grpcMessage([3, 2, 1])),
                .headers(1, ResponseBlocks.trailersOK, end: true),
            ])
        #expect(server.openStreams == 0)
    }

    @Test("an error is one block, with the detail as a trailer") func errorAnswer() {
        let server = ServerHarness()
        server.open(1, end: true)
        server.core.finish(
            StreamID(1), GRPCStatus(.leaseNotFound), trailers: [("martlet-detail", "100%")])
        let sent = server.sent()
        #expect(sent.count == 1 && sent[0].flags == 5)
        #expect(
            hpackFields(sent[0].payload) == [
                ":status": "200", "content-type": "application/grpc", "grpc-status": "5",
                "grpc-message": "etcdserver: requested lease not found",
                "martlet-detail": "100%25",
            ])
    }

    @Test("an answer before the request's end tells the client to stop") func earlyAnswer() {
        let server = ServerHarness()
        server.open(1)
        server.core.finish(StreamID(1), GRPCStatus(.unavailable, "x"), trailers: [])
        #expect(server.sent().map(\.type) == [1, 3])
        // What was on its way is ignored, and the connection's window is granted again.
        server.feed(TestFrame.data(1, grpcMessage([1]), end: true))
        #expect(server.takeEvents().count == 1)
        #expect(server.sent().isEmpty)
    }

    @Test("refused requests are answered and forgotten") func refusedRequests() {
        let server = ServerHarness()
        server.open(1, fields: requestFields([("content-type", "text/plain")]))
        server.feed(TestFrame.data(1, [1, 2, 3], end: true))
        let sent = server.sent()
        #expect(sent.map(\.type) == [1, 3])
        #expect(hpackFields(sent[0].payload)[":status"] == "415")
        #expect(server.events.isEmpty && server.openStreams == 0)
    }

    @Test("answers on streams that are gone are dropped") func goneStreams() {
        let server = ServerHarness()
        server.open(1)
        server.feed(TestFrame.reset(1, 8))
        #expect(server.takeEvents().last == .cancelled(1, tag: 1_001))
        #expect(!server.send(1, [1]))
        server.core.finish(StreamID(1), .ok, trailers: [])
        server.core.finish(StreamID(99), .ok, trailers: [])
        #expect(server.sent().isEmpty)
    }

    @Test("nothing can be sent behind the end") func afterTheEnd() {
        let server = ServerHarness()
        server.open(1)
        server.core.sendMessage(StreamID(1)) { $0.writeRepeatingByte(1, count: 100_000) }
        server.core.finish(StreamID(1), .ok, trailers: [])
        #expect(!server.send(1, [1]))
        server.core.finish(StreamID(1), GRPCStatus(.internal), trailers: [])
        server.feed(TestFrame.windowUpdate(0, 100_000), .windowUpdate(1, 100_000))
        let sent = server.sent()
        #expect(sent.count { $0.type == 1 } == 2)
    }

    @Test("the service hears nothing of a stream that it has finished") func silenceAfterFinish() {
        let server = ServerHarness()
        server.open(1)
        // Its bytes wait for the window, so the stream itself is still there.
        server.core.sendMessage(StreamID(1)) { $0.writeRepeatingByte(1, count: 100_000) }
        server.core.finish(StreamID(1), .ok, trailers: [])
        _ = server.takeEvents()
        server.feed(TestFrame.data(1, grpcMessage([1])), .data(1, [0, 0], end: true))
        server.feed(TestFrame.reset(1, 8))
        #expect(server.events.isEmpty)
        #expect(server.openStreams == 0)
    }
}
