import EtcdMessages
import EtcdWire
import HTTP2
import KVCore
import NIOHPACK
import Testing

@testable import Fuzzing
@testable import HTTP2

/// Whether `body` ends with the breach of this property.
func breaks(_ property: String, _ body: () throws -> Void) -> Bool {
    do {
        try body()
        return false
    } catch let breach as PropertyBreach {
        return breach.property == property
    } catch {
        return false
    }
}

/// A decoded put that is encoded wrongly.
private struct LyingPut: HotRequest {
    var put: PutRequest
    var lie = Lie.none

    enum Lie {
        case none
        case size
        case value
    }

    init(_ put: PutRequest, _ lie: Lie) { (self.put, self.lie) = (put, lie) }

    init(decoding bytes: ArraySlice<UInt8>) throws(WireError) {
        put = try PutRequest(decoding: bytes)
    }

    var encodedSize: Int { encoded.count + (lie == .size ? 1 : 0) }

    func encode(into out: inout [UInt8]) {
        var written = put
        if lie == .value { written.value = [] }
        written.encode(into: &out)
    }
}

@Suite("The checks of decoders see each breach")
struct DecoderCanaryTests {
    private let put = RequestSeeds.encoded(RequestSeeds.put("key", "value"))

    private func agree(
        _ bytes: [UInt8], _ decode: (ArraySlice<UInt8>) throws(WireError) -> LyingPut
    ) throws {
        _ = try Pair.agree(
            bytes, oneofs: .none, canonical: { (_: inout Etcdserverpb_PutRequest) in },
            decode: decode)
    }

    @Test("a request that one of two decoders refuses") func acceptance() {
        #expect(
            breaks("both decoders refuse the same") {
                try agree(put) { _ throws(WireError) in throw .truncated }
            })
        #expect(
            breaks("both decoders accept the same") {
                try agree([0x0a, 9]) { _ throws(WireError) in LyingPut(PutRequest(), .none) }
            })
    }

    @Test("a request that is encoded wrongly") func encoding() {
        func lying(_ lie: LyingPut.Lie) throws {
            try agree(put) { bytes throws(WireError) in
                LyingPut(try PutRequest(decoding: bytes), lie)
            }
        }
        #expect(breaks("encodedSize is what encode appends") { try lying(.size) })
        #expect(breaks("what was written reads back the same") { try lying(.value) })
    }

    @Test("a request that means something else") func meaning() {
        let swapped = breaks("both decoders understand the same") {
            var first = true
            try agree(put) { bytes throws(WireError) in
                var put = try PutRequest(decoding: bytes)
                // Wrong when it counts, and the same again when it is read back.
                if first { (put.key, put.value) = (put.value, put.key) }
                first = false
                return LyingPut(put, .none)
            }
        }
        #expect(swapped)
    }

    @Test("overridden members of a oneof don't count, wherever they stand") func oneofs() throws {
        let range = ProtobufTree.serialize([.init(number: 1, wireType: 2, value: .bytes([10, 0]))])
        let empty = ProtobufTree.serialize([.init(number: 2, wireType: 2, value: .bytes([]))])
        #expect(Pair.lastStanding(range + empty, .operation) == empty)
        #expect(Pair.lastStanding(range + empty, .none) == range + empty)
        let inside = ProtobufTree.serialize([
            .init(number: 3, wireType: 2, value: .bytes(range + empty))
        ])
        let kept = ProtobufTree.serialize([.init(number: 3, wireType: 2, value: .bytes(empty))])
        #expect(Pair.lastStanding(inside, .txn) == kept)
    }

    @Test("a generated message that reads back differently") func messages() {
        var count = 0
        #expect(
            breaks("a message that was written reads back the same") {
                _ = try MessageTarget.roundTrip(put, name: "put") { bytes in
                    count += 1
                    return count == 1
                        ? try Etcdserverpb_PutRequest(serializedBytes: bytes) : .init()
                }
            })
    }

    @Test("an answer that isn't canonical") func answers() throws {
        let canonical = RequestSeeds.encoded(
            Etcdserverpb_PutResponse.with { $0.header.revision = 3 })
        try Answers.check(canonical, as: Etcdserverpb_PutResponse.self)
        for wrong in [canonical + [9], canonical.dropLast() + [0x83, 0x00]] {
            #expect(
                breaks("answers are canonical protobuf") {
                    try Answers.check(wrong, as: Etcdserverpb_PutResponse.self)
                })
        }
    }

    @Test("gRPC messages that two readers don't both find") func framing() {
        let reading = MessageFramingTarget.read(WireFrame.message([1, 2])[...])
        #expect(reading.messages == [[1, 2]])
        #expect(
            breaks("two readers find the same") {
                try MessageFramingTarget.compare(.init(messages: [[1]]), reading)
            })
    }

    @Test("header blocks that are remembered wrongly") func headerBlocks() throws {
        let block: [UInt8] = [0x40, 1, 0x61, 1, 0x62]
        let input = HeaderBlockTarget.joined([block, [0xbe]])
        let wrong = HPACKHeaders([("a", "c")])
        #expect(
            breaks("both decoders find the same fields") {
                _ = try HeaderBlockTarget.check(input) { _ in wrong }
            })
        #expect(
            breaks("both decoders refuse the same") {
                _ = try HeaderBlockTarget.check(input) { _ throws(HTTP2ConnectionError) in
                    throw HTTP2ConnectionError(.compressionError, "no")
                }
            })
        #expect(
            breaks("both decoders find the same fields") {
                _ = try HeaderBlockTarget.check(HeaderBlockTarget.joined([[0x80]])) { _ in wrong }
            })
    }
}

