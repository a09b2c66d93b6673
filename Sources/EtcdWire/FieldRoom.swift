/// Writes fields into room at the end of an array that was measured before. One check of the array
/// for a whole message: each `append` checks it anew, and a key-value of 256 bytes took 1,030
/// instructions by sixteen of them, 600 in one piece. Fields are numbered up to 15.
struct FieldRoom {
    private let room: UnsafeMutableRawBufferPointer
    private var end = 0

    /// Appends what `write` writes; it writes `byteCount` bytes exactly.
    @inline(__always)
    static func append(
        byteCount: Int, to out: inout [UInt8], _ write: (inout FieldRoom) -> Void
    ) {
        out.append(byteCount: byteCount) { bytes in
            var room = FieldRoom(room: bytes)
            write(&room)
            return room.end
        }
    }

    private init(room: UnsafeMutableRawBufferPointer) { self.room = room }

    @inline(__always)
    private mutating func write(byte: UInt8) {
        precondition(end < room.count, "the message was measured wrong")
        room[end] = byte
        end += 1
    }

    /// Byte by byte: to measure the number first, so that `WireWriter.store` could write it, took 100
    /// instructions more an answer.
    @inline(__always)
    private mutating func write(varint value: UInt64) {
        if value < 0x80 {
            write(byte: UInt8(truncatingIfNeeded: value))
        } else {
            write(long: value)
        }
    }

    private mutating func write(long value: UInt64) {
        var rest = value
        if rest >> 56 != 0 {
            writeLow56(of: rest)
            rest >>= 56
        }
        while rest >= 0x80 {
            write(byte: UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        write(byte: UInt8(truncatingIfNeeded: rest))
    }

    /// The first eight bytes of a longer varint at once. The ids in a header are such numbers, and byte
    /// by byte they take half of what the header does.
    private mutating func writeLow56(of value: UInt64) {
        precondition(room.count - end >= 8, "the message was measured wrong")
        // Halves move apart until each seven bits stand at the low end of a byte of their own.
        var spread = value & 0x00ff_ffff_ffff_ffff
        spread = spread & 0x0fff_ffff | (spread & ~0x0fff_ffff) << 4
        spread = spread & 0x0000_3fff_0000_3fff | (spread & 0x0fff_c000_0fff_c000) << 2
        spread = spread & 0x007f_007f_007f_007f | (spread & 0x3f80_3f80_3f80_3f80) << 1
        spread |= 0x8080_8080_8080_8080
        room.storeBytes(of: spread.littleEndian, toByteOffset: end, as: UInt64.self)
        end += 8
    }

    /// An integer unless it is zero.
    mutating func write(_ field: UInt8, _ value: UInt64) {
        guard value != 0 else { return }
        write(byte: field << 3 | WireType.varint.rawValue)
        write(varint: value)
    }

    /// Negative values take ten bytes.
    mutating func write(_ field: UInt8, _ value: Int64) { write(field, UInt64(bitPattern: value)) }

    /// Tag and length of a nested message.
    mutating func writeHead(_ field: UInt8, size: Int) {
        write(byte: field << 3 | WireType.lengthDelimited.rawValue)
        write(varint: UInt64(size))
    }

    /// Bytes unless there are none.
    mutating func write(_ field: UInt8, _ bytes: UnsafeRawBufferPointer) {
        guard !bytes.isEmpty else { return }
        writeHead(field, size: bytes.count)
        write(encoded: bytes)
    }

    /// Bytes that are fields already, or the content of one whose head was written.
    mutating func write(encoded bytes: UnsafeRawBufferPointer) {
        precondition(room.count - end >= bytes.count, "the message was measured wrong")
        // In bounds by the precondition; the array's new room doesn't overlap with anything.
        UnsafeMutableRawBufferPointer(rebasing: room[end...]).copyMemory(from: bytes)
        end += bytes.count
    }
}
