import EtcdWire
import NIOCore

/// gRPC on the server's side of an `Engine`: request heads are judged, what we don't serve is
/// answered here, and the owner sees requests and messages only.
package struct ServerCore: ~Copyable {
    /// What the owner has to react to.
    package enum Event {
        /// Everything received is used up.
        case needsBytes
        /// A request; give it a tag with `setTag`.
        case request(StreamID, RequestHead, isEnd: Bool)
        /// A message of a request; `isLast` when nothing can follow it.
        case message(StreamID, tag: UInt64, [UInt8], isLast: Bool)
        /// The client is done, and its last message was handed out before.
        case ended(StreamID, tag: UInt64)
        /// The request is over before it was answered.
        case cancelled(StreamID, tag: UInt64)
        /// A long queue of unsent bytes has become short.
        case drained(StreamID, tag: UInt64)
        /// The connection is over: write what is outbound and close.
        case failed(HTTP2ConnectionError)
    }

    package var engine: Engine<RequestVerdict>
    /// Whether the peer's dynamic table holds the fields of a plain answer.
    private var hasToldPeer = false

    package init(limits: HTTP2Limits) {
        engine = Engine(role: .server, limits: limits, parse: RequestVerdict.parse)
        engine.start()
    }

    /// Sets the number that later events of the stream carry.
    package mutating func setTag(_ id: StreamID, _ tag: UInt64) {
        guard let slot = engine.streams.find(id.rawValue) else { return }
        engine.streams[slot].tag = tag
    }

    /// True while the owner still owes the stream an answer.
    func isUnanswered(_ id: StreamID) -> Bool {
        engine.streams.find(id.rawValue).map { !engine.isAnswered($0) } ?? false
    }

    /// The next event, after answering what needs no owner.
    package mutating func nextEvent() -> Event {
        while true {
            switch engine.nextEvent() {
            case .needsBytes: return .needsBytes
            case .opened(let id, let verdict, let isEnd):
                if let event = open(id, verdict, isEnd: isEnd) { return event }
            case .headers(let id, let tag, let verdict, _, let isEnd):
                if let event = close(id, tag, verdict, isEnd: isEnd) { return event }
            case .message(let id, let tag, let message, let isLast):
                return .message(id, tag: tag, message, isLast: isLast)
            case .ended(let id, let tag): return .ended(id, tag: tag)
            case .violated(let id, let tag, let violation):
                abort(id, violation.status)
                return .cancelled(id, tag: tag)
            case .reset(let id, let tag, _, _): return .cancelled(id, tag: tag)
            case .drained(let id, let tag): return .drained(id, tag: tag)
            case .goAway, .settled, .pingAnswered: break
            case .failed(let error): return .failed(error)
            }
        }
    }

    private mutating func open(
        _ id: StreamID, _ verdict: RequestVerdict, isEnd: Bool
    ) -> Event? {
        switch verdict {
        case .accepted(let head, let promisedBodyBytes):
            if promisedBodyBytes >= 0 {
                guard !isEnd || promisedBodyBytes == 0 else { return refuse(id) }
                if let slot = engine.streams.find(id.rawValue) {
                    engine.streams[slot].promisedBodyBytes = promisedBodyBytes
                }
            }
            return .request(id, head, isEnd: isEnd)
        case .refused(let httpStatus, let status, let extra):
            engine.sendEnd(
                id,
                ResponseBlocks.trailersOnly(status, extra: extra, httpStatus: httpStatus))
            return nil
        case .malformed, .trailers:
            return refuse(id)
        }
    }

    /// Ends a stream whose client broke a rule that gRPC has a status for. Unsent messages are
    /// dropped, and the stream is reset then: a cut message cannot be followed by a status.
    private mutating func abort(_ id: StreamID, _ status: GRPCStatus) {
        guard let slot = engine.streams.find(id.rawValue) else { return }
        if engine.streams[slot].unsent == nil, engine.streams[slot].owedBytes == 0 {
            finish(id, status, trailers: [])
        } else {
            engine.resetStream(id, .internalError)
        }
    }

    /// Resets a stream whose request is no request. Nobody has heard of it.
    private mutating func refuse(_ id: StreamID) -> Event? {
        engine.resetStream(id, .protocolError)
        do throws(HTTP2ConnectionError) {
            try engine.countStreamReset()
            return nil
        } catch {
            engine.fail(error)
            return .failed(error)
        }
    }

    /// A header block after the body.
    private mutating func close(
        _ id: StreamID, _ tag: UInt64, _ verdict: RequestVerdict, isEnd: Bool
    ) -> Event? {
        guard case .trailers = verdict, isEnd else {
            engine.resetStream(id, .protocolError)
            return .cancelled(id, tag: tag)
        }
        return .ended(id, tag: tag)
    }

    // MARK: Answers

    /// Sends one message of an answer; false when the stream is gone.
    @discardableResult
    package mutating func sendMessage(
        _ id: StreamID, _ write: (inout ByteBuffer) -> Void
    ) -> Bool {
        engine.sendMessage(id, head: head, write)
    }

    /// The same with the message's bytes at hand.
    @discardableResult
    package mutating func sendMessage(_ id: StreamID, _ message: [UInt8]) -> Bool {
        engine.sendMessage(id, head: head, message: message)
    }

    /// Begins a message that comes piece by piece; false when the stream is gone.
    @discardableResult
    package mutating func beginMessage(_ id: StreamID, byteCount: Int) -> Bool {
        engine.beginMessage(id, head: head, byteCount: byteCount)
    }

    /// Answers with one message and status OK.
    package mutating func sendUnary(_ id: StreamID, _ message: [UInt8]) {
        let words: (head: [UInt8], end: [UInt8]) =
            if engine.hasLostPeerTable {
                (ResponseBlocks.head, ResponseBlocks.trailersOK)
            } else if hasToldPeer {
                ResponseBlocks.toldAnswer
            } else {
                ResponseBlocks.tellingAnswer
            }
        if engine.sendAtOnce(id, head: words.head, message: message, end: words.end) {
            hasToldPeer = true
        } else {
            sendMessage(id) { $0.writeBytes(message) }
            // It may wait in the queue, and the peer's table change meanwhile.
            engine.sendEnd(id, ResponseBlocks.trailersOK)
        }
    }

    private var head: [UInt8] {
        hasToldPeer && !engine.hasLostPeerTable
            ? ResponseBlocks.toldAnswer.head : ResponseBlocks.head
    }

    /// The requests that the owner has not answered, with their tags.
    var unanswered: [(stream: StreamID, tag: UInt64)] {
        engine.streams.slotIndices
            .filter { engine.streams[$0].id != 0 && !engine.isAnswered($0) }
            .map { (StreamID(engine.streams[$0].id), engine.streams[$0].tag) }
    }

    /// What a stream is reset with that can't end with its status any more.
    private static func resetCode(_ code: GRPCStatusCode) -> HTTP2ErrorCode {
        if code == .resourceExhausted { return .enhanceYourCalm }
        // Clients whose deadline has passed show it as that.
        if code == .deadlineExceeded { return .cancel }
        return .internalError
    }

    /// Ends an answer. In the middle of a message the stream is reset instead: a cut message can't
    /// be followed by a status.
    package mutating func finish(
        _ id: StreamID, _ status: GRPCStatus, trailers: [(name: String, value: String)]
    ) {
        guard let slot = engine.streams.find(id.rawValue) else { return }
        guard engine.streams[slot].owedBytes == 0 else {
            precondition(status.code != .ok, "a message ended before its end")
            return engine.resetStream(id, Self.resetCode(status.code))
        }
        engine.sendEnd(
            id,
            engine.streams[slot].hasSentHeaders
                ? ResponseBlocks.trailers(status, extra: trailers)
                : ResponseBlocks.trailersOnly(status, extra: trailers))
    }
}

extension MessageViolation {
    /// What the sender of the message is told; the texts are grpc-go's.
    var status: GRPCStatus {
        switch self {
        case .compressed:
            GRPCStatus(
                .internal, "grpc: compressed flag set with identity or empty encoding")
        case .invalidFlag:
            GRPCStatus(.internal, "grpc: received unexpected payload format")
        case .tooLarge(let bytes, let limit):
            GRPCStatus(
                .resourceExhausted,
                "grpc: received message larger than max (\(bytes) vs. \(limit))")
        case .tooManyAssemblyBytes:
            GRPCStatus(
                .resourceExhausted, "grpc: too many incomplete messages on one connection")
        case .truncated:
            GRPCStatus(.internal, "unexpected EOF")
        }
    }
}
