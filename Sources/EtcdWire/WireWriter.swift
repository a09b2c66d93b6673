/// Appends protobuf fields to a byte array that the caller owns.
///
/// Scalar and bytes fields follow proto3: a zero or empty value is omitted. Where it must be
/// present (members of a oneof, elements of a list) the name says `Present`. The `size` functions
/// return exactly what the `append` function of the same name appends.
public enum WireWriter {
    /// Bytes that a varint takes: 1 ... 10.
    @inlinable
    public static func varintSize(_ value: UInt64) -> Int {
        // Seven payload bits a byte: ⌈bits / 7⌉ for bits ≥ 1, by multiplication.
        let bits = 64 - (value | 1).leadingZeroBitCount
        return (bits * 9 + 64) >> 6
    }

    /// Bytes that the tag of a field takes.
    @inlinable
    public static func tagSize(_ field: UInt32) -> Int {
        varintSize(UInt64(field) << 3)
    }

    /// Appends a base-128 integer.
    @inlinable
    public static func appendVarint(_ value: UInt64, to out: inout [UInt8]) {
        if value < 0x80 {
            out.append(UInt8(truncatingIfNeeded: value))
        } else {
            appendLongVarint(value, to: &out)
        }
    }

    /// Written aside and appended once: each `append` checks the array anew.
    @usableFromInline
    static func appendLongVarint(_ value: UInt64, to out: inout [UInt8]) {
        withUnsafeTemporaryAllocation(byteCount: 10, alignment: 1) { room in
            let end = store(value, in: room, at: 0)
            out.append(contentsOf: UnsafeRawBufferPointer(rebasing: room[..<end]))
        }
    }

    /// Stores a base-128 integer in room for ten bytes; returns where it ends.
    static func store(
        _ value: UInt64, in room: UnsafeMutableRawBufferPointer, at start: Int
    ) -> Int {
        var rest = value
        var end = start
        while rest >= 0x80 {
            room[end] = UInt8(truncatingIfNeeded: rest) | 0x80
            rest >>= 7
            end += 1
        }
        room[end] = UInt8(truncatingIfNeeded: rest)
        return end + 1
    }

    /// Appends a field's tag.
    @inlinable
    public static func appendTag(_ field: UInt32, _ wireType: WireType, to out: inout [UInt8]) {
        appendVarint(UInt64(field) << 3 | UInt64(wireType.rawValue), to: &out)
    }

    // MARK: Integers

    /// Size of `appendUInt64`.
    @inlinable
    public static func uint64Size(_ field: UInt32, _ value: UInt64) -> Int {
        value == 0 ? 0 : tagSize(field) + varintSize(value)
    }

    /// Appends a uint64 field unless it is zero.
    @inlinable
    public static func appendUInt64(_ field: UInt32, _ value: UInt64, to out: inout [UInt8]) {
        guard value != 0 else { return }
        appendPresentUInt64(field, value, to: &out)
    }

    /// Size of `appendPresentUInt64`.
    @inlinable
    public static func presentUInt64Size(_ field: UInt32, _ value: UInt64) -> Int {
        tagSize(field) + varintSize(value)
    }

    /// Appends a uint64 field even when it is zero.
    @inlinable
    public static func appendPresentUInt64(
        _ field: UInt32, _ value: UInt64, to out: inout [UInt8]
    ) {
        appendTag(field, .varint, to: &out)
        appendVarint(value, to: &out)
    }

    /// Size of `appendInt64`.
    @inlinable
    public static func int64Size(_ field: UInt32, _ value: Int64) -> Int {
        uint64Size(field, UInt64(bitPattern: value))
    }

    /// Appends an int64 field unless it is zero. Negative values take ten bytes.
    @inlinable
    public static func appendInt64(_ field: UInt32, _ value: Int64, to out: inout [UInt8]) {
        appendUInt64(field, UInt64(bitPattern: value), to: &out)
    }

    /// Size of `appendEnum`.
    @inlinable
    public static func enumSize(_ field: UInt32, _ value: Int32) -> Int {
        int64Size(field, Int64(value))
    }

    /// Appends an enum field unless it is zero.
    @inlinable
    public static func appendEnum(_ field: UInt32, _ value: Int32, to out: inout [UInt8]) {
        appendInt64(field, Int64(value), to: &out)
    }

    /// Size of `appendBool`.
    @inlinable
    public static func boolSize(_ field: UInt32, _ value: Bool) -> Int {
        value ? tagSize(field) + 1 : 0
    }

