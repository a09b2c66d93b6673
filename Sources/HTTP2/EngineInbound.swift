import NIOCore

/// What a frame does, by type (RFC 9113 section 6) and by the state of its stream (section 5.1).
extension Engine {
    mutating func handle(_ frame: FrameReader.Frame) throws(HTTP2ConnectionError) -> Event? {
        if headerBlock != nil, frame.header.type != FrameType.continuation {
            throw HTTP2ConnectionError(.protocolError, "a header block was interrupted")
        }
        if !hasReceivedSettings, frame.header.type != FrameType.settings {
            throw HTTP2ConnectionError(.protocolError, "the first frame is not SETTINGS")
        }
        switch frame.header.type {
        case FrameType.data: return try handleData(frame)
        case FrameType.headers: return try handleHeaders(frame)
        case FrameType.priority: return try handlePriority(frame)
        case FrameType.resetStream: return try handleResetStream(frame)
        case FrameType.settings: return try handleSettings(frame)
        case FrameType.pushPromise:
            throw HTTP2ConnectionError(.protocolError, "PUSH_PROMISE is not allowed")
        case FrameType.ping: return try handlePing(frame)
        case FrameType.goAway: return try handleGoAway(frame)
        case FrameType.windowUpdate: return try handleWindowUpdate(frame)
        case FrameType.continuation: return try handleContinuation(frame)
        default:
            // Section 4.1: unknown types are ignored.
            try countControlFrame()
            return nil
        }
    }

    private func byte(_ index: Int) -> UInt8 { reader.bytes[index] }

    private func word(_ index: Int) -> UInt32 { reader.word(at: index) }

    private func checkNotZero(_ header: FrameHeader) throws(HTTP2ConnectionError) {
        guard header.streamID != 0 else {
            throw HTTP2ConnectionError(.protocolError, "stream frame on stream 0")
        }
    }

    private func checkZero(_ header: FrameHeader) throws(HTTP2ConnectionError) {
        guard header.streamID == 0 else {
            throw HTTP2ConnectionError(.protocolError, "connection frame on a stream")
        }
    }

    private func checkLength(
        _ header: FrameHeader, _ length: Int
    ) throws(HTTP2ConnectionError) {
        guard header.length == length else {
            throw HTTP2ConnectionError(.frameSizeError, "frame of the wrong size")
        }
    }

    /// The payload without padding (sections 6.1 and 6.2).
    @inline(__always)  // Called, it is given a copy of the engine: 700 bytes for each frame.
    private func unpadded(
        _ frame: FrameReader.Frame
    ) throws(HTTP2ConnectionError) -> Range<Int> {
        guard frame.header.has(FrameFlags.padded) else { return frame.payload }
        guard let first = frame.payload.first else {
            throw HTTP2ConnectionError(.frameSizeError, "padded frame without a pad length")
        }
        let end = frame.payload.upperBound - Int(byte(first))
        guard end >= first + 1 else {
            throw HTTP2ConnectionError(.protocolError, "padding longer than the frame")
        }
        return (first + 1)..<end
    }

    // MARK: DATA

    private mutating func handleData(
        _ frame: FrameReader.Frame
    ) throws(HTTP2ConnectionError) -> Event? {
        let header = frame.header
        try checkNotZero(header)
        guard receiveWindow.receive(header.length) else {
            throw HTTP2ConnectionError(.flowControlError, "more DATA than the connection's window")
        }
        if let increment = receiveWindow.replenish() {
            outbound.writeWindowUpdateFrame(0, increment: increment)
        }
        let range = try unpadded(frame)
        guard let slot = streams.find(header.streamID) else {
            return try handleDataOfNoStream(header)
        }
        guard !streams[slot].isRemoteClosed else { return try streamError(slot, .streamClosed) }
        guard role == .server || streams[slot].hasReceivedHeaders else {
            return try streamError(slot, .protocolError)
        }
        guard streams[slot].receiveWindow.receive(header.length) else {
            return try streamError(slot, .flowControlError)
        }
        let endStream = header.has(FrameFlags.endStream)
        if streams[slot].promisedBodyBytes >= 0 {
            let promised = streams[slot].promisedBodyBytes - range.count
            // Section 8.1.1: the body must be as long as content-length says.
            guard promised >= 0, !endStream || promised == 0 else {
                return try streamError(slot, .protocolError)
            }
            streams[slot].promisedBodyBytes = promised
        }
        if range.isEmpty, !endStream { try countControlFrame() }
        body = BodyCursor(streamID: header.streamID, range: range, endStream: endStream)
        return nil
    }

    private mutating func handleDataOfNoStream(
        _ header: FrameHeader
    ) throws(HTTP2ConnectionError) -> Event? {
        guard !isIdle(header.streamID) else {
            throw HTTP2ConnectionError(.protocolError, "DATA on an idle stream")
        }
        try countControlFrame()
        if !recentlyReset.contains(header.streamID) {
            writeReset(header.streamID, .streamClosed)
        }
        return nil
    }

