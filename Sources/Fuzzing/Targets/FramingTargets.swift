import HTTP2
import NIOCore
import NIOHPACK

/// Bytes of DATA frames as gRPC messages. The first byte of an input chooses the piece size.
public struct MessageFramingTarget: FuzzTarget {
    /// See `FuzzTarget`.
    public let name = "grpc-framing"
    /// See `FuzzTarget`.
    public let summary = """
        length-prefixed gRPC messages: in pieces of any size they are those that a second, plain \
        reader finds, and a violation is found where it finds one
        """
    static let maximumMessageBytes = 1_000

    /// A target for the messages in DATA frames.
    public init() {}

    /// See `FuzzTarget`.
    public func seeds() -> [[UInt8]] {
        let small = WireFrame.message([1, 2, 3])
        let large = WireFrame.message([UInt8](repeating: 5, count: 900))
        return [
            [0] + small + small, [1] + small + WireFrame.message([]) + large, [7] + large + small,
            [3] + WireFrame.message([1], flag: 1), [40] + large.dropLast(10),
        ]
    }

    /// See `FuzzTarget`.
    public func mutate(_ input: [UInt8], _ mutator: inout Mutator) -> [UInt8] {
        guard mutator.once(in: 2) else { return mutator.damage(input) }
        var parts = Self.read(input.dropFirst()).messages.map { WireFrame.message($0) }
        mutator.rearrange(&parts) { part, mutator in
            part = WireFrame.message(mutator.damage(Array(part.dropFirst(5))))
        }
        return [UInt8(mutator.below(64))] + parts.flatMap(\.self).prefixArray(20_000)
    }

    /// What a stream of bytes comes to.
    struct Reading: Equatable {
        var messages: [[UInt8]] = []
        /// Whether the stream breaks a rule behind these messages.
        var isViolated = false
    }

    /// The plain reader.
    static func read(_ bytes: ArraySlice<UInt8>) -> Reading {
        var reading = Reading()
        var rest = bytes
        while rest.count >= 5 {
            let head = Array(rest.prefix(5))
            let count = Int(WireFrame.number(head[1...]))
            guard head[0] == 0, count <= maximumMessageBytes else {
                reading.isViolated = true
                return reading
            }
            guard rest.count >= 5 + count else { return reading }
            reading.messages.append(Array(rest.dropFirst(5).prefix(count)))
            rest = rest.dropFirst(5 + count)
        }
        return reading
    }

    /// See `FuzzTarget`.
    public func run(_ input: [UInt8]) throws(PropertyBreach) -> Behaviour {
        guard let first = input.first else { return Behaviour(isAccepted: false) }
        let found = try Self.assemble(input.dropFirst(), piece: Int(first) + 1)
        try Self.compare(found, Self.read(input.dropFirst()))
        var trace = BehaviourTrace()
        for message in found.messages { trace.note("\(message.count.leadingZeroBitCount)") }
        if found.isViolated { trace.note("violation") }
        return Behaviour(isAccepted: !found.isViolated, trace)
    }

    static func compare(_ found: Reading, _ expected: Reading) throws(PropertyBreach) {
        try require(found == expected, "two readers find the same", "\(found) and \(expected)")
    }

    private static func assemble(
        _ bytes: ArraySlice<UInt8>, piece: Int
    ) throws(PropertyBreach) -> Reading {
        var reading = Reading()
        var assembly = MessageAssembly()
        var rest = bytes
        while !rest.isEmpty {
            // What stands around the range must not be read.
            let part = rest.prefix(piece)
            let received = [0, 0, 0, 0, 1] + part + [0, 0]
            var range = 5..<(5 + part.count)
            rest = rest.dropFirst(part.count)
            taking: while true {
                switch assembly.take(
                    from: received, &range, maximumMessageBytes: maximumMessageBytes)
                {
                case .message(let message): reading.messages.append(message)
                case .incomplete:
                    try require(range.isEmpty, "every byte is taken")
                    break taking
                case .violation:
                    reading.isViolated = true
                    return reading
                }
            }
            try require(
                assembly.bytes.count <= min(maximumMessageBytes, bytes.count),
                "no more is held than came")
        }
        return reading
    }
}

