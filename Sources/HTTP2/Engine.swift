import NIOCore
import NIOHPACK

/// HTTP/2 of one connection, either end, as a value: bytes in, events and bytes out.
///
/// The owner calls `receive`, then `nextEvent` until it returns `.needsBytes`, reacts to each event
/// with the `send…` methods, and at the end of the batch writes what `outbound` has gathered.
/// `Parsed` is what the owner makes of a decoded header block.
package struct Engine<Parsed>: ~Copyable {
    /// Which end of the connection this is.
    enum Role {
        case server
        case client
    }

    /// What the received bytes meant.
    enum Event {
        /// Everything received is used up.
        case needsBytes
        /// The peer opened a stream (server only).
        case opened(StreamID, Parsed, isEnd: Bool)
        /// A header block on an open stream; `opening` for the first one of a response.
        case headers(StreamID, tag: UInt64, Parsed, opening: Bool, isEnd: Bool)
        /// A complete gRPC message; `isLast` when nothing can follow it.
        case message(StreamID, tag: UInt64, [UInt8], isLast: Bool)
        /// The peer is done, and its last message was handed out before.
        case ended(StreamID, tag: UInt64)
        /// The body is not what we take; the stream is still open and the owner must end it.
        case violated(StreamID, tag: UInt64, MessageViolation)
        /// The stream is gone.
        case reset(StreamID, tag: UInt64, HTTP2ErrorCode, isOurs: Bool)
        /// A long queue of unsent bytes has become short.
        case drained(StreamID, tag: UInt64)
        /// The peer will open no more streams and serve none above the last one.
        case goAway(lastStreamID: StreamID, HTTP2ErrorCode)
        /// The peer changed its settings.
        case settled
        /// The peer answered our PING.
        case pingAnswered(UInt64)
        /// The connection is over: write what is outbound and close.
        case failed(HTTP2ConnectionError)
    }

    /// A graceful end comes in two steps (RFC 9113 section 6.8), so that no request which is
    /// already under way is lost.
    enum Shutdown {
        case none
        /// GOAWAY with the largest id is sent; requests in flight still count.
        case announced
        /// The last stream is named; newer ones are refused.
        case final
    }

    let role: Role
    let limits: HTTP2Limits
    package var reader: FrameReader
    var decoder: HeaderDecoder<Parsed>
    package var streams = StreamTable()
    var recentlyReset = RecentlyReset()
    /// Frames to write; the owner takes it with `takeOutbound`.
    var outbound = ByteBuffer()

    /// The newest stream of the peer that was looked at; what GOAWAY names.
    var lastPeerStreamID: UInt32 = 0
    /// The newest stream of the peer, refused ones included; above it all are idle.
    var highestPeerStreamID: UInt32 = 0
    var nextLocalStreamID: UInt32 = 1
    var hasReceivedSettings = false
    package var failure: HTTP2ConnectionError?
    var shutdown = Shutdown.none

    var sendWindow = SendWindow(HTTP2Constant.defaultWindowBytes)
    var receiveWindow: ReceiveWindow
    var peerInitialWindowBytes = HTTP2Constant.defaultWindowBytes
    var peerFrameBytes = HTTP2Constant.defaultFrameBytes
    var peerMaximumStreams = Int.max
    var peerTableBytes = HTTP2Constant.defaultHeaderTableBytes
    var owesTableSizeUpdate = false
    /// Whether the peer made its table of our fields smaller; then we use none for good.
    var hasLostPeerTable = false

    var headerBlock: PartialHeaderBlock?
    var body: BodyCursor?
    /// Bytes of incomplete messages, all streams together.
    package var assemblyBytes = 0
    /// Streams with unsent bytes, in turn.
    var ready = CircularBuffer<UInt32>()
    var drained = CircularBuffer<UInt32>()
    /// Bytes that wait in the streams' queues, all streams together.
    package var unsentBytes = 0
    /// False while the socket takes no more: DATA waits in the queues.
    package var isWritable = true

    var controlGuard: FloodGuard
    var resetGuard: FloodGuard

    /// A header block whose CONTINUATION frames are still to come.
    struct PartialHeaderBlock {
        var streamID: UInt32
        var endStream: Bool
        var bytes: [UInt8]
        var continuations = 0
    }

    /// The part of a DATA frame that is not looked at yet.
    struct BodyCursor {
        var streamID: UInt32
        var range: Range<Int>
        var endStream: Bool
    }

    /// The payload of the PING that tells when the first GOAWAY has arrived.
    static var shutdownPing: UInt64 { 0x6d61_7274_6c65_7400 }
    /// Frames are not made larger than this, so that streams take turns.
    static var largestFrameSent: Int { 65_536 }
    /// An idle connection keeps no larger buffer than this.
    static var keptOutboundBytes: Int { 32_768 }

    init(
        role: Role, limits: HTTP2Limits,
        parse: @escaping (HPACKHeaders, _ opening: Bool) -> Parsed
    ) {
        self.role = role
        self.limits = limits
        reader = FrameReader(expectsPreface: role == .server)
        decoder = HeaderDecoder(
            maximumHeaderListBytes: limits.maximumHeaderListBytes, parse: parse)
        receiveWindow = ReceiveWindow(
            max(limits.connectionReceiveWindowBytes, HTTP2Constant.defaultWindowBytes))
        controlGuard = FloodGuard(
            burst: limits.controlFrameBurst, perSecond: limits.controlFramesPerSecond)
        resetGuard = FloodGuard(
            burst: limits.streamResetBurst, perSecond: limits.streamResetsPerSecond)
    }

    /// Writes our half of the connection preface. Call it once, first.
    mutating func start() {
        var settings: [(identifier: UInt16, value: Int)] = [
            (SettingIdentifier.initialWindowSize, limits.streamReceiveWindowBytes),
            (SettingIdentifier.maximumHeaderListSize, limits.maximumHeaderListBytes),
        ]
        switch role {
        case .server:
            settings.append(
                (SettingIdentifier.maximumConcurrentStreams, limits.maximumConcurrentStreams))
        case .client:
            outbound.writeBytes(HTTP2Constant.preface)
            settings.append((SettingIdentifier.enablePush, 0))
        }
        outbound.writeSettingsFrame(settings)
        let increment = limits.connectionReceiveWindowBytes - HTTP2Constant.defaultWindowBytes
        if increment > 0 { outbound.writeWindowUpdateFrame(0, increment: increment) }
    }

    /// Takes bytes from the peer, after all events of earlier ones have been taken. The time only
    /// fills the flood limits.
    package mutating func receive(_ bytes: ByteBuffer, nowNanoseconds: UInt64) {
        guard failure == nil else { return }
        precondition(body == nil, "received before the events were taken")
        controlGuard.refill(nowNanoseconds: nowNanoseconds)
        resetGuard.refill(nowNanoseconds: nowNanoseconds)
        reader.append(bytes)
    }

    /// What the received bytes mean, one event at a time.
    mutating func nextEvent() -> Event {
        guard failure == nil else { return .needsBytes }
        do throws(HTTP2ConnectionError) {
            while true {
                if body != nil, let event = continueBody() { return event }
                guard let frame = try reader.next() else { break }
                if let event = try handle(frame) { return event }
            }
        } catch {
            fail(error)
            return .failed(error)
        }
        reader.releaseIfEmpty()
        pump()
        while let id = drained.popFirst() {
            if let slot = streams.find(id), !isAnswered(slot) {
                return .drained(StreamID(id), tag: streams[slot].tag)
            }
        }
        return .needsBytes
    }

    /// Ends the connection because of the peer, or of us.
    mutating func fail(_ error: HTTP2ConnectionError) {
        guard failure == nil else { return }
        failure = error
        reader.discardAll()
        body = nil
        headerBlock = nil
        outbound.writeGoAwayFrame(
            lastStreamID: lastPeerStreamID, error.code, reason: error.reason)
    }

    /// Starts a graceful end: no new streams from the peer, open ones go on.
    package mutating func beginShutdown() {
        guard case .none = shutdown, failure == nil else { return }
        shutdown = .announced
        outbound.writeGoAwayFrame(
            lastStreamID: HTTP2Constant.maximumStreamID, .noError, reason: "")
        outbound.writePingFrame(Self.shutdownPing, acknowledge: false)
    }

    /// True when a graceful end is complete and the connection can be closed.
    var isShutDown: Bool {
        if case .final = shutdown { streams.count == 0 } else { false }
    }

    // MARK: Streams

    /// Ends a stream with an error code; unsent bytes are dropped.
    package mutating func resetStream(_ id: StreamID, _ code: HTTP2ErrorCode) {
        guard failure == nil, let slot = streams.find(id.rawValue) else { return }
        writeReset(id.rawValue, code)
        removeStream(slot)
    }

    mutating func writeReset(_ id: UInt32, _ code: HTTP2ErrorCode) {
        outbound.writeResetStreamFrame(id, code)
        recentlyReset.insert(id)
    }

    /// Ends a stream on which the peer broke a rule. Counted like a reset by the peer itself, which
    /// it can provoke this way ("MadeYouReset", CVE-2025-8671).
    mutating func streamError(
        _ slot: Int, _ code: HTTP2ErrorCode
    ) throws(HTTP2ConnectionError) -> Event? {
        try countStreamReset()
        let id = streams[slot].id
        let tag = streams[slot].tag
        let isSilent = isAnswered(slot)
        writeReset(id, code)
        removeStream(slot)
        return isSilent ? nil : .reset(StreamID(id), tag: tag, code, isOurs: true)
    }

    /// True when a server has finished the answer and only its bytes are still on their way: the
    /// owner hears nothing more of the stream.
    func isAnswered(_ slot: Int) -> Bool {
        role == .server && streams[slot].unsentEnd != nil
    }

    mutating func removeStream(_ slot: Int) {
        unsentBytes -= streams[slot].unsentBytes
        assemblyBytes -= streams[slot].assembly.bytes.count
        streams.remove(slot)
    }

    mutating func closeRemote(_ slot: Int) {
        streams[slot].isRemoteClosed = true
        if streams[slot].isLocalClosed { removeStream(slot) }
    }

    /// Our END_STREAM is written. A server that answers before the request is complete tells the
    /// client to stop sending (RFC 9113 section 8.1).
    mutating func closeLocal(_ slot: Int) {
        streams[slot].isLocalClosed = true
        if streams[slot].isRemoteClosed {
            removeStream(slot)
        } else if role == .server {
            writeReset(streams[slot].id, .noError)
            removeStream(slot)
        }
    }

    /// True for streams that nobody has opened yet.
    func isIdle(_ id: UInt32) -> Bool {
        let isPeers = (id % 2 == 1) == (role == .server)
        switch (role, isPeers) {
        case (.server, true): return id > highestPeerStreamID
        case (.client, false): return id >= nextLocalStreamID
        case (.server, false), (.client, true): return true
        }
    }

    /// Counts a stream that the peer opened in vain.
    mutating func countStreamReset() throws(HTTP2ConnectionError) {
        guard resetGuard.take() else {
            throw HTTP2ConnectionError(.enhanceYourCalm, "too many streams reset")
        }
    }

    /// Counts a frame that costs the peer little and us something.
    mutating func countControlFrame() throws(HTTP2ConnectionError) {
        guard controlGuard.take() else {
            throw HTTP2ConnectionError(.enhanceYourCalm, "too many control frames")
        }
    }
}
