/// Bytes that end early or contradict themselves.
struct MalformedBytes: Error {}

/// Reads little-endian fields out of a borrowed buffer.
struct ByteReader {
    private let bytes: UnsafeRawBufferPointer
    private var offset = 0

    /// A reader from the first byte; the buffer must outlive it.
    init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
    }

    /// Bytes not read yet.
    var remaining: Int { bytes.count - offset }

    /// The next integer.
    @inline(__always)
    mutating func integer<Value: FixedWidthInteger>(
        _ type: Value.Type = Value.self
    ) throws(MalformedBytes) -> Value {
        guard remaining >= MemoryLayout<Value>.size else { throw MalformedBytes() }
        // In bounds by the check above; an integer has no invalid bit pattern.
        let value = bytes.loadUnaligned(fromByteOffset: offset, as: Value.self)
        offset += MemoryLayout<Value>.size
        return Value(littleEndian: value)
    }

    /// The next `count` bytes, valid as long as the buffer.
    @inline(__always)
    mutating func bytes(_ count: Int) throws(MalformedBytes) -> UnsafeRawBufferPointer {
        guard count >= 0, remaining >= count else { throw MalformedBytes() }
        let slice = UnsafeRawBufferPointer(rebasing: bytes[offset..<(offset + count)])
        offset += count
        return slice
    }

    /// The next byte string with a 32-bit length in front, as text.
    mutating func string() throws(MalformedBytes) -> String {
        let count = try integer(UInt32.self)
        let raw = try bytes(Int(count))
        guard let text = String(validating: raw, as: UTF8.self) else { throw MalformedBytes() }
        return text
    }

    /// The next list with a 32-bit count in front, whose elements take at least
    /// `elementBytes` each.
    mutating func list<Element>(
        elementBytes: Int, _ read: (inout ByteReader) throws(MalformedBytes) -> Element
    ) throws(MalformedBytes) -> [Element] {
        let count = Int(try integer(UInt32.self))
        guard count <= remaining / elementBytes else { throw MalformedBytes() }
        var elements: [Element] = []
        elements.reserveCapacity(count)
        for _ in 0..<count { elements.append(try read(&self)) }
        return elements
    }

    /// Fails unless everything was read.
    func finish() throws(MalformedBytes) {
        guard remaining == 0 else { throw MalformedBytes() }
    }
}

extension [UInt8] {
    /// Appends an integer, little-endian.
    @inline(__always)
    mutating func append<Value: FixedWidthInteger>(littleEndian value: Value) {
        Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
    }

    /// Appends text with its length in front, as `ByteReader.string` reads it.
    mutating func append(lengthPrefixed text: String) {
        append(littleEndian: UInt32(text.utf8.count))
        append(contentsOf: text.utf8)
    }
}

/// Runs `parse` over an entry's body.
func parsing<Result>(
    _ body: ArraySlice<UInt8>, _ parse: (inout ByteReader) throws(MalformedBytes) -> Result
) throws(MalformedBytes) -> Result {
    do {
        return try body.withUnsafeBytes { bytes in
            var reader = ByteReader(bytes)
            let result = try parse(&reader)
            try reader.finish()
            return result
        }
    } catch {
        // `withUnsafeBytes` rethrows what `parse` throws, untyped.
        throw MalformedBytes()
    }
}
