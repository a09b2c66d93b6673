import DurableLog
import NIOCore

/// Frames between members: length u32, CRC-32C u32 over the payload, payload; little-endian.
enum PeerFraming {
    /// The largest frame: an append of maximal size with room to spare.
    static let maxFrameBytes = 64 << 20
    static let headerBytes = 8

    static func append(_ payload: [UInt8], to buffer: inout ByteBuffer) {
        // In one piece: each call into a buffer is checked for exclusive access.
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: payload.count + headerBytes) {
            room in
            payload.withUnsafeBytes { payload in
                let checksum = CRC32C.extend(0, over: payload)
                room.storeBytes(of: UInt32(payload.count).littleEndian, as: UInt32.self)
                room.storeBytes(
                    of: checksum.littleEndian, toByteOffset: 4, as: UInt32.self)
                UnsafeMutableRawBufferPointer(rebasing: room[headerBytes...])
                    .copyBytes(from: payload)
            }
            return payload.count + headerBytes
        }
    }

    static func frame(_ payload: [UInt8]) -> ByteBuffer {
        var buffer = ByteBuffer()
        append(payload, to: &buffer)
        return buffer
    }
}

/// Cuts what comes on a connection into frames. Each byte is copied once, into its frame.
struct PeerFrameCutter {
    /// What stands next in received bytes.
    enum Next {
        case frame([UInt8])
        /// All bytes are taken.
        case incomplete
        case malformed(reason: String)
    }

    /// A frame may claim much and send little: no more room is made for it ahead.
    private static let maxRoomAhead = 1 << 20

    /// The part of a header that has come.
    private var header = ByteBuffer()
    private var frame: (payload: [UInt8], missing: Int, checksum: UInt32)?

    mutating func next(from received: inout ByteBuffer) -> Next {
        if frame == nil {
            guard let (length, checksum) = takeHeader(from: &received) else { return .incomplete }
            guard length <= PeerFraming.maxFrameBytes else {
                return .malformed(reason: "a frame claims \(length) bytes")
            }
            frame = ([], Int(length), checksum)
            frame!.payload.reserveCapacity(min(Int(length), Self.maxRoomAhead))
        }
        let count = min(frame!.missing, received.readableBytes)
        received.withUnsafeReadableBytes {
            frame!.payload.append(contentsOf: UnsafeRawBufferPointer(rebasing: $0[..<count]))
        }
        received.moveReaderIndex(forwardBy: count)
        frame!.missing -= count
        guard frame!.missing == 0 else { return .incomplete }
        let whole = frame!
        frame = nil
        guard CRC32C.checksum(whole.payload) == whole.checksum else {
            return .malformed(reason: "a frame's checksum doesn't match")
        }
        return .frame(whole.payload)
    }

    private mutating func takeHeader(
        from received: inout ByteBuffer
    ) -> (length: UInt32, checksum: UInt32)? {
        guard received.readableBytes > 0 else { return nil }
        if header.readableBytes == 0, received.readableBytes >= PeerFraming.headerBytes {
            return Self.readHeader(&received)
        }
        let missing = PeerFraming.headerBytes - header.readableBytes
        var piece = received.readSlice(length: min(missing, received.readableBytes))!
        header.writeBuffer(&piece)
        guard header.readableBytes == PeerFraming.headerBytes else { return nil }
        defer { header.clear() }
        return Self.readHeader(&header)
    }

    private static func readHeader(
        _ bytes: inout ByteBuffer
    ) -> (length: UInt32, checksum: UInt32) {
        defer { bytes.moveReaderIndex(forwardBy: PeerFraming.headerBytes) }
        return bytes.withUnsafeReadableBytes { bytes in
            (
                UInt32(littleEndian: bytes.loadUnaligned(as: UInt32.self)),
                UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
            )
        }
    }
}

/// Cuts received bytes into frames and tells its owner; one per connection, on its event loop.
final class PeerFrameHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    /// What a connection reports.
    struct Callbacks {
        var active: (Channel) -> Void = { _ in }
        var frame: (Channel, [UInt8]) -> Void
        var malformed: (Channel, String) -> Void
        var inactive: (Channel) -> Void
    }

    private let callbacks: Callbacks
    @exclusivity(unchecked) private var cutter = PeerFrameCutter()

    init(_ callbacks: Callbacks) { self.callbacks = callbacks }

    func channelActive(context: ChannelHandlerContext) { callbacks.active(context.channel) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        while true {
            switch cutter.next(from: &bytes) {
            case .frame(let payload): callbacks.frame(context.channel, payload)
            case .incomplete: return
            case .malformed(let reason):
                callbacks.malformed(context.channel, reason)
                context.close(promise: nil)
                return
            }
        }
    }

    func channelInactive(context: ChannelHandlerContext) { callbacks.inactive(context.channel) }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}
