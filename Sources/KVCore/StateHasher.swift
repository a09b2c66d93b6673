/// An order-sensitive 64-bit hash that goes on for the life of the store.
///
/// It tells replicas that diverged by accident; it doesn't resist someone who looks for
/// collisions. Its result is part of the snapshot format, so its steps never change.
struct StateHasher: Equatable, Sendable {
    /// The hash so far.
    private(set) var value: UInt64

    init(_ value: UInt64 = 0x6d61_7274_6c65_7431) {
        self.value = value
    }

    /// Adds eight bytes.
    @inline(__always)
    mutating func combine(_ word: UInt64) {
        let product = (value ^ word).multipliedFullWidth(by: 0x9e37_79b9_7f4a_7c15)
        value = product.high ^ product.low &+ 0x2545_f491_4f6c_dd1d
    }

    /// Adds a number.
    @inline(__always)
    mutating func combine(_ number: Int64) {
        combine(UInt64(bitPattern: number))
    }

    /// Adds bytes and their count.
    @inline(__always)
    mutating func combine(_ bytes: UnsafeRawBufferPointer) {
        combine(UInt64(bytes.count))
        var offset = 0
        // Each load is within the buffer by the loop's condition.
        while offset &+ 8 <= bytes.count {
            combine(
                UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)))
            offset &+= 8
        }
        if offset < bytes.count {
            var last: UInt64 = 0
            var shift: UInt64 = 0
            while offset < bytes.count {
                last |= UInt64(bytes[offset]) << shift
                shift &+= 8
                offset &+= 1
            }
            combine(last)
        }
    }

    /// Adds all that one change of a key means.
    mutating func combine(_ version: VersionStorage) {
        combine(version.modRevision)
        combine(version.createRevision)
        combine(version.version)
        combine(version.lease)
        combine(UInt64(version.keyLength))
        version.withContents { combine($0) }
    }
}
