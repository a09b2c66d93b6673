import CCRC32C

/// CRC-32C (Castagnoli), eight bytes a step: by the processor's instruction where there is one, else
/// by tables.
///
/// A put of 256 bytes is summed up seven times in a cluster of three (log and frames). That took
/// 1,430 instructions each by tables, and takes 140 by the instruction (`valgrind --tool=callgrind`).
public enum CRC32C {
    private static let isInHardware = martlet_crc32c_prepare()

    private static let tables: [UInt32] = {
        var tables = [UInt32](repeating: 0, count: 8 * 256)
        for byte in 0..<256 {
            var crc = UInt32(byte)
            for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0x82F6_3B78 : crc >> 1 }
            tables[byte] = crc
        }
        for slice in 1..<8 {
            for byte in 0..<256 {
                let previous = tables[(slice - 1) * 256 + byte]
                tables[slice * 256 + byte] = previous >> 8 ^ tables[Int(previous & 0xFF)]
            }
        }
        return tables
    }()

    /// Extends a checksum (zero for none) over more bytes.
    public static func extend(_ checksum: UInt32, over bytes: UnsafeRawBufferPointer) -> UInt32 {
        guard isInHardware else { return extendByTables(checksum, over: bytes) }
        return martlet_crc32c_extend(checksum, bytes.baseAddress, bytes.count)
    }

    /// What `extend` does on a processor without the instruction.
    static func extendByTables(
        _ checksum: UInt32, over bytes: UnsafeRawBufferPointer
    ) -> UInt32 {
        // Both pointers are used inside the closures only, within the bounds checked here.
        tables.withUnsafeBufferPointer { table in
            var crc = ~checksum
            var offset = 0
            while bytes.count - offset >= 8 {
                let word = UInt64(
                    littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
                let low = UInt32(truncatingIfNeeded: word) ^ crc
                let high = UInt32(truncatingIfNeeded: word >> 32)
                crc =
                    table[7 * 256 + Int(low & 0xFF)] ^ table[6 * 256 + Int(low >> 8 & 0xFF)]
                    ^ table[5 * 256 + Int(low >> 16 & 0xFF)] ^ table[4 * 256 + Int(low >> 24)]
                crc ^=
                    table[3 * 256 + Int(high & 0xFF)] ^ table[2 * 256 + Int(high >> 8 & 0xFF)]
                    ^ table[1 * 256 + Int(high >> 16 & 0xFF)] ^ table[Int(high >> 24)]
                offset += 8
            }
            while offset < bytes.count {
                crc = crc >> 8 ^ table[Int((crc ^ UInt32(bytes[offset])) & 0xFF)]
                offset += 1
            }
            return ~crc
        }
    }

    /// The checksum of some bytes, extending `seed`.
    public static func checksum(_ bytes: some Sequence<UInt8>, seed: UInt32 = 0) -> UInt32 {
        if let whole = bytes.withContiguousStorageIfAvailable({
            extend(seed, over: UnsafeRawBufferPointer($0))
        }) {
            return whole
        }
        return [UInt8](bytes).withUnsafeBytes { extend(seed, over: $0) }
    }
}
