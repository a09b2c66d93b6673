import EtcdWire

/// Room at the end of an array that was measured before, filled from its start: one check of the
/// array for all that is written. A write beyond the room is a trap. `ByteReader` reads it back.
struct ByteRoom {
    private let bytes: UnsafeMutableRawBufferPointer
    private var offset = 0

    /// Appends what `write` writes; it writes `byteCount` bytes exactly.
    @inline(__always)
    static func append(
        byteCount: Int, to out: inout [UInt8], _ write: (inout ByteRoom) -> Void
    ) {
        out.append(byteCount: byteCount) { bytes in
            var room = ByteRoom(bytes: bytes)
            write(&room)
            return room.offset
        }
    }

    private init(bytes: UnsafeMutableRawBufferPointer) { self.bytes = bytes }

    /// Writes a number, little-endian.
    @inline(__always) mutating func write<Number: FixedWidthInteger>(_ number: Number) {
        let end = offset + MemoryLayout<Number>.size
        precondition(end <= bytes.count)
        bytes.storeBytes(of: number.littleEndian, toByteOffset: offset, as: Number.self)
        offset = end
    }

    /// Writes bytes as they are.
    @inline(__always) mutating func write(_ source: UnsafeRawBufferPointer) {
        precondition(offset + source.count <= bytes.count)
        UnsafeMutableRawBufferPointer(rebasing: bytes[offset...]).copyMemory(from: source)
        offset += source.count
    }
}
