import EtcdWire
import NIOCore
import Testing

@testable import HTTP2

@Suite("The client tells every way in which a call can end")
struct ClientProtocolTests {
    private let head = TestFrame.headers(1, ResponseBlocks.head)
    private let trailersOK = TestFrame.headers(1, ResponseBlocks.trailersOK, end: true)

    private func reach(_ events: [ClientHarness.Event]) -> GRPCCallError.Reach? {
        guard case .finished(_, .failed(let error))? = events.last else { return nil }
        return error.reach
    }

    @Test("the client begins with preface, SETTINGS without push and its window")
    func handshake() {
        let client = ClientHarness(handshake: false)
        let bytes = client.sentBytes()
        #expect(bytes.starts(with: HTTP2Constant.preface))
        let frames = TestFrame.parse(Array(bytes.dropFirst(HTTP2Constant.preface.count)))
        #expect(frames.map(\.type) == [4, 8])
        #expect(frames[0].payload.suffix(6) == [0, 2, 0, 0, 0, 0])
        client.feed(TestFrame.settings([(3, 7)]))
        #expect(client.events == [.settled])
        #expect(client.sent() == [.settingsAck])
        #expect(client.canOpenStream)
    }

    @Test("a unary call is HEADERS and one DATA frame, and its answer one message and OK")
    func unary() {
        let client = ClientHarness()
        client.unary(tag: 7, [1, 2])
        #expect(
            client.sent() == [
                .headers(1, ClientHarness.block), .data(1, grpcMessage([1, 2]), end: true),
            ])
        client.feed(head, .data(1, grpcMessage([3])), trailersOK)
        #expect(
            client.takeEvents() == [
                .message(tag: 7, [3]), .finished(tag: 7, .answered(.ok, trailers: [])),
            ])
        #expect(client.openStreams == 0)
    }

    @Test("a status and its detail arrive, in trailers and alone") func statuses() {
        let status = GRPCStatus(.leaseNotFound)
        let detail: [(name: String, value: String)] = [("martlet-detail", "why: 100%")]
        let fields = [ResponseField(name: "martlet-detail", value: "why: 100%")]
        let client = ClientHarness()
        client.unary(tag: 1)
        client.feed(
            head, .headers(1, ResponseBlocks.trailers(status, extra: detail), end: true))
        client.unary(tag: 2)
        client.feed(
            TestFrame.headers(
                3, ResponseBlocks.trailersOnly(status, extra: detail), end: true))
        #expect(
            client.takeEvents() == [
                .finished(tag: 1, .answered(status, trailers: fields)),
                .finished(tag: 2, .answered(status, trailers: fields)),
            ])
    }

    @Test("an interim response is passed over") func interim() {
        let client = ClientHarness()
        client.unary(tag: 1)
        client.feed(
            TestFrame.headers(1, hpackBlock([(":status", "103"), ("link", "x")])), head,
            .data(1, grpcMessage([1])), trailersOK)
        #expect(
            client.takeEvents() == [
                .message(tag: 1, [1]), .finished(tag: 1, .answered(.ok, trailers: [])),
            ])
    }

    @Test("an answer without a status is an error of unknown outcome") func noStatus() {
        let answers: [[TestFrame]] = [
            [.headers(1, ResponseBlocks.head, end: true)],
            [head, .data(1, [], end: true)],
            [head, .data(1, grpcMessage([1]), end: true)],
            [.headers(1, hpackBlock([(":status", "99x")]))],
            [.headers(1, hpackBlock([(":status", "103")]), end: true)],
        ]
        for answer in answers {
            let client = ClientHarness()
            client.unary(tag: 1)
            client.feed(answer.flatMap(\.bytes))
            #expect(reach(client.events) == .outcomeUnknown, "\(answer)")
            #expect(client.openStreams == 0)
            client.feed(TestFrame.ping())
            #expect(client.sent().last == .ping(ack: true))
        }
    }

    @Test("a refused stream is proven unprocessed, another reset is not") func resets() {
        for (code, reached, status) in [
            (UInt32(7), GRPCCallError.Reach.neverSent, GRPCStatusCode.unavailable),
            (8, .outcomeUnknown, .canceled), (2, .outcomeUnknown, .internal),
            (0xb, .outcomeUnknown, .resourceExhausted),
        ] {
            let client = ClientHarness()
            client.unary(tag: 1)
            client.feed(TestFrame.reset(1, code))
            guard case .finished(1, .failed(let error))? = client.events.last else {
                Issue.record("no failure for code \(code)")
                continue
            }
            #expect(error.reach == reached && error.status.code == status)
        }
    }

    @Test("GOAWAY proves that later calls were not processed, and earlier ones go on")
    func goAway() {
        let client = ClientHarness()
        for tag: UInt64 in 1...3 { client.unary(tag: tag) }
        client.feed(TestFrame.goAway(3))
        #expect(client.events.first == .draining)
        guard case .finished(3, .failed(let error))? = client.events.last else {
            Issue.record("call 3 was not ended")
            return
        }
        #expect(error.reach == .neverSent)
        _ = client.takeEvents()
        client.feed(head, .data(1, grpcMessage([9])), trailersOK)
        #expect(client.events.last == .finished(tag: 1, .answered(.ok, trailers: [])))
        // The server may lower the mark again (RFC 9113 section 6.8).
        client.feed(TestFrame.goAway(1))
        #expect(reach(client.events) == .neverSent)
        #expect(client.openStreams == 0)
    }

    @Test("a message above the limit ends the call, not the connection") func tooLarge() {
        var limits = HTTP2Limits()
        limits.maximumMessageBytes = 10
        let client = ClientHarness(limits: limits)
        client.unary(tag: 1)
        _ = client.sent()
        client.feed(head, .data(1, [0, 0, 0, 0, 11]))
        guard case .finished(1, .failed(let error))? = client.events.last else {
            Issue.record("no failure")
            return
        }
        #expect(error.status.code == .resourceExhausted)
        #expect(client.sent() == [.reset(1, 8)])
    }

    @Test("a server that ends a streaming call early is told that we stop") func earlyEnd() {
        let client = ClientHarness()
        let stream = client.open(tag: 1)
        _ = client.sent()
        client.feed(head, trailersOK)
        #expect(client.events == [.finished(tag: 1, .answered(.ok, trailers: []))])
        #expect(client.sent() == [.reset(1, 0)])
        let isSent = client.core.engine.sendMessage(stream, head: []) { $0.writeBytes([1]) }
        #expect(!isSent)
    }

    @Test("breaches by the server end the connection") func breaches() {
        let frames: [(TestFrame, UInt32)] = [
            (.headers(2, ResponseBlocks.head), 1), (.headers(3, ResponseBlocks.head), 1),
            (TestFrame(type: 5, flags: 4, stream: 1, payload: [0, 0, 0, 2]), 1),
            (.settings([(2, 1)]), 1), (.data(3, [1]), 1), (.windowUpdate(3, 1), 1),
        ]
        for (frame, code) in frames {
            let client = ClientHarness()
            client.unary(tag: 1)
            client.feed(frame)
            #expect(client.events.last == .failed(code), "\(frame)")
        }
    }

    @Test("DATA before HEADERS ends the call") func dataFirst() {
        let client = ClientHarness()
        client.unary(tag: 1)
        client.feed(TestFrame.data(1, grpcMessage([1])))
        #expect(reach(client.events) == .outcomeUnknown)
    }

    @Test("what the reader does not take is not granted again") func backPressure() {
        var limits = HTTP2Limits()
        limits.streamReceiveWindowBytes = 1_000
        limits.connectionReceiveWindowBytes = 65_535
        let client = ClientHarness(limits: limits)
        let stream = client.open(tag: 1)
        client.feed(head)
        _ = client.sent()
        for _ in 0..<9 {
            client.feed(TestFrame.data(1, grpcMessage(Array(repeating: 1, count: 95))))
        }
        #expect(client.sent().isEmpty)
        client.core.engine.consume(stream, bytes: 400)
        #expect(client.sent().isEmpty)
        client.core.engine.consume(stream, bytes: 100)
        #expect(client.sent() == [.windowUpdate(1, 500)])
    }

    @Test("stream ids end") func idsEnd() {
        let client = ClientHarness()
        client.core.engine.nextLocalStreamID = HTTP2Constant.maximumStreamID
        let last = client.core.engine.openStream(tag: 1)
        let none = client.core.engine.openStream(tag: 2)
        #expect(last?.rawValue == 0x7fff_ffff && none == nil)
    }
}
