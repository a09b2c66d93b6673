import EtcdWire
import NIOCore
import NIOHPACK

@testable import HTTP2

/// A frame as bytes, made and read without the code under test.
struct TestFrame: Equatable, CustomStringConvertible {
    var type: UInt8
    var flags: UInt8 = 0
    var stream: UInt32 = 0
    var payload: [UInt8] = []

    var bytes: [UInt8] {
        let length = payload.count
        return [UInt8(length >> 16 & 0xff), UInt8(length >> 8 & 0xff), UInt8(length & 0xff)]
            + [type, flags] + bigEndian(stream) + payload
    }

    var description: String {
        let names = [
            "DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING",
            "GOAWAY", "WINDOW_UPDATE", "CONTINUATION",
        ]
        let name = Int(type) < names.count ? names[Int(type)] : "TYPE_\(type)"
        return "\(name) flags=\(flags) stream=\(stream) \(payload.prefix(40))(\(payload.count))"
    }

    static func parse(_ bytes: [UInt8]) -> [TestFrame] {
        var frames: [TestFrame] = []
        var rest = bytes[...]
        while rest.count >= 9 {
            let head = Array(rest.prefix(9))
            let length = Int(head[0]) << 16 | Int(head[1]) << 8 | Int(head[2])
            rest = rest.dropFirst(9)
            frames.append(
                TestFrame(
                    type: head[3], flags: head[4], stream: word(head[5..<9]),
                    payload: Array(rest.prefix(length))))
            precondition(rest.count >= length, "incomplete frame was sent")
            rest = rest.dropFirst(length)
        }
        precondition(rest.isEmpty, "incomplete frame header was sent")
        return frames
    }

    static func data(_ stream: UInt32, _ payload: [UInt8], end: Bool = false) -> TestFrame {
        TestFrame(type: 0, flags: end ? 1 : 0, stream: stream, payload: payload)
    }

    static func headers(
        _ stream: UInt32, _ block: [UInt8], end: Bool = false, endHeaders: Bool = true
    ) -> TestFrame {
        TestFrame(
            type: 1, flags: (end ? 1 : 0) | (endHeaders ? 4 : 0), stream: stream, payload: block)
    }

    static func continuation(_ stream: UInt32, _ block: [UInt8], end: Bool) -> TestFrame {
        TestFrame(type: 9, flags: end ? 4 : 0, stream: stream, payload: block)
    }

    static func reset(_ stream: UInt32, _ code: UInt32) -> TestFrame {
        TestFrame(type: 3, stream: stream, payload: bigEndian(code))
    }

    static func settings(_ values: [(UInt16, UInt32)] = []) -> TestFrame {
        TestFrame(
            type: 4,
            payload: values.flatMap { [UInt8($0.0 >> 8), UInt8($0.0 & 0xff)] + bigEndian($0.1) })
    }

    static let settingsAck = TestFrame(type: 4, flags: 1)

    static func ping(_ data: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8], ack: Bool = false) -> TestFrame {
        TestFrame(type: 6, flags: ack ? 1 : 0, payload: data)
    }

    static func goAway(_ last: UInt32, _ code: UInt32 = 0) -> TestFrame {
        TestFrame(type: 7, payload: bigEndian(last) + bigEndian(code))
    }

    static func windowUpdate(_ stream: UInt32, _ increment: UInt32) -> TestFrame {
        TestFrame(type: 8, stream: stream, payload: bigEndian(increment))
    }

    /// The code of RST_STREAM, or of GOAWAY.
    var errorCode: UInt32? {
        switch type {
        case 3 where payload.count == 4: word(payload[0..<4])
        case 7 where payload.count >= 8: word(payload[4..<8])
        default: nil
        }
    }
}

func bigEndian(_ value: UInt32) -> [UInt8] {
    [
        UInt8(value >> 24), UInt8(value >> 16 & 0xff), UInt8(value >> 8 & 0xff),
        UInt8(value & 0xff),
    ]
}

func word(_ bytes: ArraySlice<UInt8>) -> UInt32 {
    bytes.reduce(0) { $0 << 8 | UInt32($1) }
}

/// A message with gRPC's five-byte prefix.
func grpcMessage(_ message: [UInt8], flag: UInt8 = 0) -> [UInt8] {
    [flag] + bigEndian(UInt32(message.count)) + message
}

/// A header block by NIOHPACK's encoder.
func hpackBlock(_ fields: [(String, String)]) -> [UInt8] {
    var encoder = HPACKEncoder(allocator: ByteBufferAllocator())
    var buffer = ByteBuffer()
    do {
        try encoder.encode(headers: HPACKHeaders(fields), to: &buffer)
    } catch {
        preconditionFailure("\(error)")
    }
    return Array(buffer.readableBytesView)
}

