/// The numbers of `mvccpb.KeyValue`: everything but key and value, which the store keeps apart.
public struct KeyValueNumbers: Equatable, Sendable {
    /// The revision of the put that created the key.
    public var createRevision: Int64
    /// The revision of the last put.
    public var modRevision: Int64
    /// Puts since the key was created, 1 for the first; 0 for a deleted key.
    public var version: Int64
    /// The lease that the key is attached to; 0 means none.
    public var lease: Int64

    /// The four numbers.
    @inlinable
    public init(
        createRevision: Int64 = 0, modRevision: Int64 = 0, version: Int64 = 0, lease: Int64 = 0
    ) {
        self.createRevision = createRevision
        self.modRevision = modRevision
        self.version = version
        self.lease = lease
    }
}

/// `mvccpb.KeyValue` as a value, for callers that hold the bytes in arrays.
public struct KeyValue: Equatable, Sendable {
    /// The key.
    public var key: ArraySlice<UInt8>
    /// The value.
    public var value: ArraySlice<UInt8>
    /// Revisions, version and lease.
    public var numbers: KeyValueNumbers

    /// A key-value from its parts.
    public init(key: ArraySlice<UInt8>, value: ArraySlice<UInt8>, numbers: KeyValueNumbers) {
        self.key = key
        self.value = value
        self.numbers = numbers
    }
}

extension WireWriter {
    /// Bytes of a `mvccpb.KeyValue` message, without the tag and length of the field it is in.
    @inlinable
    public static func keyValueSize(
        keyCount: Int, valueCount: Int, _ numbers: KeyValueNumbers
    ) -> Int {
        bytesSize(1, count: keyCount) + int64Size(2, numbers.createRevision)
            + int64Size(3, numbers.modRevision) + int64Size(4, numbers.version)
            + bytesSize(5, count: valueCount) + int64Size(6, numbers.lease)
    }

    /// Appends a `mvccpb.KeyValue` message as the given field, straight from where the store keeps
    /// the bytes. An empty `value` leaves the field out, which is how "keys only" is answered.
    public static func appendKeyValue(
        _ field: UInt8, key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer,
        _ numbers: KeyValueNumbers, to out: inout [UInt8]
    ) {
        let size = keyValueSize(keyCount: key.count, valueCount: value.count, numbers)
        let total = presentBytesSize(UInt32(field), count: size)
        FieldRoom.append(byteCount: total, to: &out) { room in
            room.writeKeyValue(field, size: size, key: key, value: value, numbers)
        }
    }

    /// Appends a `mvccpb.KeyValue` message as the given field.
    @inlinable
    public static func appendKeyValue(
        _ field: UInt8, _ keyValue: KeyValue, to out: inout [UInt8]
    ) {
        keyValue.key.withUnsafeBytes { key in
            keyValue.value.withUnsafeBytes { value in
                appendKeyValue(field, key: key, value: value, keyValue.numbers, to: &out)
            }
        }
    }
}

extension FieldRoom {
    /// A `mvccpb.KeyValue` of this size as the given field.
    @inline(__always)
    mutating func writeKeyValue(
        _ field: UInt8, size: Int, key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer,
        _ numbers: KeyValueNumbers
    ) {
        writeHead(field, size: size)
        write(1, key)
        write(2, numbers.createRevision)
        write(3, numbers.modRevision)
        write(4, numbers.version)
        write(5, value)
        write(6, numbers.lease)
    }
}
