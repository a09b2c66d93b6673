/// Reads the fields of one protobuf message, and of messages inside it, in place.
///
/// The loop is always the same: `nextTag()` until it returns nil, and for each tag exactly one of
/// the typed reads or `skip`. Slices share the storage of the message.
public struct WireReader: Sendable {
    @usableFromInline let bytes: ArraySlice<UInt8>
    @usableFromInline var position: Int
    @usableFromInline var end: Int

    /// Starts at the first byte of a message.
    @inlinable
    public init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        self.position = bytes.startIndex
        self.end = bytes.endIndex
    }

    /// True when every field of the message it is in has been read.
    @inlinable
    public var isAtEnd: Bool { position == end }

    /// The next field's tag, or nil at the end of the message.
    @inlinable
    public mutating func nextTag() throws(WireError) -> WireTag? {
        guard position < end else { return nil }
        let raw = try varint()
        guard raw <= UInt64(UInt32.max), raw >= 8 else { throw .invalidTag }
        let kind = UInt8(truncatingIfNeeded: raw & 7)
        guard let wireType = WireType(rawValue: kind) else {
            throw kind == 3 || kind == 4 ? .group : .invalidTag
        }
        return WireTag(fieldNumber: UInt32(truncatingIfNeeded: raw >> 3), wireType: wireType)
    }

    /// One base-128 integer of at most 64 bits.
    @inlinable
    public mutating func varint() throws(WireError) -> UInt64 {
        guard position < end else { throw .truncated }
        let first = bytes[position]
        position += 1
        if first < 0x80 { return UInt64(first) }
        // Lengths of values and operations take two bytes.
        if position < end {
            let second = bytes[position]
            if second < 0x80 {
                position += 1
                return UInt64(first & 0x7f) | UInt64(second) << 7
            }
        }
        return try varintTail(UInt64(first & 0x7f))
    }

    @usableFromInline
    mutating func varintTail(_ first: UInt64) throws(WireError) -> UInt64 {
        if let rest = varintRest() { return first | rest << 7 }
        var value = first
        var shift: UInt64 = 7
        while true {
            guard position < end else { throw .truncated }
            let byte = bytes[position]
            position += 1
            // The tenth byte carries the last of the 64 bits.
            if shift == 63, byte > 1 { throw .overlongVarint }
            value |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return value }
            shift += 7
        }
    }

    /// The rest of an integer of nine bytes at most, if it and what follows it in the message are
    /// eight at least. Byte by byte an id takes half of what the request does.
    private mutating func varintRest() -> UInt64? {
        guard end - position >= 8 else { return nil }
        let offset = position - bytes.startIndex
        let next = bytes.withUnsafeBytes {
            UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
        }
        // The high bit is missing from the last byte.
        let last = ~next & 0x8080_8080_8080_8080
        guard last != 0 else { return nil }
        position += last.trailingZeroBitCount / 8 + 1
        // Neighbours move together until all groups of seven bits are one number.
        var value = next & (last ^ (last - 1)) & 0x7f7f_7f7f_7f7f_7f7f
        value = value & 0x007f_007f_007f_007f | (value & 0x7f00_7f00_7f00_7f00) >> 1
        value = value & 0x0000_3fff_0000_3fff | (value & 0x3fff_0000_3fff_0000) >> 2
        return value & 0x0fff_ffff | (value & 0x0fff_ffff_0000_0000) >> 4
    }

    /// Where the length-prefixed bytes at this position stand.
    @inlinable
    mutating func lengthDelimitedRange() throws(WireError) -> Range<Int> {
        let length = try varint()
        guard length <= UInt64(end - position) else { throw .truncated }
        let start = position
        position += Int(truncatingIfNeeded: length)
        return start..<position
    }

    /// The value of a bytes, string or message field.
    @inlinable
    public mutating func readBytes(_ tag: WireTag) throws(WireError) -> ArraySlice<UInt8> {
        bytes[try readRange(tag)]
    }

    /// Where the value of a bytes, string or message field stands in the message.
    @inlinable
    public mutating func readRange(_ tag: WireTag) throws(WireError) -> Range<Int> {
        guard tag.wireType == .lengthDelimited else {
            throw .wrongWireType(fieldNumber: tag.fieldNumber)
        }
        return try lengthDelimitedRange()
    }

    /// The value of a message field, which `read` reads completely from this reader, narrowed to it.
    /// A reader of its own for each of a transaction's operations would count two references more.
    @inline(__always)
    mutating func readMessage<Message>(
        _ tag: WireTag, _ read: (inout WireReader) throws(WireError) -> Message
    ) throws(WireError) -> Message {
        let outerEnd = end
        let range = try readRange(tag)
        position = range.lowerBound
        end = range.upperBound
        let message = try read(&self)
        precondition(isAtEnd, "a message is read completely")
        end = outerEnd
        return message
    }

    /// The value of a uint64 field.
    @inlinable
    public mutating func readUInt64(_ tag: WireTag) throws(WireError) -> UInt64 {
        guard tag.wireType == .varint else { throw .wrongWireType(fieldNumber: tag.fieldNumber) }
        return try varint()
    }

    /// The value of an int64 field (two's complement, not zigzag).
    @inlinable
    public mutating func readInt64(_ tag: WireTag) throws(WireError) -> Int64 {
        Int64(bitPattern: try readUInt64(tag))
    }

    /// The value of an enum field; open, as proto3 enumerations are.
    @inlinable
    public mutating func readEnum(_ tag: WireTag) throws(WireError) -> Int32 {
        Int32(truncatingIfNeeded: try readUInt64(tag))
    }

    /// The value of a bool field: anything but zero is true.
    @inlinable
    public mutating func readBool(_ tag: WireTag) throws(WireError) -> Bool {
        try readUInt64(tag) != 0
    }

    /// Passes over the value of a field that the reader does not know.
    @inlinable
    public mutating func skip(_ tag: WireTag) throws(WireError) {
        switch tag.wireType {
        case .varint: _ = try varint()
        case .lengthDelimited: _ = try lengthDelimitedRange()
        case .fixed64: try advance(8)
        case .fixed32: try advance(4)
        }
    }

    @inlinable
    mutating func advance(_ count: Int) throws(WireError) {
        guard count <= end - position else { throw .truncated }
        position += count
    }
}
