import Crypto
import Testing

@testable import KVClient

@Suite("The hash at a snapshot's end")
struct SnapshotVerifierTests {
    private func isValid(_ bytes: [UInt8], pieces: Int) -> Bool {
        var verifier = SnapshotVerifier()
        for start in stride(from: 0, to: bytes.count, by: pieces) {
            verifier.take(Array(bytes[start..<min(start + pieces, bytes.count)]))
        }
        return verifier.isValid
    }

    @Test(
        "bytes with their SHA-256 behind them verify, however they are cut", arguments: [1, 7, 500])
    func valid(pieces: Int) {
        let content = (0..<300).map { UInt8(truncatingIfNeeded: $0) }
        let whole = content + Array(SHA256.hash(data: content))
        #expect(isValid(whole, pieces: pieces))
    }

    @Test("a changed, a missing and an additional byte are found")
    func invalid() {
        let content: [UInt8] = [1, 2, 3]
        let whole = content + Array(SHA256.hash(data: content))
        #expect(!isValid([9] + whole.dropFirst(), pieces: 8))
        #expect(!isValid(Array(whole.dropLast()), pieces: 8))
        #expect(!isValid(whole + [0], pieces: 8))
        #expect(!isValid([], pieces: 8))
    }
}
