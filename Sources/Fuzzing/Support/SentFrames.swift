import HTTP2

/// Watches the bytes that an HTTP/2 engine sends: whatever it received, they must be frames in an
/// order that RFC 9113 allows.
struct SentFrames {
    private let isServer: Bool
    private var pending: ArraySlice<UInt8> = []
    private var ended: Set<UInt32> = []
    /// The stream whose header block goes on in the next frame.
    private var openBlock: UInt32?
    private var isOver = false
    private var expectsPreface: Bool
    private(set) var byteCount = 0
    private(set) var dataBytes = 0

    init(isServer: Bool) {
        self.isServer = isServer
        expectsPreface = !isServer
    }

    /// Takes all that an engine has to send, as a shell does at the end of a batch.
    mutating func takeAll<Parsed>(from engine: inout Engine<Parsed>) throws(PropertyBreach) {
        while true {
            engine.pump()
            let buffer = engine.takeOutbound()
            guard buffer.readableBytes > 0 else { return }
            try take(Array(buffer.readableBytesView))
            engine.recycleOutbound(buffer)
        }
    }

    /// Takes bytes in the order in which they were sent; each batch must end with a frame.
    mutating func take(_ bytes: [UInt8]) throws(PropertyBreach) {
        byteCount += bytes.count
        pending = bytes[...]
        if expectsPreface, !pending.isEmpty {
            try require(pending.starts(with: WireFrame.preface), "a client begins with the preface")
            pending = pending.dropFirst(WireFrame.preface.count)
            expectsPreface = false
        }
        let (frames, rest) = WireFrame.split(pending)
        try require(rest.isEmpty, "what is sent is whole frames", hexadecimal(Array(rest)))
        for frame in frames { try take(frame) }
    }

    private mutating func take(_ frame: WireFrame) throws(PropertyBreach) {
        try require(!isOver, "nothing follows the GOAWAY of an error", "\(frame)")
        try require(frame.payload.count <= 65_536, "a frame has at most 64 KiB")
        if let openBlock {
            try require(
                frame.type == 9 && frame.stream == openBlock,
                "a header block is not interrupted", "\(frame)")
        }
        switch frame.type {
        case 0, 1, 9: try takeStreamFrame(frame)
        case 3:
            try require(frame.payload.count == 4 && frame.stream > 0, "RST_STREAM is well formed")
            ended.insert(frame.stream)
        case 4:
            try require(
                frame.stream == 0 && frame.payload.count % 6 == 0, "SETTINGS is well formed")
        case 6:
            try require(frame.stream == 0 && frame.payload.count == 8, "PING is well formed")
        case 7:
            try require(frame.stream == 0 && frame.payload.count >= 8, "GOAWAY is well formed")
            isOver = WireFrame.number(frame.payload[4..<8]) != 0
        case 8:
            let increment = WireFrame.number(frame.payload)
            try require(
                frame.payload.count == 4 && increment > 0 && increment < 1 << 31,
                "WINDOW_UPDATE is well formed")
        default: throw PropertyBreach("only frames of RFC 9113 are sent", seen: "\(frame)")
        }
    }

    private mutating func takeStreamFrame(_ frame: WireFrame) throws(PropertyBreach) {
        try require(frame.stream % 2 == 1, "clients open streams", "\(frame)")
        if frame.type != 9 {
            try require(!ended.contains(frame.stream), "nothing follows a stream's end", "\(frame)")
            if frame.flags & 1 != 0 { ended.insert(frame.stream) }
        }
        if frame.type == 0 {
            dataBytes += frame.payload.count
        } else {
            openBlock = frame.flags & 4 == 0 ? frame.stream : nil
        }
    }
}
