import Testing

@testable import KVCore

@Suite("The rolling hash")
struct RollingHashTests {
    private func hash(_ bytes: [UInt8]) -> UInt64 {
        var hash = RollingHash()
        bytes.withUnsafeBytes { hash.combine($0) }
        return hash.value
    }

    @Test(
        "its values are part of formats: who changes them raises their versions",
        arguments: [
            (0, 0xe74c3f8c7e8268ef), (7, 0xa5578ed3020544ee), (63, 0x09652c89db4d8063),
            (64, 0x696e604c82465dd8), (95, 0xbfc577d3cfedbcb9), (96, 0x303108cf91a4add2),
            (300, 0xe9a25c45fd3052c4),
        ] as [(Int, UInt64)])
    func values(count: Int, value: UInt64) {
        #expect(hash((0..<count).map { UInt8(truncatingIfNeeded: $0) }) == value)
    }

    @Test(
        "each bit counts, each count, and each place of a word",
        arguments: [1, 8, 31, 63, 64, 65, 96, 127, 128, 300])
    func everythingCounts(count: Int) {
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 * 7 + $0 / 8 + 1) }
        var hashes: Set = [hash(bytes), hash(bytes + [0]), hash([0] + bytes)]
        for bit in 0..<count * 8 {
            var changed = bytes
            changed[bit / 8] ^= 1 << (bit % 8)
            hashes.insert(hash(changed))
        }
        let words = count / 8
        for first in 0..<words {
            for second in first + 1..<max(first + 1, words) {
                var changed = bytes
                for offset in 0..<8 { changed.swapAt(first * 8 + offset, second * 8 + offset) }
                hashes.insert(hash(changed))
            }
        }
        #expect(hashes.count == 3 + count * 8 + words * (words - 1) / 2)
    }
}
