import EtcdWire
import HTTP2
import NIOCore
import NIOHPACK
import TestSupport

/// What a server sends to our HTTP/2 client, which has four calls under way.
public struct HTTP2ClientTarget: FuzzTarget {
    /// See `FuzzTarget`.
    public let name = "http2-client"
    /// See `FuzzTarget`.
    public let summary = """
        HTTP/2, HPACK and gRPC framing of a client: frames sent are well formed, each call ends at \
        most once and holds a stream until then, and pieces of any size mean the same
        """

    /// A target for the client's half.
    public init() {}

    /// See `FuzzTarget`.
    public var tokens: [[UInt8]] {
        [WireFrame.settings(), .acknowledgement, .ping, .windowUpdate(0, 1)].map(\.bytes)
            + [[0x88], [0x3f, 0xe1, 0x1f], [0x20]]
    }

    static let answerFields = [(":status", "200"), ("content-type", "application/grpc")]

    /// See `FuzzTarget`.
    public func seeds() -> [[UInt8]] {
        var encoder = HPACKEncoder(allocator: ByteBufferAllocator())
        func block(_ fields: [(String, String)]) -> [UInt8] { WireFrame.block(fields, &encoder) }
        let message = WireFrame.message([10, 2, 8, 1])
        let ok = [("grpc-status", "0"), ("grpc-message", "")]
        let start: [WireFrame] = [.settings([(3, 100), (4, 30_000)]), .acknowledgement]
        let answers: [WireFrame] = [
            .headers(1, block(Self.answerFields)), .data(1, message),
            .headers(1, block(ok), end: true),
            .headers(3, block(Self.answerFields + ok), end: true),
            .headers(5, block(Self.answerFields)), .data(5, message + message), .ping,
        ]
        let refusals: [WireFrame] = [
            .headers(1, block([(":status", "503")]), end: true),
            .headers(3, block([(":status", "100")])), .headers(3, block(Self.answerFields)),
            .data(3, Array(message.dropLast())), .data(3, [1], end: true),
            WireFrame(type: 3, stream: 5, payload: WireFrame.word(7)),
            .headers(7, block(Self.answerFields)), .windowUpdate(7, 100),
            WireFrame(type: 7, payload: WireFrame.word(5) + WireFrame.word(0)),
        ]
        return [start + answers, start + refusals].map { $0.flatMap(\.bytes) }
    }

    /// See `FuzzTarget`.
    public func mutate(_ input: [UInt8], _ mutator: inout Mutator) -> [UInt8] {
        WireFrame.mutate(input[...], fields: Self.answerFields + [("grpc-status", "0")], &mutator)
    }

    /// See `FuzzTarget`.
    public func run(_ input: [UInt8]) throws(PropertyBreach) -> Behaviour {
        var random = Seeded(seed: stableHash(input))
        var whole = ClientDriver()
        try whole.run(input, piece: Int.max)
        var pieces = ClientDriver()
        try pieces.run(input, piece: 1 + Int(random.next() % 40))
        try requireSameMeaning(whole.order.meaning, pieces.order.meaning)
        return whole.behaviour
    }
}

/// Drives a client the way its handler does and holds it to its promises.
struct ClientDriver: ~Copyable {
    private var core: ClientCore
    private var sent = SentFrames(isServer: false)
    private var trace = BehaviourTrace()
    private(set) var order = ClientOrder()
    private var unsettled: [(StreamID, Int)] = []

    private static let head = WireFrame.block(WireFrame.requestFields)
    /// Calls under way when the first byte comes; half of them streams.
    static let callCount: UInt64 = 4

    init() {
        var limits = HTTP2Limits()
        limits.maximumMessageBytes = 5_000
        limits.maximumAssemblyBytes = 10_000
        limits.streamReceiveWindowBytes = 2_000
        limits.drainedBytes = 100
        core = ClientCore(limits: limits)
        for tag in 1...Self.callCount {
            guard let id = core.engine.openStream(tag: tag) else { continue }
            let isStream = tag > Self.callCount / 2
            if isStream { core.engine.sendHeaders(id, Self.head, endStream: false) }
            core.engine.sendMessage(id, head: Self.head, endStream: !isStream) { buffer in
                buffer.writeBytes([1, 2, 3])
            }
        }
    }

