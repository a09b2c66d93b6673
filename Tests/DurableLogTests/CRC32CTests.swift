import TestSupport
import Testing

@testable import DurableLog

/// The checksum, by the processor's instruction and by tables.
struct CRC32CTests {
    @Test("the published check value")
    func checkValue() {
        #expect(CRC32C.checksum("123456789".utf8) == 0xE306_9283)
        #expect(CRC32C.checksum([]) == 0)
    }

    @Test("the instruction and the tables agree, at any length, alignment and seed")
    func bothWays() {
        var random = Seeded(seed: 7)
        let bytes = (0..<300).map { _ in UInt8.random(in: 0...255, using: &random) }
        for start in 0..<9 {
            for end in start..<bytes.count {
                let seed = UInt32.random(in: 0...UInt32.max, using: &random)
                let (fast, byTables) = bytes.withUnsafeBytes { whole in
                    let part = UnsafeRawBufferPointer(rebasing: whole[start..<end])
                    let byTables = CRC32C.extendByTables(seed, over: part)
                    return (CRC32C.extend(seed, over: part), byTables)
                }
                #expect(fast == byTables)
            }
        }
    }

    @Test("they agree on inputs so long that the instruction works on several rows at once")
    func longInputs() {
        var random = Seeded(seed: 8)
        let bytes = random.bytes(10_000)
        for _ in 0..<500 {
            let start = random.below(64)
            let end = start + random.below(bytes.count - start)
            let seed = UInt32.random(in: 0...UInt32.max, using: &random)
            let (fast, byTables) = bytes.withUnsafeBytes { whole in
                let part = UnsafeRawBufferPointer(rebasing: whole[start..<end])
                return (
                    CRC32C.extend(seed, over: part), CRC32C.extendByTables(seed, over: part)
                )
            }
            #expect(fast == byTables)
        }
    }

    @Test("a sum over parts is the sum over the whole")
    func parts() {
        let bytes = [UInt8](0..<200)
        let head = CRC32C.checksum(bytes[..<77])
        #expect(CRC32C.checksum(bytes[77...], seed: head) == CRC32C.checksum(bytes))
    }
}
