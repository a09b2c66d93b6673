import NIOCore

/// What the owner sends. Every method is silent on a stream that is gone: the peer may have reset
/// it while the answer was being made.
extension Engine {
    /// Opens a stream (client only), or nil when ids have run out.
    package mutating func openStream(tag: UInt64) -> StreamID? {
        precondition(role == .client, "a server opens no streams")
        guard nextLocalStreamID <= HTTP2Constant.maximumStreamID else { return nil }
        let id = nextLocalStreamID
        nextLocalStreamID += 2
        let slot = streams.insert(
            id, sendWindow: SendWindow(peerInitialWindowBytes),
            receiveWindow: ReceiveWindow(limits.streamReceiveWindowBytes))
        streams[slot].tag = tag
        return StreamID(id)
    }

    /// Sends a stream's first header block.
    package mutating func sendHeaders(_ id: StreamID, _ block: [UInt8], endStream: Bool) {
        guard let slot = openSlot(id) else { return }
        sendHeaders(slot, block, endStream: endStream)
    }

    /// Sends one gRPC message, which `write` appends to the buffer. `head` is sent before the
    /// stream's first message. Returns false when the stream is gone.
    @discardableResult
    package mutating func sendMessage(
        _ id: StreamID, head: [UInt8], endStream: Bool = false, _ write: (inout ByteBuffer) -> Void
    ) -> Bool {
        guard let slot = openSlot(id) else { return false }
        precondition(streams[slot].owedBytes == 0, "a message inside another")
        if !streams[slot].hasSentHeaders { sendHeaders(slot, head, endStream: false) }
        if streams[slot].unsent == nil, isWritable,
            outbound.readableBytes < limits.outboundBatchBytes
        {
            if sendAtOnce(slot, endStream: endStream, write) { return true }
        } else {
            appendUnsent(slot) { Self.appendMessage(to: &$0, write) }
        }
        if endStream { streams[slot].unsentEnd = [] }
        awaitDrain(slot)
        enqueue(slot)
        return true
    }

    /// Sends one gRPC message whose bytes are at hand; later ones of a stream mostly in one piece.
    @discardableResult
    package mutating func sendMessage(_ id: StreamID, head: [UInt8], message: [UInt8]) -> Bool {
        guard let slot = openSlot(id) else { return false }
        let dataBytes = HTTP2Constant.messagePrefixBytes + message.count
        guard streams[slot].hasSentHeaders, streams[slot].owedBytes == 0,
            fitsAtOnce(slot, dataBytes: dataBytes)
        else { return sendMessage(id, head: head) { $0.writeBytes(message) } }
        let number = streams[slot].id
        outbound.writeWithUnsafeMutableBytes(
            minimumWritableBytes: HTTP2Constant.frameHeaderBytes + dataBytes
        ) { bytes in
            var room = FrameRoom(bytes)
            room.write(message: message, streamID: number)
            return room.end
        }
        spend(slot, dataBytes)
        return true
    }

    /// Begins a gRPC message whose bytes come with `continueMessage`, piece by piece, so that a long
    /// one is never here as a whole. Returns false when the stream is gone.
    @discardableResult
    package mutating func beginMessage(_ id: StreamID, head: [UInt8], byteCount: Int) -> Bool {
        guard let slot = openSlot(id) else { return false }
        precondition(streams[slot].owedBytes == 0, "a message inside another")
        precondition(byteCount >= 0 && byteCount <= UInt32.max, "impossible message length")
        if !streams[slot].hasSentHeaders { sendHeaders(slot, head, endStream: false) }
        streams[slot].owedBytes = byteCount
        appendUnsent(slot) { buffer in
            buffer.writeInteger(UInt8(0))
            buffer.writeInteger(UInt32(truncatingIfNeeded: byteCount))
        }
        enqueue(slot)
        return true
    }

    /// Sends the next piece of a message that was begun. Returns false when the stream is gone.
    @discardableResult
    package mutating func continueMessage(_ id: StreamID, _ bytes: [UInt8]) -> Bool {
        guard let slot = openSlot(id) else { return false }
        precondition(bytes.count <= streams[slot].owedBytes, "a message longer than it was to be")
        streams[slot].owedBytes -= bytes.count
        appendUnsent(slot) { $0.writeBytes(bytes) }
        awaitDrain(slot)
        enqueue(slot)
        return true
    }

    /// Ends a stream with a header block, or with END_STREAM alone if the block is empty, after
    /// everything that is still unsent.
    package mutating func sendEnd(_ id: StreamID, _ block: [UInt8]) {
        guard let slot = openSlot(id) else { return }
        precondition(streams[slot].owedBytes == 0, "a stream ended within a message")
        if streams[slot].unsent != nil {
            streams[slot].unsentEnd = block
        } else {
            writeEnd(slot, block)
        }
    }

