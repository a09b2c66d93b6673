import NIOCore
import NIOHPACK

/// An HTTP/2 frame as bytes, made and read without the code under test.
struct WireFrame: Equatable {
    var type: UInt8
    var flags: UInt8 = 0
    var stream: UInt32 = 0
    var payload: [UInt8] = []

    static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

    var bytes: [UInt8] {
        let length = payload.count
        return [UInt8(length >> 16 & 0xff), UInt8(length >> 8 & 0xff), UInt8(length & 0xff)]
            + [type, flags] + Self.word(stream) + payload
    }

    static func word(_ value: UInt32) -> [UInt8] {
        [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }
    }

    static func number(_ bytes: some Collection<UInt8>) -> UInt32 {
        bytes.reduce(0) { $0 << 8 | UInt32($1) }
    }

    /// The whole frames at the front of some bytes, and what is left of them.
    static func split(_ bytes: ArraySlice<UInt8>) -> (frames: [WireFrame], rest: ArraySlice<UInt8>)
    {
        var frames: [WireFrame] = []
        var rest = bytes
        while rest.count >= 9 {
            let head = Array(rest.prefix(9))
            let length = Int(number(head[0..<3]))
            guard rest.count >= 9 + length else { break }
            frames.append(
                WireFrame(
                    type: head[3], flags: head[4], stream: number(head[5..<9]),
                    payload: Array(rest.dropFirst(9).prefix(length))))
            rest = rest.dropFirst(9 + length)
        }
        return (frames, rest)
    }

    // MARK: Frames that make sense

    static func data(_ stream: UInt32, _ payload: [UInt8], end: Bool = false) -> WireFrame {
        WireFrame(type: 0, flags: end ? 1 : 0, stream: stream, payload: payload)
    }

    static func headers(
        _ stream: UInt32, _ block: [UInt8], end: Bool = false, endHeaders: Bool = true
    ) -> WireFrame {
        WireFrame(
            type: 1, flags: (end ? 1 : 0) | (endHeaders ? 4 : 0), stream: stream, payload: block)
    }

    static func settings(_ values: [(UInt16, UInt32)] = []) -> WireFrame {
        WireFrame(
            type: 4,
            payload: values.flatMap { [UInt8($0.0 >> 8), UInt8($0.0 & 0xff)] + word($0.1) })
    }

    static func windowUpdate(_ stream: UInt32, _ increment: UInt32) -> WireFrame {
        WireFrame(type: 8, stream: stream, payload: word(increment))
    }

    static let acknowledgement = WireFrame(type: 4, flags: 1)
    static let ping = WireFrame(type: 6, payload: [1, 2, 3, 4, 5, 6, 7, 8])

    /// A message with gRPC's five-byte prefix.
    static func message(_ content: [UInt8], flag: UInt8 = 0) -> [UInt8] {
        [flag] + word(UInt32(content.count)) + content
    }

    /// The head of an ordinary request.
    static let requestFields: [(String, String)] = [
        (":method", "POST"), (":scheme", "http"), (":path", "/etcdserverpb.KV/Put"),
        (":authority", "localhost"), ("content-type", "application/grpc"), ("te", "trailers"),
    ]

    /// A header block by NIOHPACK's encoder, dynamic table and all.
    static func block(_ fields: [(String, String)], _ encoder: inout HPACKEncoder) -> [UInt8] {
        var buffer = ByteBuffer()
        try? encoder.encode(headers: HPACKHeaders(fields), to: &buffer)
        return Array(buffer.readableBytesView)
    }

    static func block(_ fields: [(String, String)]) -> [UInt8] {
        var encoder = HPACKEncoder(allocator: ByteBufferAllocator())
        return block(fields, &encoder)
    }

    // MARK: Damage

    /// Changes frames and puts their lengths right; one time in five it damages the plain bytes.
    static func mutate(
        _ input: ArraySlice<UInt8>, fields: [(String, String)], _ mutator: inout Mutator
    ) -> [UInt8] {
        var (frames, rest) = split(input)
        guard !mutator.once(in: 5), !frames.isEmpty else { return mutator.damage(Array(input)) }
        var donor = mutator.other()[...]
        if donor.starts(with: preface) { donor = donor.dropFirst(preface.count) }
        mutator.rearrange(&frames, from: split(donor).frames) { frame, mutator in
            frame.change(fields: fields, &mutator)
        }
        return Array((frames.flatMap(\.bytes) + rest).prefix(Mutator.maximumBytes))
    }

    private mutating func change(fields: [(String, String)], _ mutator: inout Mutator) {
        switch mutator.below(12) {
        case 0: flags ^= 1 << UInt8(mutator.below(6))
        case 1: flags = UInt8(truncatingIfNeeded: mutator.number())
        case 2: type = UInt8(mutator.below(11))
        case 3: stream = UInt32(mutator.below(12))
        case 4: stream = UInt32(truncatingIfNeeded: mutator.number())
        case 5: payload.removeLast(mutator.below(payload.count + 1))
        case 6: pad(&mutator)
        case 7 where type == 4:
            payload += [0, UInt8(mutator.below(8))]
            payload += Self.word(UInt32(truncatingIfNeeded: mutator.number()))
        case 7 where type == 8 || type == 3:
            payload = Self.word(UInt32(truncatingIfNeeded: mutator.number()))
        case 7 where type == 0, 8 where type == 0:
            // Prefixes and bodies that don't agree.
            let count = mutator.once(in: 2) ? mutator.number() : UInt64(payload.count)
            payload.insert(
                contentsOf: [UInt8(mutator.below(3))]
                    + Self.word(UInt32(truncatingIfNeeded: count)), at: 0)
        case 8 where type == 1, 9 where type == 1, 10 where type == 1:
            payload = Self.block(Self.mutated(fields, &mutator))
        default: payload = mutator.damage(payload)
        }
    }

    private mutating func pad(_ mutator: inout Mutator) {
        flags |= 8
        let count = mutator.below(20)
        payload = [UInt8(count)] + payload + [UInt8](repeating: 0, count: count)
    }

    /// Header fields that are partly wrong.
    static func mutated(
        _ fields: [(String, String)], _ mutator: inout Mutator
    ) -> [(String, String)] {
        let others = [
            ("grpc-timeout", "10S"), ("grpc-timeout", "99999999H"), ("grpc-timeout", "1"),
            ("grpc-encoding", "gzip"), ("content-length", "7"), ("content-length", "-1"),
            ("content-length", "99999999999999999999"), ("hasleader", "true"), ("token", "t"),
            ("connection", "close"), ("te", "gzip"), (":status", "100"), (":status", "503"),
            ("grpc-status", "0"), ("grpc-status", "99"), ("grpc-message", "%41%4"),
            (":path", "*"), (":method", "OPTIONS"), ("Upper", "x"), ("", ""), ("nul", "\0"),
            (":protocol", "websocket"), ("x", String(repeating: "v", count: 4_000)),
        ]
        var changed = fields
        mutator.rearrange(&changed, from: others) { field, mutator in
            let damaged = mutator.damage(
                Array((mutator.once(in: 3) ? field.0 : field.1).utf8).prefixArray(6_000))
            let text = String(decoding: damaged, as: UTF8.self)
            if mutator.once(in: 3) { field.0 = text } else { field.1 = text }
        }
        return changed
    }
}

extension [UInt8] {
    func prefixArray(_ count: Int) -> [UInt8] { Array(prefix(count)) }
}