/// Decodes a header block with a decoder of its own.
func hpackFields(_ block: [UInt8]) -> [String: String] {
    var decoder = HPACKDecoder(allocator: ByteBufferAllocator())
    var buffer = ByteBuffer(bytes: block)
    do {
        let fields = try decoder.decodeHeaders(from: &buffer)
        return Dictionary(fields.map { ($0.name, $0.value) }) { first, _ in first }
    } catch {
        preconditionFailure("\(error)")
    }
}

/// The head of an ordinary gRPC request.
let requestFields: [(String, String)] = [
    (":method", "POST"), (":scheme", "http"), (":path", "/etcdserverpb.KV/Put"),
    (":authority", "localhost"), ("content-type", "application/grpc"), ("te", "trailers"),
]

/// The fields with some replaced or added, and those named "-name" removed.
func requestFields(_ changes: [(String, String)]) -> [(String, String)] {
    var fields = requestFields
    for (name, value) in changes {
        if name.hasPrefix("-") {
            fields.removeAll { $0.0 == name.dropFirst() }
        } else if let place = fields.firstIndex(where: { $0.0 == name }) {
            fields[place].1 = value
        } else {
            fields.append((name, value))
        }
    }
    return fields
}

/// Drives a server core the way its handler does, with frames made by hand.
final class ServerHarness {
    /// An event with its parts made comparable.
    enum Event: Equatable {
        case request(UInt32, path: String, isEnd: Bool)
        case message(UInt32, tag: UInt64, [UInt8], isLast: Bool)
        case ended(UInt32, tag: UInt64)
        case cancelled(UInt32, tag: UInt64)
        case drained(UInt32, tag: UInt64)
        case failed(UInt32)
    }

    var core: ServerCore
    var events: [Event] = []
    var heads: [RequestHead] = []
    var nowNanoseconds: UInt64 = 1
    /// Called after each event, as a service is.
    var react: ((ServerHarness, Event) -> Void)?

    init(limits: HTTP2Limits = HTTP2Limits(), handshake: Bool = true) {
        core = ServerCore(limits: limits)
        if handshake {
            _ = sent()
            feed(HTTP2Constant.preface)
            feed(TestFrame.settings())
            _ = sent()
        }
    }

    func feed(_ bytes: [UInt8]) {
        core.engine.receive(ByteBuffer(bytes: bytes), nowNanoseconds: nowNanoseconds)
        drainEvents()
    }

    func feed(_ frames: TestFrame...) {
        feed(frames.flatMap(\.bytes))
    }

    func drainEvents() {
        while true {
            let event: Event
            switch core.nextEvent() {
            case .needsBytes: return
            case .request(let id, let head, let isEnd):
                heads.append(head)
                core.setTag(id, UInt64(id.rawValue) + 1_000)
                event = .request(id.rawValue, path: head.path, isEnd: isEnd)
            case .message(let id, let tag, let message, let isLast):
                event = .message(id.rawValue, tag: tag, message, isLast: isLast)
            case .ended(let id, let tag): event = .ended(id.rawValue, tag: tag)
            case .cancelled(let id, let tag): event = .cancelled(id.rawValue, tag: tag)
            case .drained(let id, let tag): event = .drained(id.rawValue, tag: tag)
            case .failed(let error): event = .failed(error.code.rawValue)
            }
            events.append(event)
            react?(self, event)
        }
    }

    /// Everything gathered for the socket since the last call, after pumping as a flush does.
    func sent() -> [TestFrame] {
        TestFrame.parse(sentBytes())
    }

    func sentBytes() -> [UInt8] {
        var bytes: [UInt8] = []
        while true {
            core.engine.pump()
            let buffer = core.engine.takeOutbound()
            guard buffer.readableBytes > 0 else { return bytes }
            bytes += Array(buffer.readableBytesView)
            core.engine.recycleOutbound(buffer)
        }
    }

    /// Starts a request and keeps it open.
    func open(_ stream: UInt32, fields: [(String, String)] = requestFields, end: Bool = false) {
        feed(TestFrame.headers(stream, hpackBlock(fields), end: end))
    }

    var openStreams: Int { core.engine.streams.count }
    var unsentBytes: Int { core.engine.unsentBytes }
    var assemblyBytes: Int { core.engine.assemblyBytes }
    var gatheredBytes: Int { core.engine.outbound.readableBytes }
    var heldBytes: Int { core.engine.reader.heldByteCount }
    var isShutDown: Bool { core.engine.isShutDown }

    @discardableResult
    func send(_ stream: UInt32, _ message: [UInt8]) -> Bool {
        core.sendMessage(StreamID(stream), message)
    }

    func takeEvents() -> [Event] {
        defer { events = [] }
        return events
    }
}