    /// Goes on with a DATA frame. The owner may have ended the stream between two messages of it.
    mutating func continueBody() -> Event? {
        guard var cursor = body else { return nil }
        guard let slot = streams.find(cursor.streamID) else {
            body = nil
            return nil
        }
        if cursor.range.isEmpty { return finishBody(slot, cursor) }
        if isAnswered(slot) {
            cursor.range = cursor.range.upperBound..<cursor.range.upperBound
            return finishBody(slot, cursor)
        }
        let id = StreamID(cursor.streamID)
        let tag = streams[slot].tag
        let heldBefore = streams[slot].assembly.bytes.count
        let taken = streams[slot].assembly.take(
            from: reader.bytes, &cursor.range,
            maximumMessageBytes: limits.maximumMessageBytes)
        assemblyBytes += streams[slot].assembly.bytes.count - heldBefore
        switch taken {
        case .message(let message):
            if role == .client {
                streams[slot].unconsumedBytes += message.count + HTTP2Constant.messagePrefixBytes
            }
            let isLast = cursor.endStream && cursor.range.isEmpty
            if isLast {
                body = nil
                closeRemote(slot)
            } else if cursor.range.isEmpty {
                // The frame ends with its message, as nearly all do.
                body = nil
                replenishStream(slot)
            } else {
                body = cursor
            }
            return .message(id, tag: tag, message, isLast: isLast)
        case .incomplete:
            guard assemblyBytes <= limits.maximumAssemblyBytes else {
                body = nil
                return .violated(id, tag: tag, .tooManyAssemblyBytes)
            }
            return finishBody(slot, cursor)
        case .violation(let violation):
            body = nil
            return .violated(id, tag: tag, violation)
        }
    }

    /// All bytes of a DATA frame are taken.
    private mutating func finishBody(_ slot: Int, _ cursor: BodyCursor) -> Event? {
        body = nil
        let id = StreamID(cursor.streamID)
        let tag = streams[slot].tag
        if cursor.endStream {
            if isAnswered(slot) {
                closeRemote(slot)
                return nil
            }
            guard streams[slot].assembly.isEmpty else {
                return .violated(id, tag: tag, .truncated)
            }
            closeRemote(slot)
            return .ended(id, tag: tag)
        }
        replenishStream(slot)
        return nil
    }

    /// Grants the peer more on a stream, except for what the owner has not consumed.
    private mutating func replenishStream(_ slot: Int) {
        guard !streams[slot].isRemoteClosed else { return }
        let held = streams[slot].unconsumedBytes
        if let increment = streams[slot].receiveWindow.replenish(held: held) {
            outbound.writeWindowUpdateFrame(streams[slot].id, increment: increment)
        }
    }

    /// The owner is done with bytes of messages that it was given (client only).
    package mutating func consume(_ id: StreamID, bytes: Int) {
        guard let slot = streams.find(id.rawValue) else { return }
        precondition(bytes <= streams[slot].unconsumedBytes, "consumed more than was given")
        streams[slot].unconsumedBytes -= bytes
        replenishStream(slot)
    }

    // MARK: HEADERS and CONTINUATION

    private mutating func handleHeaders(
        _ frame: FrameReader.Frame
    ) throws(HTTP2ConnectionError) -> Event? {
        try checkNotZero(frame.header)
        var range = try unpadded(frame)
        if frame.header.has(FrameFlags.priority) {
            // Section 5.3.2: the priority fields are deprecated; they are passed over.
            guard range.count >= 5 else {
                throw HTTP2ConnectionError(.frameSizeError, "HEADERS without its priority fields")
            }
            range = (range.lowerBound + 5)..<range.upperBound
        }
        let endStream = frame.header.has(FrameFlags.endStream)
        if frame.header.has(FrameFlags.endHeaders) {
            return try finishHeaders(
                frame.header.streamID, endStream: endStream, reader.bytes, range)
        }
        headerBlock = PartialHeaderBlock(
            streamID: frame.header.streamID, endStream: endStream,
            bytes: Array(reader.bytes[range]))
        return nil
    }

