import EtcdWire
import NIOCore
import NIOHPACK
import TestSupport
import Testing

@testable import HTTP2

@Suite("Header blocks and what they mean")
struct HeaderTests {
    // MARK: Encoding

    @Test("constant blocks decode to what a gRPC client expects") func constantBlocks() {
        #expect(
            hpackFields(ResponseBlocks.head) == [
                ":status": "200", "content-type": "application/grpc",
            ])
        #expect(hpackFields(ResponseBlocks.trailersOK) == ["grpc-status": "0"])
        let only = ResponseBlocks.trailersOnly(
            GRPCStatus(.unknown, "no"), extra: [("martlet-detail", "ä")], httpStatus: 415)
        #expect(
            hpackFields(only) == [
                ":status": "415", "content-type": "application/grpc", "grpc-status": "2",
                "grpc-message": "no", "martlet-detail": "%C3%A4",
            ])
        #expect(ResponseBlocks.trailers(.ok, extra: []) == ResponseBlocks.trailersOK)
    }

    @Test("blocks with long and odd values decode to themselves") func longValues() {
        for count in [0, 1, 126, 127, 128, 254, 255, 8_000] {
            var builder = HeaderBlockBuilder()
            let value = String(repeating: "v", count: count)
            builder.append("name", value)
            builder.append(nameIndex: StaticTable.userAgent, value.utf8)
            #expect(hpackFields(builder.block) == ["name": value, "user-agent": value])
            #expect(!HeaderBlockScan.changesTable(builder.block))
        }
    }

    @Test("messages are percent-encoded and come back") func percentCoding() {
        let texts = ["", "plain text", "100%", "line\nfeed", "größer", "%41", "\u{7f}\u{0}"]
        for text in texts {
            let encoded = PercentCoding.encode(text)
            #expect(encoded.allSatisfy { $0 >= 0x20 && $0 <= 0x7e })
            #expect(PercentCoding.decode(String(decoding: encoded, as: UTF8.self)) == text)
        }
        #expect(PercentCoding.encode("a%b\n") == Array("a%25b%0A".utf8))
        #expect(PercentCoding.decode("%zz%4") == "%zz%4")
        #expect(PercentCoding.decode("%c3%A4") == "ä")
        #expect(PercentCoding.encode(String(repeating: "x", count: 9_000)).count <= 4_096)
    }

    @Test("a request block is the plain one plus what the call adds") func requestBlocks() {
        var blocks = RequestBlocks(authority: "h:1", isSecure: false, userAgent: "ua")
        let plain = blocks.block(path: "/a/B", metadata: [], timeoutNanoseconds: nil)
        #expect(
            hpackFields(plain) == [
                ":method": "POST", ":scheme": "http", ":path": "/a/B", ":authority": "h:1",
                "content-type": "application/grpc", "te": "trailers", "user-agent": "ua",
            ])
        #expect(blocks.block(path: "/a/B", metadata: [], timeoutNanoseconds: nil) == plain)
        let full = blocks.block(
            path: "/a/B", metadata: [("token", "t")], timeoutNanoseconds: 5_000_000_000)
        #expect(hpackFields(full)["token"] == "t")
        #expect(hpackFields(full)["grpc-timeout"].flatMap(GRPCTimeout.parse) == 5_000_000_000)
    }

    // MARK: Timeouts

    @Test("timeouts of every unit are read") func timeouts() {
        #expect(GRPCTimeout.parse("1n") == 1)
        #expect(GRPCTimeout.parse("4999998u") == 4_999_998_000)
        #expect(GRPCTimeout.parse("5m") == 5_000_000)
        #expect(GRPCTimeout.parse("7S") == 7_000_000_000)
        #expect(GRPCTimeout.parse("2M") == 120_000_000_000)
        #expect(GRPCTimeout.parse("1H") == 3_600_000_000_000)
        #expect(GRPCTimeout.parse("99999999H") == .max)
        #expect(GRPCTimeout.parse("0S") == 0)
        for text in ["", "S", "1", "1s", "-1S", "123456789S", "1.5S", " 1S", "1S "] {
            #expect(GRPCTimeout.parse(text) == nil)
        }
    }

    @Test("timeouts are written rounded up, never down") func timeoutFormat() {
        var generator = Seeded(seed: 2)
        for _ in 0..<2_000 {
            let nanoseconds = Int64(generator.next() >> UInt64(1 + generator.below(62)))
            guard let read = GRPCTimeout.parse(GRPCTimeout.format(nanoseconds: nanoseconds))
            else {
                Issue.record("unreadable timeout for \(nanoseconds)")
                return
            }
            #expect(read >= nanoseconds)
            // Eight digits: the error is below one part in a million once it is above a unit.
            #expect(read - max(nanoseconds, 1) <= max(nanoseconds / 100_000, 1))
        }
        #expect(GRPCTimeout.format(nanoseconds: -5) == "1n")
    }

    // MARK: Request heads

    private func verdict(_ changes: [(String, String)]) -> RequestVerdict {
        RequestVerdict.parse(HPACKHeaders(requestFields(changes)), opening: true)
    }

    private func isMalformed(_ fields: [(String, String)], opening: Bool = true) -> Bool {
        if case .malformed = RequestVerdict.parse(HPACKHeaders(fields), opening: opening) {
            return true
        }
        return false
    }

    @Test("an ordinary request head is accepted with its metadata") func accepted() {
        guard
            case .accepted(let head, let length) = verdict([
                ("grpc-timeout", "3S"), ("hasleader", "true"), ("authorization", "secret"),
                ("content-length", "17"), ("content-type", "application/grpc+proto"),
                ("grpc-encoding", "identity"), ("grpc-accept-encoding", "gzip"),
            ])
        else {
            Issue.record("not accepted")
            return
        }
        #expect(head.path == "/etcdserverpb.KV/Put")
        #expect(head.timeoutNanoseconds == 3_000_000_000)
        #expect(head.requiresLeader)
        #expect(head.token == "secret")
        #expect(head.fields.first(name: "grpc-accept-encoding") == "gzip")
        #expect(length == 17)
        guard case .accepted(let bare, let none) = verdict([("-te", ""), ("token", "t")]) else {
            Issue.record("not accepted")
            return
        }
        #expect(none == -1 && bare.timeoutNanoseconds == nil && !bare.requiresLeader)
        #expect(bare.token == "t")
    }

    @Test("token goes before authorization") func tokens() {
        guard case .accepted(let head, _) = verdict([("authorization", "a"), ("token", "t")])
        else {
            Issue.record("not accepted")
            return
        }
        #expect(head.token == "t")
    }

    @Test("what we do not serve is refused with the status that says so") func refused() {
        let cases: [([(String, String)], Int, GRPCStatusCode)] = [
            ([(":method", "GET")], 405, .internal),
            ([("content-type", "application/json")], 415, .unknown),
            ([("-content-type", "")], 415, .unknown),
            ([("content-type", "application/grpcx")], 415, .unknown),
            ([("content-type", "application/grpc-web")], 415, .unknown),
            ([("grpc-encoding", "gzip")], 200, .unimplemented),
            ([("grpc-timeout", "soon")], 200, .internal),
        ]
        for (changes, httpStatus, code) in cases {
            guard case .refused(let seenHTTP, let status, let extra) = verdict(changes) else {
                Issue.record("\(changes) was not refused")
                continue
            }
            #expect(seenHTTP == httpStatus && status.code == code, "\(changes)")
            if code == .unimplemented {
                #expect(extra.first?.name == "grpc-accept-encoding")
                #expect(extra.first?.value == "identity")
                #expect(
                    status.message
                        == "grpc: Decompressor is not installed for grpc-encoding \"gzip\"")
            }
        }
        for type in ["application/grpc;charset=utf-8", "Application/GRPC", "application/grpc+x"] {
            guard case .accepted = verdict([("content-type", type)]) else {
                Issue.record("\(type) was not accepted")
                continue
            }
        }
    }

    @Test("heads that break HTTP/2's rules are malformed") func malformed() {
        let broken: [[(String, String)]] = [
            [("-:method", "")], [("-:scheme", "")], [("-:path", "")], [(":path", "")],
            [(":path", "no/slash")], [(":status", "200")], [(":unknown", "x")],
            [("Upper", "x")], [("sp ace", "x")], [("", "x")], [("x", "a\rb")], [("x", "a\nb")],
            [("x", "a\0b")], [("te", "gzip")], [("connection", "close")],
            [("keep-alive", "1")], [("proxy-connection", "x")], [("transfer-encoding", "chunked")],
            [("upgrade", "h2c")], [("content-length", "x")], [("content-length", "-1")],
        ]
        for changes in broken {
            #expect(isMalformed(requestFields(changes)), "\(changes)")
        }
        for name in [":method", ":scheme", ":path", ":authority"] {
            let twice = requestFields.flatMap { $0.0 == name ? [$0, $0] : [$0] }
            #expect(isMalformed(twice), "\(name) twice")
        }
        #expect(isMalformed(requestFields + [(":authority", "late")]))
        #expect(
            isMalformed(
                requestFields([("-:authority", "")]) + [(":authority", "behind a regular field")]))
        #expect(isMalformed([]))
        #expect(!isMalformed(requestFields))
    }

    @Test("trailers may not have pseudo-header fields") func trailers() {
        #expect(isMalformed([(":path", "/x")], opening: false))
        guard case .trailers = RequestVerdict.parse(HPACKHeaders([("x", "y")]), opening: false)
        else {
            Issue.record("trailers were not accepted")
            return
        }
    }

    // MARK: Response heads

    private func response(
        _ fields: [(String, String)], opening: Bool = true
    ) -> ResponseVerdict {
        ResponseVerdict.parse(HPACKHeaders(fields), opening: opening)
    }

    @Test("response heads, interim ones and trailers are told apart") func responses() {
        let type = ("content-type", "application/grpc")
        guard case .head = response([(":status", "200"), type]) else {
            Issue.record("no head")
            return
        }
        guard case .interim = response([(":status", "103")]) else {
            Issue.record("no interim")
            return
        }
        guard
            case .end(let status, let extra) = response(
                [("grpc-status", "9"), ("grpc-message", "a%20b"), ("martlet-detail", "d")],
                opening: false)
        else {
            Issue.record("no end")
            return
        }
        #expect(status == GRPCStatus(.failedPrecondition, "a b"))
        #expect(extra == [ResponseField(name: "martlet-detail", value: "d")])
        let ends: [([(String, String)], Bool, GRPCStatusCode)] = [
            ([(":status", "200"), type, ("grpc-status", "5")], true, .notFound),
            ([(":status", "503")], true, .unavailable),
            ([(":status", "404")], true, .unimplemented),
            ([(":status", "415"), ("grpc-status", "2")], true, .unknown),
            ([(":status", "200"), ("content-type", "text/html")], true, .unknown),
            ([("x", "y")], false, .unknown), ([("grpc-status", "77")], false, .unknown),
        ]
        for (fields, opening, code) in ends {
            guard case .end(let status, _) = response(fields, opening: opening) else {
                Issue.record("\(fields) is no end")
                continue
            }
            #expect(status.code == code, "\(fields)")
        }
        for fields in [
            [], [("grpc-status", "0")], [(":status", "20")], [(":status", "abc")],
            [(":status", "200"), (":status", "200")], [("x", "y"), (":status", "200")],
            [(":path", "/")], [(":status", "200"), ("Upper", "x")],
        ] {
            guard case .malformed = response(fields) else {
                Issue.record("\(fields) is not malformed")
                continue
            }
        }
    }

    // MARK: The remembering decoder

    @Test("remembered blocks are forgotten when the table changes") func memory() throws {
        var encoder = HPACKEncoder(allocator: ByteBufferAllocator())
        var parses = 0
        var decoder = HeaderDecoder<[String]>(maximumHeaderListBytes: 16_384) { fields, _ in
            parses += 1
            return fields.map(\.value)
        }
        func decode(_ fields: [(String, String)]) throws -> [String] {
            var buffer = ByteBuffer()
            try encoder.encode(headers: HPACKHeaders(fields), to: &buffer)
            return try decoder.decode(
                Array(buffer: buffer), 0..<buffer.readableBytes, opening: true)
        }
        // The first block fills the table, the second is all indices, the third is remembered.
        #expect(try decode([("a", "1"), ("b", "2")]) == ["1", "2"])
        #expect(try decode([("a", "1"), ("b", "2")]) == ["1", "2"])
        #expect(parses == 2)
        #expect(try decode([("a", "1"), ("b", "2")]) == ["1", "2"])
        #expect(parses == 2)
        // A new entry shifts every index: the same bytes now mean something else.
        #expect(try decode([("c", "3")]) == ["3"])
        #expect(try decode([("b", "2"), ("c", "3")]) == ["2", "3"])
        #expect(try decode([("a", "1"), ("b", "2")]) == ["1", "2"])
    }

    @Test("first blocks and trailers with the same bytes are not mixed up") func opening() throws {
        var decoder = HeaderDecoder<Bool>(maximumHeaderListBytes: 16_384) { _, opening in opening }
        var builder = HeaderBlockBuilder()
        builder.append("x", "y")
        let block = builder.block
        for opening in [true, false, true, false] {
            #expect(try decoder.decode(block, block.indices, opening: opening) == opening)
        }
    }

    @Test("random conversations decode as without memory") func randomConversations() throws {
        var generator = Seeded(seed: 3)
        for _ in 0..<20 {
            var encoder = HPACKEncoder(allocator: ByteBufferAllocator())
            var decoder = HeaderDecoder<[String]>(maximumHeaderListBytes: 65_536) { fields, _ in
                fields.map { "\($0.name)=\($0.value)" }
            }
            for _ in 0..<300 {
                let fields = (0..<(1 + generator.below(3))).map { _ in
                    ("n\(generator.below(4))", String(repeating: "v", count: generator.below(9)))
                }
                var block = ByteBuffer()
                try encoder.encode(headers: HPACKHeaders(fields), to: &block)
                let received = [9, 9, 9] + Array(buffer: block)
                let seen = try decoder.decode(
                    received, 3..<received.count, opening: true)
                #expect(seen == fields.map { "\($0.0)=\($0.1)" })
            }
        }
    }

    @Test("the scan sees every kind of change and every malformed block") func scan() {
        #expect(!HeaderBlockScan.changesTable([]))
        #expect(!HeaderBlockScan.changesTable([0x82, 0xbe]))
        #expect(HeaderBlockScan.changesTable([0x82, 0x41, 1, 65]))
        #expect(HeaderBlockScan.changesTable([0x40, 1, 65, 1, 65]))
        #expect(HeaderBlockScan.changesTable([0x20]))
        #expect(HeaderBlockScan.changesTable([0x3f, 0x01]))
        #expect(!HeaderBlockScan.changesTable([0x10, 1, 65, 1, 66]))
        for malformed: [UInt8] in [
            [0xff], [0x00], [0x00, 1], [0x00, 1, 65], [0x00, 1, 65, 2, 65], [0x0f],
            [0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
        ] {
            #expect(HeaderBlockScan.changesTable(malformed), "\(malformed)")
        }
    }
}
