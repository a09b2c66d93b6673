import EtcdWire
import HTTP2
import NIOCore
import NIOHPACK
import TestSupport

/// What a client sends to the HTTP/2 server, from the connection preface on.
public struct HTTP2ServerTarget: FuzzTarget {
    /// See `FuzzTarget`.
    public let name = "http2-server"
    /// See `FuzzTarget`.
    public let summary = """
        HTTP/2, HPACK and gRPC framing of a server: frames sent are well formed, events in order, \
        memory and output bounded, a failed connection silent, and pieces of any size mean the same
        """

    /// A target for the server's half.
    public init() {}

    /// See `FuzzTarget`.
    public var tokens: [[UInt8]] {
        [WireFrame.settings(), .acknowledgement, .ping, .windowUpdate(0, 1)].map(\.bytes)
            + [[0x88], [0x3f, 0xe1, 0x1f], [0x20], [0x40, 1, 0x78, 1, 0x79], [0xbe]]
    }

    /// See `FuzzTarget`.
    public func seeds() -> [[UInt8]] {
        var encoder = HPACKEncoder(allocator: ByteBufferAllocator())
        func head(_ more: [(String, String)] = []) -> [UInt8] {
            WireFrame.block(WireFrame.requestFields + more, &encoder)
        }
        func conversation(_ frames: [WireFrame]) -> [UInt8] {
            WireFrame.preface + ([.settings()] + frames).flatMap(\.bytes)
        }
        let message = WireFrame.message([10, 1, 97, 18, 1, 98])
        let unary: [WireFrame] = [
            .headers(1, head()), .data(1, message, end: true), .headers(3, head()),
            .data(3, message, end: true), .ping, .acknowledgement,
        ]
        let long = WireFrame.message([UInt8](repeating: 7, count: 3_000))
        let streaming: [WireFrame] = [
            .windowUpdate(0, 1 << 20), .headers(1, head([("grpc-timeout", "5S")])),
            .data(1, Array(long.prefix(900))), .data(1, Array(long.dropFirst(900))),
            .data(1, message + message), .windowUpdate(1, 500), .data(1, [], end: true),
        ]
        let split = head([("token", "abc"), ("hasleader", "true")])
        let broken: [WireFrame] = [
            .headers(1, Array(split.prefix(5)), endHeaders: false),
            WireFrame(type: 9, flags: 4, stream: 1, payload: Array(split.dropFirst(5))),
            WireFrame(type: 2, stream: 1, payload: [0, 0, 0, 0, 16]),
            WireFrame(type: 3, stream: 1, payload: WireFrame.word(8)),
            .settings([(4, 100), (5, 20_000), (1, 0), (3, 10)]), .headers(3, head()),
            .data(3, WireFrame.message([UInt8](repeating: 1, count: 400)), end: true),
            .settings([(4, 65_535)]), .windowUpdate(3, 1_000),
        ]
        return [conversation(unary), conversation(streaming), conversation(broken)]
    }

    /// See `FuzzTarget`.
    public func mutate(_ input: [UInt8], _ mutator: inout Mutator) -> [UInt8] {
        guard !mutator.once(in: 30), input.starts(with: WireFrame.preface) else {
            return mutator.damage(input)
        }
        return WireFrame.preface
            + WireFrame.mutate(
                input.dropFirst(WireFrame.preface.count), fields: WireFrame.requestFields, &mutator)
    }

    /// See `FuzzTarget`.
    public func run(_ input: [UInt8]) throws(PropertyBreach) -> Behaviour {
        var random = Seeded(seed: stableHash(input))
        let isTight = random.next() % 2 == 0
        if random.next() % 2 == 0 {
            // Weather: the socket is full at times, the owner gives up streams and shuts down.
            var driver = ServerDriver(isTight: isTight, weather: random)
            try driver.run(input, piece: 1 << Int(random.next() % 12))
            return driver.behaviour
        }
        var whole = ServerDriver(isTight: isTight)
        try whole.run(input, piece: Int.max)
        var pieces = ServerDriver(isTight: isTight)
        try pieces.run(input, piece: 1 + Int(random.next() % 40))
        try requireSameMeaning(whole.order.meaning, pieces.order.meaning)
        return whole.behaviour
    }
}

/// Fails unless the same bytes in other pieces led to the same.
func requireSameMeaning(_ whole: [String], _ pieces: [String]) throws(PropertyBreach) {
    try require(whole == pieces, "pieces of any size mean the same", "\(whole) and \(pieces)")
}