    /// Appends a bool field if it is true.
    @inlinable
    public static func appendBool(_ field: UInt32, _ value: Bool, to out: inout [UInt8]) {
        appendUInt64(field, value ? 1 : 0, to: &out)
    }

    // MARK: Bytes

    /// Size of `appendBytes` for that many bytes.
    @inlinable
    public static func bytesSize(_ field: UInt32, count: Int) -> Int {
        count == 0 ? 0 : presentBytesSize(field, count: count)
    }

    /// Size of `appendPresentBytes` for that many bytes; also of a nested message of that size.
    @inlinable
    public static func presentBytesSize(_ field: UInt32, count: Int) -> Int {
        tagSize(field) + varintSize(UInt64(count)) + count
    }

    /// Appends a bytes field even when it is empty.
    @inlinable
    public static func appendPresentBytes(
        _ field: UInt32, _ value: UnsafeRawBufferPointer, to out: inout [UInt8]
    ) {
        appendMessageHead(field, size: value.count, to: &out)
        out.append(contentsOf: value)
    }

    /// Appends a bytes field unless it is empty.
    @inlinable
    public static func appendBytes(
        _ field: UInt32, _ value: ArraySlice<UInt8>, to out: inout [UInt8]
    ) {
        guard !value.isEmpty else { return }
        appendPresentBytes(field, value, to: &out)
    }

    /// Appends a bytes field even when it is empty.
    @inlinable
    public static func appendPresentBytes(
        _ field: UInt32, _ value: ArraySlice<UInt8>, to out: inout [UInt8]
    ) {
        appendMessageHead(field, size: value.count, to: &out)
        out.append(contentsOf: value)
    }

    /// Appends a string field unless it is empty.
    @inlinable
    public static func appendString(_ field: UInt32, _ value: String, to out: inout [UInt8]) {
        guard !value.isEmpty else { return }
        appendMessageHead(field, size: value.utf8.count, to: &out)
        out.append(contentsOf: value.utf8)
    }

    // MARK: Nested messages

    /// Appends tag and length of a nested message of known size; its `size` bytes must follow.
    @inlinable
    public static func appendMessageHead(_ field: UInt32, size: Int, to out: inout [UInt8]) {
        appendTag(field, .lengthDelimited, to: &out)
        appendVarint(UInt64(size), to: &out)
    }

    /// The place of a nested message whose size is not known yet.
    public struct OpenMessage: Sendable {
        @usableFromInline let bodyStart: Int

        @inlinable
        init(bodyStart: Int) {
            self.bodyStart = bodyStart
        }
    }

    /// Starts a nested message of unknown size. Append its fields, then call `endMessage`.
    ///
    /// One byte is reserved for the length; a body of 128 bytes or more moves up when it ends.
    /// That one move costs less than computing sizes beforehand for what is found while walking.
    @inlinable
    public static func beginMessage(_ field: UInt32, to out: inout [UInt8]) -> OpenMessage {
        appendTag(field, .lengthDelimited, to: &out)
        out.append(0)
        return OpenMessage(bodyStart: out.count)
    }

    /// Ends the innermost open message by writing its length.
    @inlinable
    public static func endMessage(_ message: OpenMessage, to out: inout [UInt8]) {
        let size = out.count - message.bodyStart
        precondition(size >= 0, "the buffer shrank below an open message")
        if size < 0x80 {
            out[message.bodyStart - 1] = UInt8(truncatingIfNeeded: size)
        } else {
            widenLength(size: size, bodyStart: message.bodyStart, in: &out)
        }
    }

    @usableFromInline
    static func widenLength(size: Int, bodyStart: Int, in out: inout [UInt8]) {
        let extra = varintSize(UInt64(size)) - 1
        out.append(contentsOf: repeatElement(0, count: extra))
        // The body lies at the end of `out`, which has just grown by `extra`: both slices are in
        // bounds, and `copyMemory` may overlap.
        out.withUnsafeMutableBytes { buffer in
            let body = UnsafeMutableRawBufferPointer(
                rebasing: buffer[(bodyStart + extra)..<(bodyStart + extra + size)])
            body.copyMemory(
                from: UnsafeRawBufferPointer(rebasing: buffer[bodyStart..<(bodyStart + size)]))
            _ = store(UInt64(size), in: buffer, at: bodyStart - 1)
        }
    }
}
