/// Little-endian numbers in byte arrays.
extension [UInt8] {
    mutating func appendInteger(_ value: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
    }

    mutating func storeInteger(_ value: some FixedWidthInteger, at offset: Int) {
        precondition(offset + MemoryLayout.size(ofValue: value) <= count)
        Swift.withUnsafeBytes(of: value.littleEndian) { source in
            for (position, byte) in source.enumerated() { self[offset + position] = byte }
        }
    }

    func loadInteger<Value: FixedWidthInteger>(_ type: Value.Type, at offset: Int) -> Value {
        precondition(offset >= 0 && offset + MemoryLayout<Value>.size <= count)
        // In bounds by the precondition; an integer has no invalid bit pattern.
        return withUnsafeBytes { bytes in
            Value(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Value.self))
        }
    }
}

/// Reads a byte array front to back; nil where it ends too early.
struct ByteCursor {
    let bytes: [UInt8]
    private(set) var offset: Int
    let end: Int

    init(_ bytes: [UInt8], from offset: Int, to end: Int) {
        precondition(offset <= end && end <= bytes.count)
        self.bytes = bytes
        self.offset = offset
        self.end = end
    }

    var isAtEnd: Bool { offset == end }

    mutating func integer<Value: FixedWidthInteger>(_ type: Value.Type) -> Value? {
        guard end - offset >= MemoryLayout<Value>.size else { return nil }
        defer { offset += MemoryLayout<Value>.size }
        return bytes.loadInteger(type, at: offset)
    }

    mutating func take(_ count: Int) -> [UInt8]? {
        guard count >= 0, end - offset >= count else { return nil }
        defer { offset += count }
        return [UInt8](bytes[offset..<offset + count])
    }
}
