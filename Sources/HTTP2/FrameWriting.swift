import NIOCore

extension ByteBuffer {
    /// Appends a frame's nine-byte header.
    mutating func writeFrameHeader(_ header: FrameHeader) {
        writeWithUnsafeMutableBytes(minimumWritableBytes: HTTP2Constant.frameHeaderBytes) { bytes in
            var room = FrameRoom(bytes)
            room.write(header)
            return room.end
        }
    }

    /// Overwrites the header of the frame that starts at `index`, not before the reader's.
    mutating func setFrameHeader(_ header: FrameHeader, at index: Int) {
        let start = index - readerIndex
        withUnsafeMutableReadableBytes { bytes in
            var room = FrameRoom(UnsafeMutableRawBufferPointer(rebasing: bytes[start...]))
            room.write(header)
        }
    }

    mutating func writeSettingsFrame(_ settings: [(identifier: UInt16, value: Int)]) {
        writeFrameHeader(
            FrameHeader(
                length: settings.count * 6, type: FrameType.settings, flags: 0, streamID: 0))
        for setting in settings {
            writeInteger(setting.identifier)
            writeInteger(UInt32(clamping: setting.value))
        }
    }

    mutating func writeSettingsAcknowledgement() {
        writeFrameHeader(
            FrameHeader(
                length: 0, type: FrameType.settings, flags: FrameFlags.acknowledge, streamID: 0))
    }

    mutating func writePingFrame(_ data: UInt64, acknowledge: Bool) {
        writeFrameHeader(
            FrameHeader(
                length: 8, type: FrameType.ping,
                flags: acknowledge ? FrameFlags.acknowledge : 0, streamID: 0))
        writeInteger(data)
    }

    mutating func writeWindowUpdateFrame(_ streamID: UInt32, increment: Int) {
        writeFrameHeader(
            FrameHeader(length: 4, type: FrameType.windowUpdate, flags: 0, streamID: streamID))
        writeInteger(UInt32(truncatingIfNeeded: increment))
    }

    mutating func writeResetStreamFrame(_ streamID: UInt32, _ code: HTTP2ErrorCode) {
        writeFrameHeader(
            FrameHeader(length: 4, type: FrameType.resetStream, flags: 0, streamID: streamID))
        writeInteger(code.rawValue)
    }

    mutating func writeGoAwayFrame(
        lastStreamID: UInt32, _ code: HTTP2ErrorCode, reason: String
    ) {
        let text = reason.utf8.prefix(1_024)
        writeFrameHeader(
            FrameHeader(length: 8 + text.count, type: FrameType.goAway, flags: 0, streamID: 0))
        writeInteger(lastStreamID)
        writeInteger(code.rawValue)
        writeBytes(text)
    }

    /// Appends a header block: one HEADERS frame, and CONTINUATION frames if it does not fit.
    mutating func writeHeadersFrame(
        _ streamID: UInt32, block: [UInt8], endStream: Bool, maximumFrameBytes: Int,
        tableSizeUpdate: Bool = false
    ) {
        // RFC 7541 section 4.2: when the peer has shrunk its table, the next block must begin with
        // the size that is used from now on. We use none.
        let block = tableSizeUpdate ? [0x20] + block : block
        let endStreamFlag = endStream ? FrameFlags.endStream : 0
        if block.count <= maximumFrameBytes {
            writeFrameHeader(
                FrameHeader(
                    length: block.count, type: FrameType.headers,
                    flags: FrameFlags.endHeaders | endStreamFlag, streamID: streamID))
            writeBytes(block)
            return
        }
        var start = 0
        while start < block.count {
            let end = min(start + maximumFrameBytes, block.count)
            writeFrameHeader(
                FrameHeader(
                    length: end - start,
                    type: start == 0 ? FrameType.headers : FrameType.continuation,
                    flags: (start == 0 ? endStreamFlag : 0)
                        | (end == block.count ? FrameFlags.endHeaders : 0),
                    streamID: streamID))
            writeBytes(block[start..<end])
            start = end
        }
    }
}

/// Writes frames into room that is there already: one check of the buffer for a whole answer, where
/// each number written to a `ByteBuffer` by itself costs some 300 instructions.
struct FrameRoom {
    private let room: UnsafeMutableRawBufferPointer
    private(set) var end = 0

    init(_ room: UnsafeMutableRawBufferPointer) { self.room = room }

    mutating func write(_ header: FrameHeader) {
        write(UInt32(truncatingIfNeeded: header.length) << 8 | UInt32(header.type))
        write(header.flags)
        write(header.streamID)
    }

    mutating func write(_ value: some FixedWidthInteger) {
        let size = value.bitWidth / 8
        precondition(room.count - end >= size, "the room was measured before")
        room.storeBytes(of: value.bigEndian, toByteOffset: end, as: type(of: value))
        end += size
    }

    /// One DATA frame with one gRPC message.
    mutating func write(message: [UInt8], streamID: UInt32) {
        write(
            FrameHeader(
                length: HTTP2Constant.messagePrefixBytes + message.count, type: FrameType.data,
                flags: 0, streamID: streamID))
        write(UInt8(0))
        write(UInt32(message.count))
        write(message)
    }

    mutating func write(_ bytes: [UInt8]) {
        precondition(room.count - end >= bytes.count, "the room was measured before")
        bytes.withUnsafeBytes { source in
            // In bounds by the precondition; the room and the array don't overlap.
            UnsafeMutableRawBufferPointer(rebasing: room[end...]).copyMemory(from: source)
        }
        end += bytes.count
    }
}