    /// Sends a whole answer: a header block, one message, a header block that ends the stream. False,
    /// and nothing is sent, if it can't leave as it is before anything else.
    mutating func sendAtOnce(
        _ id: StreamID, head: [UInt8], message: [UInt8], end: [UInt8]
    ) -> Bool {
        guard let slot = openSlot(id),
            fitsAtOnce(slot, head: head, message: message, end: end)
        else { return false }
        let number = streams[slot].id
        let dataBytes = HTTP2Constant.messagePrefixBytes + message.count
        let total = 3 * HTTP2Constant.frameHeaderBytes + head.count + dataBytes + end.count
        outbound.writeWithUnsafeMutableBytes(minimumWritableBytes: total) { bytes in
            var room = FrameRoom(bytes)
            room.write(
                FrameHeader(
                    length: head.count, type: FrameType.headers, flags: FrameFlags.endHeaders,
                    streamID: number))
            room.write(head)
            room.write(message: message, streamID: number)
            room.write(
                FrameHeader(
                    length: end.count, type: FrameType.headers,
                    flags: FrameFlags.endHeaders | FrameFlags.endStream, streamID: number))
            room.write(end)
            return room.end
        }
        streams[slot].hasSentHeaders = true
        spend(slot, dataBytes)
        closeLocal(slot)
        return true
    }

    /// Whether an answer needs neither a queue nor a second frame for one of its parts.
    @inline(__always)  // As `unpadded`.
    private func fitsAtOnce(
        _ slot: Int, head: [UInt8], message: [UInt8], end: [UInt8]
    ) -> Bool {
        !streams[slot].hasSentHeaders && !owesTableSizeUpdate
            && max(head.count, end.count) <= peerFrameBytes
            && fitsAtOnce(slot, dataBytes: HTTP2Constant.messagePrefixBytes + message.count)
    }

    /// Whether a message can leave as one frame now, before anything else.
    @inline(__always)  // As `unpadded`.
    private func fitsAtOnce(_ slot: Int, dataBytes: Int) -> Bool {
        streams[slot].unsent == nil && isWritable
            && outbound.readableBytes < limits.outboundBatchBytes
            && dataBytes <= streams[slot].sendWindow.available
            && dataBytes <= sendWindow.available && dataBytes <= peerFrameBytes
    }

    /// Takes the gathered frames. Hand the buffer back with `recycleOutbound` when it is written.
    package mutating func takeOutbound() -> ByteBuffer {
        var taken = ByteBuffer()
        swap(&taken, &outbound)
        return taken
    }

    /// Uses a written buffer again, if it is small. Clearing allocates only while somebody else
    /// still holds the bytes.
    package mutating func recycleOutbound(_ written: consuming ByteBuffer) {
        guard outbound.capacity == 0, written.capacity <= Self.keptOutboundBytes else { return }
        written.clear(minimumCapacity: written.capacity)
        outbound = written
    }

    /// Moves unsent bytes of the streams, one frame each in turn, to the outbound buffer as far as
    /// windows, socket and batch size allow.
    package mutating func pump() {
        while failure == nil, isWritable, sendWindow.available > 0,
            outbound.readableBytes < limits.outboundBatchBytes, let id = ready.popFirst()
        {
            guard let slot = streams.find(id) else { continue }
            streams[slot].isQueued = false
            sendUnsentFrame(slot)
        }
    }

    /// Puts a stream into the queue of those with something to send, unless its window is closed.
    mutating func enqueue(_ slot: Int) {
        guard !streams[slot].isQueued, streams[slot].unsent != nil,
            streams[slot].sendWindow.available > 0
        else { return }
        streams[slot].isQueued = true
        ready.append(streams[slot].id)
    }

    /// The slot of a stream on which we may still send.
    @inline(__always)  // As `unpadded`.
    private func openSlot(_ id: StreamID) -> Int? {
        guard failure == nil, let slot = streams.find(id.rawValue),
            !streams[slot].isLocalClosed, streams[slot].unsentEnd == nil
        else { return nil }
        return slot
    }

    private mutating func appendUnsent(_ slot: Int, _ write: (inout ByteBuffer) -> Void) {
        var unsent = streams[slot].unsent.take() ?? ByteBuffer()
        // Sent bytes leave the front; moving the rest must not cost more than sending it.
        if unsent.readerIndex > unsent.readableBytes { unsent.discardReadBytes() }
        let start = unsent.writerIndex
        write(&unsent)
        unsentBytes += unsent.writerIndex - start
        streams[slot].unsent = unsent.readableBytes > 0 ? unsent : nil
    }