/// Drives a server the way its handler does and holds it to its promises.
struct ServerDriver: ~Copyable {
    private var core: ServerCore
    private let limits: HTTP2Limits
    private var weather: Seeded?
    private var sent = SentFrames(isServer: true)
    private var trace = BehaviourTrace()
    private(set) var order = ServerOrder()
    /// Bytes of answers given so far.
    private var answerBytes = 0
    /// What the peer may have granted on the connection so far, at most.
    private var grantedBytes = 65_535
    private var frameCount = 1

    init(isTight: Bool, weather: Seeded? = nil) {
        var limits = HTTP2Limits()
        limits.maximumMessageBytes = 5_000
        limits.maximumAssemblyBytes = 10_000
        limits.outboundBatchBytes = 4_000
        limits.drainedBytes = 100
        if isTight {
            limits.maximumConcurrentStreams = 3
            limits.streamReceiveWindowBytes = 2_000
            limits.controlFrameBurst = 12
            limits.streamResetBurst = 3
            limits.controlFramesPerSecond = 0
            limits.streamResetsPerSecond = 0
        }
        self.limits = limits
        self.weather = weather
        core = ServerCore(limits: limits)
    }

    var behaviour: Behaviour { Behaviour(isAccepted: order.failure == nil, trace) }

    mutating func run(_ input: [UInt8], piece: Int) throws(PropertyBreach) {
        try sent.takeAll(from: &core.engine)
        countGrants(input)
        var position = 0
        while position < input.count {
            let end = min(input.count, position + min(piece, input.count))
            if weather != nil { blow() }
            core.engine.receive(
                ByteBuffer(bytes: input[position..<end]), nowNanoseconds: UInt64(position + 1))
            try takeEvents()
            try sent.takeAll(from: &core.engine)
            try load(piece: end - position).check(limits)
            position = end
        }
        core.engine.isWritable = true
        try takeEvents()
        try sent.takeAll(from: &core.engine)
    }

    /// The most that all WINDOW_UPDATE frames of an input can grant.
    private mutating func countGrants(_ input: [UInt8]) {
        let frames = WireFrame.split(input.dropFirst(WireFrame.preface.count)).frames
        frameCount += frames.count
        for frame in frames where frame.type == 8 && frame.payload.count == 4 {
            grantedBytes += Int(WireFrame.number(frame.payload) & 0x7fff_ffff)
        }
    }

    private mutating func blow() {
        switch weather!.next() % 8 {
        case 0: core.engine.isWritable = false
        case 1, 2: core.engine.isWritable = true
        case 3 where weather!.next() % 8 == 0: core.engine.beginShutdown()
        case 4:
            let id = UInt32(weather!.next() % 8)
            if order.isOpen(id) {
                core.engine.resetStream(StreamID(id), .cancel)
                order.forget(id)
            }
        default: break
        }
    }

    private mutating func takeEvents() throws(PropertyBreach) {
        while true {
            let event = core.nextEvent()
            if case .needsBytes = event { return }
            let kind = try order.take(event)
            trace.note(kind)
            react(to: event)
        }
    }

    /// Answers as a service might; what it does follows from the stream's number alone.
    private mutating func react(to event: borrowing ServerCore.Event) {
        switch event {
        case .request(let id, _, let isEnd):
            core.setTag(id, ServerOrder.tag(id))
            if id.rawValue % 16 == 7 { finish(id, GRPCStatus(.keyNotFound)) }
            if isEnd { finish(id, .ok) }
        case .message(let id, _, let message, let isLast):
            answerBytes += 2 * message.count
            if id.rawValue % 8 == 5 {
                core.beginMessage(id, byteCount: 2 * message.count)
                core.engine.continueMessage(id, message)
                // Given up halfway: the peer must see a reset.
                if isLast, message.count % 4 == 3 { return finish(id, GRPCStatus(.keyNotFound)) }
                core.engine.continueMessage(id, message)
            } else {
                core.sendMessage(id) { buffer in
                    buffer.writeBytes(message)
                    buffer.writeBytes(message)
                }
            }
            if isLast { finish(id, .ok) }
        case .ended(let id, _): finish(id, .ok)
        case .needsBytes, .cancelled, .drained, .failed: break
        }
    }

    private mutating func finish(_ id: StreamID, _ status: GRPCStatus) {
        core.finish(id, status, trailers: [("martlet-detail", "x")])
        order.answered(id.rawValue)
    }

    private func load(piece: Int) -> ServerLoad {
        ServerLoad(
            assemblyBytes: core.engine.assemblyBytes,
            heldBytes: core.engine.reader.heldByteCount - piece,
            openStreams: core.engine.streams.count, unsentBytes: core.engine.unsentBytes,
            dataBytes: sent.dataBytes, sentBytes: sent.byteCount, answerBytes: answerBytes,
            grantedBytes: grantedBytes, frameCount: frameCount)
    }
}