@Suite("The checks of HTTP/2 see each breach")
struct HTTP2CanaryTests {
    private let head = RequestHead(
        path: "/", timeoutNanoseconds: nil, requiresLeader: false, token: nil, fields: [:])

    private func serverBreach(_ events: [ServerCore.Event]) -> String? {
        var order = ServerOrder()
        do throws(PropertyBreach) {
            for event in events { _ = try order.take(event) }
            return nil
        } catch {
            return error.property
        }
    }

    @Test("events of a server out of order") func serverOrder() {
        let id = StreamID(1)
        let start = ServerCore.Event.request(id, head, isEnd: false)
        let last = ServerCore.Event.message(id, tag: 1_001, [], isLast: true)
        #expect(serverBreach([start, last, .cancelled(id, tag: 1_001)]) == nil)
        #expect(serverBreach([start, start]) == "a stream is opened once")
        let between = "messages come between a request and its end"
        #expect(serverBreach([last]) == between)
        #expect(serverBreach([start, last, .ended(id, tag: 1_001)]) == between)
        #expect(
            serverBreach([start, .ended(id, tag: 7)]) == "events carry their stream's tag")
        let cancelled = "an unanswered stream is cancelled, once"
        #expect(serverBreach([.cancelled(id, tag: 1_001)]) == cancelled)
        #expect(serverBreach([.drained(id, tag: 1_001)]) == "an unanswered stream drains")
        let failed = ServerCore.Event.failed(HTTP2ConnectionError(.protocolError, "x"))
        #expect(serverBreach([failed, start]) == "a failed connection has no events")
        var answered = ServerOrder()
        #expect(
            breaks("an answered stream is silent") {
                _ = try answered.take(start)
                answered.answered(1)
                _ = try answered.take(last)
            })
    }

    @Test("events of a client out of order") func clientOrder() {
        func breach(_ events: [ClientCore.Event]) -> String? {
            var order = ClientOrder()
            do throws(PropertyBreach) {
                for event in events { _ = try order.take(event) }
                return nil
            } catch {
                return error.property
            }
        }
        let end = ClientCore.Event.finished(tag: 1, .answered(.ok, trailers: []))
        #expect(breach([.message(StreamID(1), tag: 1, []), end]) == nil)
        #expect(breach([end, end]) == "nothing follows a call's end")
        #expect(breach([end, .drained(StreamID(1), tag: 1)]) == "nothing follows a call's end")
        #expect(breach([.message(StreamID(1), tag: 9, [])]) == "events carry a call's tag")
        let failed = ClientCore.Event.failed(HTTP2ConnectionError(.protocolError, "x"))
        #expect(breach([failed, .settled]) == "a failed connection has no events")
    }

    @Test("pieces that mean something else") func pieces() {
        #expect(
            breaks("pieces of any size mean the same") {
                try requireSameMeaning(["request 1"], ["request 1", "ended 1"])
            })
    }

    @Test("frames that may not be sent") func sentFrames() {
        func breach(_ frames: [WireFrame], rest: [UInt8] = [], isServer: Bool = true) -> String? {
            var sent = SentFrames(isServer: isServer)
            do throws(PropertyBreach) {
                try sent.take(frames.flatMap(\.bytes) + rest)
                return nil
            } catch {
                return error.property
            }
        }
        let goAway = WireFrame(type: 7, payload: WireFrame.word(1) + WireFrame.word(1))
        #expect(
            breach([.settings(), .headers(1, [0x88]), .data(1, [1], end: true), goAway]) == nil)
        #expect(breach([], rest: [0, 0]) == "what is sent is whole frames")
        #expect(breach([goAway, .ping]) == "nothing follows the GOAWAY of an error")
        #expect(
            breach([.data(1, [], end: true), .data(1, [])]) == "nothing follows a stream's end")
        #expect(breach([.data(2, [])]) == "clients open streams")
        #expect(
            breach([.headers(1, [], endHeaders: false), .ping])
                == "a header block is not interrupted")
        #expect(
            breach([.data(1, .init(repeating: 0, count: 65_537))])
                == "a frame has at most 64 KiB")
        #expect(breach([WireFrame(type: 5, stream: 1)]) == "only frames of RFC 9113 are sent")
        #expect(breach([.windowUpdate(0, 0)]) == "WINDOW_UPDATE is well formed")
        #expect(breach([WireFrame(type: 3, stream: 1)]) == "RST_STREAM is well formed")
        #expect(breach([WireFrame(type: 4, payload: [1])]) == "SETTINGS is well formed")
        #expect(breach([WireFrame(type: 6)]) == "PING is well formed")
        #expect(breach([WireFrame(type: 7)]) == "GOAWAY is well formed")
        #expect(breach([.ping], isServer: false) == "a client begins with the preface")
    }

    @Test("a server that holds or sends too much") func serverLoad() throws {
        let limits = HTTP2Limits()
        let sane = ServerLoad(
            assemblyBytes: 0, heldBytes: 0, openStreams: 1, unsentBytes: 10, dataBytes: 10,
            sentBytes: 100, answerBytes: 10, grantedBytes: 100, frameCount: 2)
        try sane.check(limits)
        let changes: [(String, (inout ServerLoad) -> Void)] = [
            ("incomplete messages stay within their bound", { $0.assemblyBytes = 1 << 30 }),
            ("at most one incomplete frame is held", { $0.heldBytes = 16_394 }),
            ("open streams stay within their bound", { $0.openStreams = 100_001 }),
            ("only answers wait to be sent", { $0.unsentBytes = 2_000 }),
            ("no more DATA is sent than was granted", { $0.dataBytes = 101 }),
            ("output is bounded by input", { $0.sentBytes = 20_000 }),
        ]
        for (property, change) in changes {
            var load = sane
            change(&load)
            let wrong = load
            #expect(breaks(property) { try wrong.check(limits) })
        }
    }

    @Test("a client that holds or sends too much") func clientLoad() throws {
        let sane = ClientLoad(
            heldBytes: 0, assemblyBytes: 0, streams: 2, openCalls: 2, sentBytes: 300,
            receivedBytes: 90)
        try sane.check()
        let changes: [(String, (inout ClientLoad) -> Void)] = [
            ("at most one incomplete frame is held", { $0.heldBytes = 16_394 }),
            ("incomplete messages are bounded", { $0.assemblyBytes = 10_001 }),
            ("a call holds a stream until it ends", { $0.streams = 1 }),
            ("output is bounded by input", { $0.sentBytes = 9_000 }),
        ]
        for (property, change) in changes {
            var load = sane
            change(&load)
            let wrong = load
            #expect(breaks(property) { try wrong.check() })
        }
    }
}