    private mutating func awaitDrain(_ slot: Int) {
        if streams[slot].unsentBytes > limits.drainedBytes { streams[slot].awaitsDrain = true }
    }

    private mutating func sendHeaders(_ slot: Int, _ block: [UInt8], endStream: Bool) {
        streams[slot].hasSentHeaders = true
        outbound.writeHeadersFrame(
            streams[slot].id, block: block, endStream: endStream,
            maximumFrameBytes: peerFrameBytes, tableSizeUpdate: owesTableSizeUpdate)
        owesTableSizeUpdate = false
        if endStream { closeLocal(slot) }
    }

    private mutating func writeEnd(_ slot: Int, _ block: [UInt8]) {
        if block.isEmpty {
            outbound.writeFrameHeader(
                FrameHeader(
                    length: 0, type: FrameType.data, flags: FrameFlags.endStream,
                    streamID: streams[slot].id))
            closeLocal(slot)
        } else {
            sendHeaders(slot, block, endStream: true)
        }
    }

    /// Writes a message straight into the outbound buffer. If it turns out not to fit into one
    /// frame or the windows, it becomes the stream's unsent bytes; false then.
    private mutating func sendAtOnce(
        _ slot: Int, endStream: Bool, _ write: (inout ByteBuffer) -> Void
    ) -> Bool {
        let frameStart = outbound.writerIndex
        var header = FrameHeader(
            length: 0, type: FrameType.data, flags: endStream ? FrameFlags.endStream : 0,
            streamID: streams[slot].id)
        outbound.writeFrameHeader(header)
        let start = outbound.writerIndex
        Self.appendMessage(to: &outbound, write)
        let count = outbound.writerIndex - start
        let room = min(
            streams[slot].sendWindow.available, sendWindow.available, peerFrameBytes)
        guard count <= room else {
            var unsent = ByteBuffer()
            unsent.writeBytes(outbound.viewBytes(at: start, length: count) ?? .init())
            outbound.moveWriterIndex(to: frameStart)
            streams[slot].unsent = unsent
            unsentBytes += count
            return false
        }
        header.length = count
        outbound.setFrameHeader(header, at: frameStart)
        spend(slot, count)
        if endStream { closeLocal(slot) }
        return true
    }

    private static func appendMessage(
        to buffer: inout ByteBuffer, _ write: (inout ByteBuffer) -> Void
    ) {
        let start = buffer.writerIndex
        buffer.writeRepeatingByte(0, count: HTTP2Constant.messagePrefixBytes)
        write(&buffer)
        let count = buffer.writerIndex - start - HTTP2Constant.messagePrefixBytes
        precondition(count >= 0 && count <= UInt32.max, "impossible message length")
        buffer.setInteger(UInt32(truncatingIfNeeded: count), at: start + 1)
    }

    private mutating func spend(_ slot: Int, _ count: Int) {
        streams[slot].sendWindow.spend(count)
        sendWindow.spend(count)
        // Who is sent much may well answer with many WINDOW_UPDATEs and PINGs.
        controlGuard.credit()
    }

    private mutating func sendUnsentFrame(_ slot: Int) {
        guard var unsent = streams[slot].unsent.take() else { return }
        let id = streams[slot].id
        let count = min(
            unsent.readableBytes, streams[slot].sendWindow.available, sendWindow.available,
            peerFrameBytes)
        guard count > 0 else {
            // The peer has made its window smaller meanwhile; its next update queues us again.
            streams[slot].unsent = unsent
            return
        }
        let isAll = count == unsent.readableBytes
        let end = isAll ? streams[slot].unsentEnd : nil
        let endsHere = end?.isEmpty ?? false
        outbound.writeFrameHeader(
            FrameHeader(
                length: count, type: FrameType.data,
                flags: endsHere ? FrameFlags.endStream : 0, streamID: id))
        outbound.writeBytes(unsent.readableBytesView.prefix(count))
        unsent.moveReaderIndex(forwardBy: count)
        unsentBytes -= count
        spend(slot, count)
        if !isAll { streams[slot].unsent = unsent }
        if streams[slot].awaitsDrain, streams[slot].unsentBytes <= limits.drainedBytes {
            streams[slot].awaitsDrain = false
            drained.append(id)
        }
        if let end {
            streams[slot].unsentEnd = nil
            if endsHere {
                closeLocal(slot)
            } else {
                sendHeaders(slot, end, endStream: true)
            }
        } else {
            enqueue(slot)
        }
    }
}