/// What a connection holds and has sent, beside what it may.
struct ServerLoad {
    var assemblyBytes: Int
    /// Received bytes that are held, but for the last piece.
    var heldBytes: Int
    var openStreams: Int
    var unsentBytes: Int
    var dataBytes: Int
    var sentBytes: Int
    /// Bytes of answers that the owner gave.
    var answerBytes: Int
    /// DATA bytes that the peer granted, at most.
    var grantedBytes: Int
    /// Frames that came, at most.
    var frameCount: Int

    /// The longest answer to one frame that nobody asked the owner about: a refusal whose text
    /// quotes the request, percent-encoded.
    private static let maximumReplyBytes = 5_000

    func check(_ limits: HTTP2Limits) throws(PropertyBreach) {
        try require(
            assemblyBytes <= limits.maximumAssemblyBytes,
            "incomplete messages stay within their bound", "\(assemblyBytes)")
        try require(heldBytes <= 16_393, "at most one incomplete frame is held", "\(heldBytes)")
        try require(
            openStreams <= limits.maximumConcurrentStreams,
            "open streams stay within their bound", "\(openStreams)")
        try require(
            unsentBytes <= answerBytes + 500 * frameCount, "only answers wait to be sent",
            "\(unsentBytes)")
        try require(dataBytes <= grantedBytes, "no more DATA is sent than was granted")
        try require(
            sentBytes <= 1_024 + 2 * answerBytes + Self.maximumReplyBytes * frameCount,
            "output is bounded by input", "\(sentBytes) bytes for \(frameCount) frames")
    }
}

/// The order that `GRPCService` is promised: a request, its messages, its end; then nothing.
struct ServerOrder {
    private var open: Set<UInt32> = []
    private var ended: Set<UInt32> = []
    private var finished: Set<UInt32> = []
    /// Why the connection failed, once it has.
    private(set) var failure: UInt32?
    /// What happened but for what depends on when bytes came.
    private(set) var meaning: [String] = []

    static func tag(_ id: StreamID) -> UInt64 { UInt64(id.rawValue) + 1_000 }

    func isOpen(_ id: UInt32) -> Bool { open.contains(id) }

    /// The owner gave the stream up.
    mutating func forget(_ id: UInt32) { open.remove(id) }

    /// The owner has answered: it must hear no more of the stream.
    mutating func answered(_ id: UInt32) { finished.insert(id) }

    /// Takes the next event; returns its kind.
    mutating func take(_ event: borrowing ServerCore.Event) throws(PropertyBreach) -> String {
        try require(failure == nil, "a failed connection has no events")
        switch event {
        case .needsBytes: return "needsBytes"
        case .request(let id, let head, let isEnd):
            try require(open.insert(id.rawValue).inserted, "a stream is opened once", "\(id)")
            if isEnd { ended.insert(id.rawValue) }
            meaning.append("request \(id) \(head.path) \(isEnd)")
            return isEnd ? "request whole" : "request"
        case .message(let id, let tag, let message, let isLast):
            try check(id, tag)
            if isLast { ended.insert(id.rawValue) }
            meaning.append("message \(id) \(stableHash(message)) \(isLast)")
            return isLast ? "last message" : "message"
        case .ended(let id, let tag):
            try check(id, tag)
            ended.insert(id.rawValue)
            meaning.append("ended \(id)")
            return "ended"
        case .cancelled(let id, _):
            try require(
                open.remove(id.rawValue) != nil && !finished.contains(id.rawValue),
                "an unanswered stream is cancelled, once", "\(id)")
            meaning.append("cancelled \(id)")
            return "cancelled"
        case .drained(let id, _):
            try require(
                open.contains(id.rawValue) && !finished.contains(id.rawValue),
                "an unanswered stream drains", "\(id)")
            return "drained"
        case .failed(let error):
            failure = error.code.rawValue
            meaning.append("failed \(error.reason)")
            return "failed \(error.reason)"
        }
    }

    private func check(_ id: StreamID, _ tag: UInt64) throws(PropertyBreach) {
        try require(
            open.contains(id.rawValue) && !ended.contains(id.rawValue),
            "messages come between a request and its end", "\(id)")
        try require(!finished.contains(id.rawValue), "an answered stream is silent", "\(id)")
        try require(tag == Self.tag(id), "events carry their stream's tag", "\(tag) on \(id)")
    }
}
