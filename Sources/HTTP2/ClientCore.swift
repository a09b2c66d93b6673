import EtcdWire
import NIOCore

/// gRPC on the client's side of an `Engine`: response heads are judged, and each call ends exactly
/// once.
package struct ClientCore: ~Copyable {
    /// What the owner has to react to.
    package enum Event {
        /// Everything received is used up.
        case needsBytes
        /// A message of an answer.
        case message(StreamID, tag: UInt64, [UInt8])
        /// A call is over; nothing more comes for its tag.
        case finished(tag: UInt64, Outcome)
        /// A long queue of unsent bytes has become short.
        case drained(StreamID, tag: UInt64)
        /// More streams may be allowed than before.
        case settled
        /// The server takes no new calls on this connection.
        case draining
        /// The server answered a PING.
        case pingAnswered
        /// The connection is over: write what is outbound and close.
        case failed(HTTP2ConnectionError)
    }

    /// How a call ended.
    package enum Outcome: Equatable {
        /// The server's status and extra trailers.
        case answered(GRPCStatus, trailers: [ResponseField])
        /// No complete answer came.
        case failed(GRPCCallError)
    }

    package var engine: Engine<ResponseVerdict>
    /// Calls that ended behind the event that was handed out last.
    private var finished = CircularBuffer<(tag: UInt64, outcome: Outcome)>()

    package init(limits: HTTP2Limits) {
        engine = Engine(role: .client, limits: limits, parse: ResponseVerdict.parse)
        engine.start()
    }

    /// True if the server lets us open one more stream now.
    package var canOpenStream: Bool { engine.streams.count < engine.peerMaximumStreams }

    /// The next event.
    package mutating func nextEvent() -> Event {
        while true {
            if let (tag, outcome) = finished.popFirst() { return .finished(tag: tag, outcome) }
            switch engine.nextEvent() {
            case .needsBytes: return .needsBytes
            case .opened: preconditionFailure("a server opened a stream")
            case .headers(let id, let tag, let verdict, let opening, let isEnd):
                handleHeaders(id, tag, verdict, opening: opening, isEnd: isEnd)
            case .message(let id, let tag, let message, let isLast):
                if isLast { finish(id, tag, .failed(Self.noTrailers)) }
                return .message(id, tag: tag, message)
            case .ended(let id, let tag): finish(id, tag, .failed(Self.noTrailers))
            case .violated(let id, let tag, let violation):
                engine.resetStream(id, .cancel)
                finish(
                    id, tag,
                    .failed(GRPCCallError(reach: .outcomeUnknown, status: violation.status)))
            case .reset(_, let tag, let code, _):
                return .finished(tag: tag, .failed(GRPCCallError(reset: code)))
            case .drained(let id, let tag): return .drained(id, tag: tag)
            case .goAway(let last, _):
                handleGoAway(last)
                return .draining
            case .settled: return .settled
            case .pingAnswered: return .pingAnswered
            case .failed(let error): return .failed(error)
            }
        }
    }

    private static var noTrailers: GRPCCallError {
        GRPCCallError(
            reach: .outcomeUnknown,
            status: GRPCStatus(.internal, "the answer ended without a status"))
    }

    private mutating func handleHeaders(
        _ id: StreamID, _ tag: UInt64, _ verdict: ResponseVerdict, opening: Bool, isEnd: Bool
    ) {
        switch verdict {
        case .head:
            if isEnd { finish(id, tag, .failed(Self.noTrailers)) }
        case .interim:
            guard !isEnd, let slot = engine.streams.find(id.rawValue) else {
                return finish(id, tag, .failed(GRPCCallError(reset: .protocolError)))
            }
            engine.streams[slot].hasReceivedHeaders = false
        case .end(let status, let trailers):
            finish(id, tag, .answered(status, trailers: trailers))
        case .malformed:
            engine.resetStream(id, .protocolError)
            finish(id, tag, .failed(GRPCCallError(reset: .protocolError)))
        }
    }

    /// Ends a call. If its stream is still open, the server no longer listens or has broken off:
    /// what we might still send is of no use.
    private mutating func finish(_ id: StreamID, _ tag: UInt64, _ outcome: Outcome) {
        engine.resetStream(id, .noError)
        finished.append((tag, outcome))
    }

    /// Streams above the last one that the server will serve were not processed (RFC 9113
    /// section 6.8).
    private mutating func handleGoAway(_ last: StreamID) {
        for slot in engine.streams.slotIndices.reversed() {
            guard slot < engine.streams.slotIndices.upperBound else { continue }
            let stream = (id: engine.streams[slot].id, tag: engine.streams[slot].tag)
            guard stream.id > last.rawValue else { continue }
            engine.removeStream(slot)
            finished.append((stream.tag, .failed(GRPCCallError(reset: .refusedStream))))
        }
    }
}