/// Header blocks of one connection, each behind its length as two bytes, big-endian.
public struct HeaderBlockTarget: FuzzTarget {
    /// See `FuzzTarget`.
    public let name = "hpack"
    /// See `FuzzTarget`.
    public let summary = """
        header blocks: comparing them with remembered ones gives what decoding each gives, and a \
        list beyond its bound is refused
        """
    static let maximumListBytes = 2_000

    /// A target for header blocks.
    public init() {}

    /// See `FuzzTarget`.
    public var tokens: [[UInt8]] {
        [
            [0x20], [0x3f, 0xe1, 0x1f], [0x3f, 0x45], [0x40, 1, 0x78, 1, 0x79], [0xbe], [0x83],
            [0x7e],
        ]
    }

    /// See `FuzzTarget`.
    public func seeds() -> [[UInt8]] {
        var encoder = HPACKEncoder(allocator: ByteBufferAllocator())
        let fields = WireFrame.requestFields
        let blocks = [fields, fields, fields + [("token", "t")], fields].map {
            WireFrame.block($0, &encoder)
        }
        let plain: [UInt8] = [0x00, 1, 0x61, 1, 0x62, 0x10, 1, 0x63, 0]
        return [Self.joined(blocks), Self.joined([plain, [0x82, 0x84], plain, [0x82, 0x84]])]
    }

    static func joined(_ blocks: [[UInt8]]) -> [UInt8] {
        blocks.flatMap { [UInt8($0.count >> 8 & 0xff), UInt8($0.count & 0xff)] + $0 }
    }

    static func split(_ input: [UInt8]) -> [[UInt8]] {
        var blocks: [[UInt8]] = []
        var rest = input[...]
        while rest.count >= 2 {
            let count = Int(WireFrame.number(rest.prefix(2)))
            blocks.append(Array(rest.dropFirst(2).prefix(count)))
            rest = rest.dropFirst(2 + count)
        }
        return blocks
    }

    /// See `FuzzTarget`.
    public func mutate(_ input: [UInt8], _ mutator: inout Mutator) -> [UInt8] {
        var blocks = Self.split(input)
        let others = Self.split(mutator.other())
        mutator.rearrange(&blocks, from: others) { block, mutator in
            block =
                mutator.once(in: 3)
                ? WireFrame.block(WireFrame.mutated(WireFrame.requestFields, &mutator))
                : mutator.damage(block)
        }
        return Self.joined(blocks.map { $0.prefixArray(8_000) }.prefix(32).map(\.self))
    }

    /// See `FuzzTarget`.
    public func run(_ input: [UInt8]) throws(PropertyBreach) -> Behaviour {
        var ours = HeaderDecoder<HPACKHeaders>(maximumHeaderListBytes: Self.maximumListBytes) {
            fields, _ in fields
        }
        return try Self.check(input) { block throws(HTTP2ConnectionError) in
            // In the middle of a larger buffer, as blocks are.
            return try ours.decode([0xff] + block + [0xff], 1..<(1 + block.count), opening: true)
        }
    }

    /// Holds a decoder against NIOHPACK's, used for every block.
    static func check(
        _ input: [UInt8],
        decode: ([UInt8]) throws(HTTP2ConnectionError) -> HPACKHeaders
    ) throws(PropertyBreach) -> Behaviour {
        var plain = HPACKDecoder(
            allocator: ByteBufferAllocator(), maxDynamicTableSize: 4_096,
            maxHeaderListSize: maximumListBytes)
        var trace = BehaviourTrace()
        for block in split(input) {
            var buffer = ByteBuffer(bytes: block)
            let expected = try? plain.decodeHeaders(from: &buffer)
            let found: HPACKHeaders
            do throws(HTTP2ConnectionError) {
                found = try decode(block)
            } catch {
                try require(expected == nil, "both decoders refuse the same", error.reason)
                trace.note(error.reason)
                return Behaviour(isAccepted: false, trace)
            }
            try require(
                expected.map(contents) == contents(found), "both decoders find the same fields",
                "\(found) and \(String(describing: expected))")
            let bytes = found.reduce(0) { $0 + $1.name.utf8.count + $1.value.utf8.count + 32 }
            try require(bytes <= maximumListBytes, "a header list is bounded", "\(bytes)")
            trace.note("block of \(found.count)")
        }
        return Behaviour(isAccepted: true, trace)
    }

    private static func contents(_ headers: HPACKHeaders) -> [String] {
        headers.map { "\($0.name): \($0.value) \($0.indexable)" }
    }
}
