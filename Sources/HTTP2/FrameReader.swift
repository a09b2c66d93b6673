import NIOCore

/// Cuts received bytes into frames. A frame is handed out when all of it is there; its payload is a
/// range of `bytes`, so that nothing is copied for it.
///
/// What was received is copied once, into an array: a look into a `ByteBuffer` costs a check for
/// exclusive access each time, and a request takes ten of them.
package struct FrameReader {
    package private(set) var bytes: [UInt8] = []
    /// Bytes before this are used up.
    private var start = 0
    private var remainingPreface: Int
    /// The frame handed out last stays readable in `bytes` until the next one is asked for.
    private var handedOutBytes = 0
    private let maximumFrameBytes = HTTP2Constant.defaultFrameBytes

    /// A server first expects the client's connection preface.
    init(expectsPreface: Bool) {
        remainingPreface = expectsPreface ? HTTP2Constant.preface.count : 0
    }

    /// Bytes that no frame was made of yet, the one handed out last included.
    package var heldByteCount: Int { bytes.count - start }

    /// Adds received bytes. Ranges handed out before lose their meaning.
    mutating func append(_ received: ByteBuffer) {
        dropHandedOut()
        received.withUnsafeReadableBytes { received in
            if start == bytes.count {
                bytes = Array(received)
            } else {
                bytes.removeSubrange(..<start)
                bytes.append(contentsOf: received)
            }
        }
        start = 0
    }

    /// Lets go of the memory when nothing is left in it: an idle connection holds none.
    mutating func releaseIfEmpty() {
        if heldByteCount == 0 { discardAll() }
    }

    /// Drops everything.
    mutating func discardAll() {
        bytes = []
        start = 0
        handedOutBytes = 0
    }

    private mutating func dropHandedOut() {
        start += handedOutBytes
        handedOutBytes = 0
    }

    /// Four received bytes as one number, most significant first.
    func word(at index: Int) -> UInt32 {
        UInt32(bytes[index]) << 24 | UInt32(bytes[index + 1]) << 16
            | UInt32(bytes[index + 2]) << 8 | UInt32(bytes[index + 3])
    }

    /// A complete frame: its header, and where its payload lies in `bytes`.
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
        guard heldByteCount >= HTTP2Constant.frameHeaderBytes else { return nil }
        let lengthAndType = word(at: start)
        let length = Int(lengthAndType >> 8)
        guard length <= maximumFrameBytes else {
            throw HTTP2ConnectionError(.frameSizeError, "frame larger than SETTINGS_MAX_FRAME_SIZE")
        }
        let payloadStart = start + HTTP2Constant.frameHeaderBytes
        let total = HTTP2Constant.frameHeaderBytes + length
        guard heldByteCount >= total else { return nil }
        handedOutBytes = total
        return Frame(
            header: FrameHeader(
                length: length, type: UInt8(truncatingIfNeeded: lengthAndType),
                flags: bytes[start + 4],
                streamID: word(at: start + 5) & HTTP2Constant.maximumStreamID),
            payload: payloadStart..<(payloadStart + length))
    }

    /// Compares as much of the preface as has come; true when it is complete.
    private mutating func readPreface() throws(HTTP2ConnectionError) -> Bool {
        let preface = HTTP2Constant.preface
        let count = min(remainingPreface, heldByteCount)
        let offset = preface.count - remainingPreface
        guard bytes[start..<(start + count)] == preface[offset..<(offset + count)] else {
            throw HTTP2ConnectionError(.protocolError, "no HTTP/2 connection preface")
        }
        start += count
        remainingPreface -= count
        return remainingPreface == 0
    }
}