    private mutating func handleContinuation(
        _ frame: FrameReader.Frame
    ) throws(HTTP2ConnectionError) -> Event? {
        guard var block = headerBlock, block.streamID == frame.header.streamID else {
            throw HTTP2ConnectionError(.protocolError, "CONTINUATION without HEADERS")
        }
        headerBlock = nil
        block.continuations += 1
        guard block.continuations <= limits.maximumContinuations else {
            throw HTTP2ConnectionError(.enhanceYourCalm, "too many CONTINUATION frames")
        }
        let range = frame.payload
        // A compressed block is never larger than its list and a few bytes a field; twice the
        // limit is more than any list within it needs.
        guard block.bytes.count + range.count <= limits.maximumHeaderListBytes * 2 else {
            throw HTTP2ConnectionError(.enhanceYourCalm, "header block too large")
        }
        block.bytes.append(contentsOf: reader.bytes[range])
        guard frame.header.has(FrameFlags.endHeaders) else {
            headerBlock = block
            return nil
        }
        return try finishHeaders(
            block.streamID, endStream: block.endStream, block.bytes, block.bytes.indices)
    }

    private mutating func finishHeaders(
        _ id: UInt32, endStream: Bool, _ bytes: [UInt8], _ range: Range<Int>
    ) throws(HTTP2ConnectionError) -> Event? {
        let slot = streams.find(id)
        let opening =
            switch role {
            case .server: slot == nil
            case .client: slot.map { !streams[$0].hasReceivedHeaders } ?? false
            }
        // Decoded in any case: the compression state belongs to the connection.
        let parsed = try decoder.decode(bytes, range, opening: opening)
        guard let slot else {
            return try openPeerStream(id, parsed, endStream: endStream)
        }
        guard !streams[slot].isRemoteClosed else { return try streamError(slot, .streamClosed) }
        guard opening || endStream else { return try streamError(slot, .protocolError) }
        streams[slot].hasReceivedHeaders = true
        let tag = streams[slot].tag
        let isSilent = isAnswered(slot)
        if endStream {
            guard streams[slot].promisedBodyBytes <= 0 else {
                return try streamError(slot, .protocolError)
            }
            guard isSilent || streams[slot].assembly.isEmpty else {
                return .violated(StreamID(id), tag: tag, .truncated)
            }
            closeRemote(slot)
        }
        return isSilent
            ? nil : .headers(StreamID(id), tag: tag, parsed, opening: opening, isEnd: endStream)
    }

    private mutating func openPeerStream(
        _ id: UInt32, _ parsed: Parsed, endStream: Bool
    ) throws(HTTP2ConnectionError) -> Event? {
        guard isIdle(id) else {
            guard recentlyReset.contains(id) || role == .client else {
                throw HTTP2ConnectionError(.streamClosed, "HEADERS on a closed stream")
            }
            try countControlFrame()
            return nil
        }
        guard role == .server, id % 2 == 1 else {
            throw HTTP2ConnectionError(.protocolError, "HEADERS on a stream of the wrong side")
        }
        highestPeerStreamID = id
        if case .final = shutdown {
            try countControlFrame()
            writeReset(id, .refusedStream)
            return nil
        }
        lastPeerStreamID = id
        guard streams.count < limits.maximumConcurrentStreams else {
            try countControlFrame()
            writeReset(id, .refusedStream)
            return nil
        }
        let slot = streams.insert(
            id, sendWindow: SendWindow(peerInitialWindowBytes),
            receiveWindow: ReceiveWindow(limits.streamReceiveWindowBytes))
        streams[slot].isRemoteClosed = endStream
        streams[slot].hasReceivedHeaders = true
        return .opened(StreamID(id), parsed, isEnd: endStream)
    }

    // MARK: Control frames

    private mutating func handlePriority(
        _ frame: FrameReader.Frame
    ) throws(HTTP2ConnectionError) -> Event? {
        try checkNotZero(frame.header)
        try countControlFrame()
        guard frame.header.length == 5 else {
            guard let slot = streams.find(frame.header.streamID) else {
                throw HTTP2ConnectionError(.frameSizeError, "PRIORITY of the wrong size")
            }
            return try streamError(slot, .frameSizeError)
        }
        return nil
    }

    private mutating func handleResetStream(
        _ frame: FrameReader.Frame
    ) throws(HTTP2ConnectionError) -> Event? {
        let id = frame.header.streamID
        try checkNotZero(frame.header)
        try checkLength(frame.header, 4)
        guard !isIdle(id) else {
            throw HTTP2ConnectionError(.protocolError, "RST_STREAM on an idle stream")
        }
        try countStreamReset()
        guard let slot = streams.find(id) else { return nil }
        let tag = streams[slot].tag
        let isSilent = isAnswered(slot)
        removeStream(slot)
        let code = HTTP2ErrorCode(rawValue: word(frame.payload.lowerBound))
        return isSilent ? nil : .reset(StreamID(id), tag: tag, code, isOurs: false)
    }

