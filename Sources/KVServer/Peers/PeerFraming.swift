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

    static func frame(_ payload: ByteBuffer, allocator: ByteBufferAllocator) -> ByteBuffer {
        var buffer = allocator.buffer(capacity: payload.readableBytes + headerBytes)
        buffer.writeInteger(UInt32(payload.readableBytes), endianness: .little)
        let checksum = CRC32C.checksum(payload.readableBytesView)
        buffer.writeInteger(checksum, endianness: .little)
        buffer.writeImmutableBuffer(payload)
        return buffer
    }

    /// What stands at the front of received bytes.
    enum NextFrame {
        case frame(ByteBuffer)
        case incomplete
        case malformed(reason: String)
    }

    static func nextFrame(in buffer: inout ByteBuffer) -> NextFrame {
        guard buffer.readableBytes >= headerBytes else { return .incomplete }
        let (length, checksum) = buffer.withUnsafeReadableBytes { bytes in
            (
                UInt32(littleEndian: bytes.loadUnaligned(as: UInt32.self)),
                UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
            )
        }
        guard length <= maxFrameBytes else {
            return .malformed(reason: "a frame claims \(length) bytes")
        }
        guard buffer.readableBytes >= headerBytes + Int(length) else { return .incomplete }
        buffer.moveReaderIndex(forwardBy: headerBytes)
        guard let payload = buffer.readSlice(length: Int(length)) else { return .incomplete }
        guard payload.withUnsafeReadableBytes({ CRC32C.extend(0, over: $0) }) == checksum else {
            return .malformed(reason: "a frame's checksum doesn't match")
        }
        return .frame(payload)
    }
}

/// Cuts received bytes into frames and tells its owner; one per connection, on its event loop.
final class PeerFrameHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    /// What a connection reports.
    struct Callbacks {
        var active: (Channel) -> Void = { _ in }
        var frame: (Channel, ByteBuffer) -> Void
        var malformed: (Channel, String) -> Void
        var inactive: (Channel) -> Void
    }

    private let callbacks: Callbacks
    /// The part of a frame that has come.
    private var partial = ByteBuffer()

    init(_ callbacks: Callbacks) { self.callbacks = callbacks }

    func channelActive(context: ChannelHandlerContext) { callbacks.active(context.channel) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // Taken out, so that each look at it isn't checked for exclusive access.
        var buffer = unwrapInboundIn(data)
        if partial.readableBytes > 0 {
            partial.writeBuffer(&buffer)
            swap(&partial, &buffer)
        }
        while true {
            switch PeerFraming.nextFrame(in: &buffer) {
            case .frame(let payload): callbacks.frame(context.channel, payload)
            case .incomplete:
                partial = buffer.readableBytes > 0 ? buffer : ByteBuffer()
                return
            case .malformed(let reason):
                callbacks.malformed(context.channel, reason)
                partial = ByteBuffer()
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
