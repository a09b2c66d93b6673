import NIOCore

@testable import HTTP2

/// Drives a client core the way its handler does, with frames made by hand.
final class ClientHarness {
    /// An event with its parts made comparable.
    enum Event: Equatable {
        case message(tag: UInt64, [UInt8])
        case finished(tag: UInt64, ClientCore.Outcome)
        case drained(tag: UInt64)
        case settled
        case draining
        case pingAnswered
        case failed(UInt32)
    }

    var core: ClientCore
    var events: [Event] = []
    private var preface = HTTP2Constant.preface.count

    init(limits: HTTP2Limits = HTTP2Limits(), handshake: Bool = true) {
        core = ClientCore(limits: limits)
        if handshake {
            _ = sentBytes()
            feed(TestFrame.settings())
            feed(TestFrame.settingsAck)
            _ = sent()
            events = []
        }
    }

    func feed(_ bytes: [UInt8]) {
        core.engine.receive(ByteBuffer(bytes: bytes), nowNanoseconds: 1)
        drainEvents()
    }

    func feed(_ frames: TestFrame...) {
        feed(frames.flatMap(\.bytes))
    }

    func drainEvents() {
        while true {
            switch core.nextEvent() {
            case .needsBytes: return
            case .message(_, let tag, let message): events.append(.message(tag: tag, message))
            case .finished(let tag, let outcome):
                events.append(.finished(tag: tag, outcome))
            case .drained(_, let tag): events.append(.drained(tag: tag))
            case .settled: events.append(.settled)
            case .draining: events.append(.draining)
            case .pingAnswered: events.append(.pingAnswered)
            case .failed(let error): events.append(.failed(error.code.rawValue))
            }
        }
    }

    func sent() -> [TestFrame] { TestFrame.parse(sentBytes()) }

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

    static let block = hpackBlock(requestFields)

    /// Starts a unary call.
    func unary(tag: UInt64, _ message: [UInt8] = [1]) {
        guard let id = core.engine.openStream(tag: tag) else { return }
        core.engine.sendMessage(id, head: Self.block, endStream: true) { $0.writeBytes(message) }
    }

    /// Starts a streaming call.
    func open(tag: UInt64) -> StreamID {
        guard let id = core.engine.openStream(tag: tag) else {
            preconditionFailure("out of streams")
        }
        core.engine.sendHeaders(id, Self.block, endStream: false)
        return id
    }

    var openStreams: Int { core.engine.streams.count }
    var canOpenStream: Bool { core.canOpenStream }

    func takeEvents() -> [Event] {
        defer { events = [] }
        return events
    }
}