    private mutating func handleSettings(
        _ frame: FrameReader.Frame
    ) throws(HTTP2ConnectionError) -> Event? {
        try checkZero(frame.header)
        try countControlFrame()
        if frame.header.has(FrameFlags.acknowledge) {
            guard hasReceivedSettings else {
                throw HTTP2ConnectionError(.protocolError, "the first frame is not SETTINGS")
            }
            try checkLength(frame.header, 0)
            return nil
        }
        guard frame.header.length % 6 == 0 else {
            throw HTTP2ConnectionError(.frameSizeError, "SETTINGS of the wrong size")
        }
        for start in stride(from: frame.payload.lowerBound, to: frame.payload.upperBound, by: 6) {
            let identifier = UInt16(byte(start)) << 8 | UInt16(byte(start + 1))
            try apply(setting: identifier, Int(word(start + 2)))
        }
        hasReceivedSettings = true
        outbound.writeSettingsAcknowledgement()
        return .settled
    }

    private mutating func apply(
        setting identifier: UInt16, _ value: Int
    ) throws(HTTP2ConnectionError) {
        switch identifier {
        case SettingIdentifier.headerTableSize:
            if value < peerTableBytes {
                owesTableSizeUpdate = true
                hasLostPeerTable = true
            }
            peerTableBytes = value
        case SettingIdentifier.enablePush:
            guard value == 0 || (value == 1 && role == .server) else {
                throw HTTP2ConnectionError(.protocolError, "invalid SETTINGS_ENABLE_PUSH")
            }
        case SettingIdentifier.maximumConcurrentStreams:
            peerMaximumStreams = value
        case SettingIdentifier.initialWindowSize:
            guard value <= HTTP2Constant.maximumWindowBytes else {
                throw HTTP2ConnectionError(.flowControlError, "initial window too large")
            }
            try adjustStreamWindows(by: value - peerInitialWindowBytes)
            peerInitialWindowBytes = value
        case SettingIdentifier.maximumFrameSize:
            let allowed = HTTP2Constant.defaultFrameBytes...HTTP2Constant.maximumFrameBytes
            guard allowed.contains(value) else {
                throw HTTP2ConnectionError(.protocolError, "invalid SETTINGS_MAX_FRAME_SIZE")
            }
            peerFrameBytes = min(value, Self.largestFrameSent)
        default:
            break
        }
    }

    private mutating func adjustStreamWindows(by delta: Int) throws(HTTP2ConnectionError) {
        for slot in streams.slotIndices where streams[slot].id != 0 {
            guard streams[slot].sendWindow.adjust(by: delta) else {
                throw HTTP2ConnectionError(.flowControlError, "stream window overflow")
            }
            enqueue(slot)
        }
    }

    private mutating func handlePing(
        _ frame: FrameReader.Frame
    ) throws(HTTP2ConnectionError) -> Event? {
        try checkZero(frame.header)
        try checkLength(frame.header, 8)
        try countControlFrame()
        let start = frame.payload.lowerBound
        let data = UInt64(word(start)) << 32 | UInt64(word(start + 4))
        guard frame.header.has(FrameFlags.acknowledge) else {
            outbound.writePingFrame(data, acknowledge: true)
            return nil
        }
        if case .announced = shutdown, data == Self.shutdownPing {
            shutdown = .final
            outbound.writeGoAwayFrame(lastStreamID: lastPeerStreamID, .noError, reason: "")
            return nil
        }
        return .pingAnswered(data)
    }

    private mutating func handleGoAway(
        _ frame: FrameReader.Frame
    ) throws(HTTP2ConnectionError) -> Event? {
        try checkZero(frame.header)
        try countControlFrame()
        guard frame.header.length >= 8 else {
            throw HTTP2ConnectionError(.frameSizeError, "GOAWAY of the wrong size")
        }
        let start = frame.payload.lowerBound
        return .goAway(
            lastStreamID: StreamID(word(start) & HTTP2Constant.maximumStreamID),
            HTTP2ErrorCode(rawValue: word(start + 4)))
    }

    private mutating func handleWindowUpdate(
        _ frame: FrameReader.Frame
    ) throws(HTTP2ConnectionError) -> Event? {
        let id = frame.header.streamID
        try checkLength(frame.header, 4)
        try countControlFrame()
        let increment = Int(word(frame.payload.lowerBound) & HTTP2Constant.maximumStreamID)
        if id == 0 {
            guard increment > 0 else {
                throw HTTP2ConnectionError(.protocolError, "WINDOW_UPDATE of zero")
            }
            guard sendWindow.adjust(by: increment) else {
                throw HTTP2ConnectionError(.flowControlError, "connection window overflow")
            }
            return nil
        }
        guard let slot = streams.find(id) else {
            guard !isIdle(id) else {
                throw HTTP2ConnectionError(.protocolError, "WINDOW_UPDATE on an idle stream")
            }
            return nil
        }
        guard increment > 0 else { return try streamError(slot, .protocolError) }
        guard streams[slot].sendWindow.adjust(by: increment) else {
            return try streamError(slot, .flowControlError)
        }
        enqueue(slot)
        return nil
    }
}
