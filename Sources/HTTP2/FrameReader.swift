import NIOCore

/// Cuts received bytes into frames. A frame is handed out when all of it is there; its payload is a
/// range of the buffer, so nothing is copied.
package struct FrameReader {
    package private(set) var buffer = ByteBuffer()
    private var remainingPreface: Int
    /// The frame handed out last stays readable in `buffer` until the next one is asked for.
    private var handedOutBytes = 0
    private let maximumFrameBytes = HTTP2Constant.defaultFrameBytes

    /// A server first expects the client's connection preface.
    init(expectsPreface: Bool) {
        remainingPreface = expectsPreface ? HTTP2Constant.preface.count : 0
    }

    /// Adds received bytes. Ranges handed out before lose their meaning.
    mutating func append(_ bytes: consuming ByteBuffer) {
        dropHandedOut()
        if buffer.readableBytes == 0 {
            buffer = bytes
        } else {
            buffer.discardReadBytes()
            buffer.writeBuffer(&bytes)
        }
    }

    /// Lets go of the received buffer when nothing of it is left, so that it can be used again.
    mutating func releaseIfEmpty() {
        if buffer.readableBytes == 0 { buffer = ByteBuffer() }
    }

    /// Drops everything, after the connection has failed.
    mutating func discardAll() {
        buffer = ByteBuffer()
        handedOutBytes = 0
    }

    private mutating func dropHandedOut() {
        buffer.moveReaderIndex(forwardBy: handedOutBytes)
        handedOutBytes = 0
    }

    /// A complete frame: its header, and where its payload lies in `buffer`.
    struct Frame {
        var header: FrameHeader
        var payload: Range<Int>
    }

    /// The next complete frame, or nil until more bytes come.
    mutating func next() throws(HTTP2ConnectionError) -> Frame? {
        dropHandedOut()
        if remainingPreface > 0 {
            guard try readPreface() else { return nil }
        }
        let start = buffer.readerIndex
        guard buffer.readableBytes >= HTTP2Constant.frameHeaderBytes,
            let lengthAndType = buffer.getInteger(at: start, as: UInt32.self),
            let flags = buffer.getInteger(at: start + 4, as: UInt8.self),
            let stream = buffer.getInteger(at: start + 5, as: UInt32.self)
        else { return nil }
        let length = Int(lengthAndType >> 8)
        guard length <= maximumFrameBytes else {
            throw HTTP2ConnectionError(.frameSizeError, "frame larger than SETTINGS_MAX_FRAME_SIZE")
        }
        let payloadStart = start + HTTP2Constant.frameHeaderBytes
        let total = HTTP2Constant.frameHeaderBytes + length
        guard buffer.readableBytes >= total else { return nil }
        handedOutBytes = total
        return Frame(
            header: FrameHeader(
                length: length, type: UInt8(truncatingIfNeeded: lengthAndType), flags: flags,
                streamID: stream & HTTP2Constant.maximumStreamID),
            payload: payloadStart..<(payloadStart + length))
    }

    /// Compares as much of the preface as has come; true when it is complete.
    private mutating func readPreface() throws(HTTP2ConnectionError) -> Bool {
        let preface = HTTP2Constant.preface
        let count = min(remainingPreface, buffer.readableBytes)
        let offset = preface.count - remainingPreface
        let matches = buffer.readableBytesView.prefix(count)
            .elementsEqual(preface[offset..<(offset + count)])
        guard matches else {
            throw HTTP2ConnectionError(.protocolError, "no HTTP/2 connection preface")
        }
        buffer.moveReaderIndex(forwardBy: count)
        remainingPreface -= count
        return remainingPreface == 0
    }
}