    var behaviour: Behaviour { Behaviour(isAccepted: order.failure == nil, trace) }

    mutating func run(_ input: [UInt8], piece: Int) throws(PropertyBreach) {
        try sent.takeAll(from: &core.engine)
        var position = 0
        while position < input.count {
            let end = min(input.count, position + min(piece, input.count))
            core.engine.receive(
                ByteBuffer(bytes: input[position..<end]), nowNanoseconds: UInt64(position + 1))
            try takeEvents()
            try sent.takeAll(from: &core.engine)
            try load(piece: end - position, received: end).check()
            position = end
        }
    }

    private func load(piece: Int, received: Int) -> ClientLoad {
        ClientLoad(
            heldBytes: core.engine.reader.heldByteCount - piece,
            assemblyBytes: core.engine.assemblyBytes,
            streams: order.failure == nil ? core.engine.streams.count : order.openCount,
            openCalls: order.openCount, sentBytes: sent.byteCount, receivedBytes: received)
    }

    private mutating func takeEvents() throws(PropertyBreach) {
        while true {
            let event = core.nextEvent()
            if case .needsBytes = event { return }
            trace.note(try order.take(event))
            if case .message(let id, let tag, let message) = event, tag % 2 == 0 {
                core.engine.consume(id, bytes: message.count + 5)
            }
        }
    }
}

/// What a client holds and has sent, beside what it may.
struct ClientLoad {
    /// Received bytes that are held, but for the last piece.
    var heldBytes: Int
    var assemblyBytes: Int
    var streams: Int
    var openCalls: Int
    var sentBytes: Int
    var receivedBytes: Int

    func check() throws(PropertyBreach) {
        try require(heldBytes <= 16_393, "at most one incomplete frame is held", "\(heldBytes)")
        try require(assemblyBytes <= 10_000, "incomplete messages are bounded")
        try require(
            streams == openCalls, "a call holds a stream until it ends",
            "\(streams) streams, \(openCalls) calls")
        // A little for each frame, and nothing else: the calls were sent before.
        try require(
            sentBytes <= 2_000 + 40 * (receivedBytes / 9 + 1), "output is bounded by input",
            "\(sentBytes)")
    }
}

/// What a call's owner is promised: messages, then one end.
struct ClientOrder {
    private var finished: Set<UInt64> = []
    /// Why the connection failed, once it has.
    private(set) var failure: UInt32?
    /// What happened but for what depends on when bytes came.
    private(set) var meaning: [String] = []

    /// Calls that have not ended.
    var openCount: Int { Int(ClientDriver.callCount) - finished.count }

    /// Takes the next event; returns its kind.
    mutating func take(_ event: borrowing ClientCore.Event) throws(PropertyBreach) -> String {
        try require(failure == nil, "a failed connection has no events")
        switch event {
        case .needsBytes: return "needsBytes"
        case .message(_, let tag, let message):
            try check(tag)
            meaning.append("message \(tag) \(stableHash(message))")
            return "message"
        case .finished(let tag, let outcome):
            try check(tag)
            finished.insert(tag)
            meaning.append("finished \(tag) \(outcome)")
            switch outcome {
            case .answered(let status, _): return "answered \(status.code)"
            case .failed(let error): return "failed call \(error.reach) \(error.status.code)"
            }
        case .drained(_, let tag):
            try check(tag)
            return "drained"
        case .settled: return "settled"
        case .draining:
            meaning.append("draining")
            return "draining"
        case .pingAnswered: return "pingAnswered"
        case .failed(let error):
            failure = error.code.rawValue
            meaning.append("failed \(error.reason)")
            return "failed \(error.reason)"
        }
    }

    private func check(_ tag: UInt64) throws(PropertyBreach) {
        try require(
            (1...ClientDriver.callCount).contains(tag), "events carry a call's tag", "\(tag)")
        try require(!finished.contains(tag), "nothing follows a call's end", "\(tag)")
    }
}
