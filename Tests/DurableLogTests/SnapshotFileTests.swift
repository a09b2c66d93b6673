import DurableLog
import Testing

@Suite("Snapshot files")
struct SnapshotFileTests {
    let base = LogBase(index: 9, term: 2, chain: 77, configuration: [1, 2, 3, 4])
    let content: [[UInt8]] = [
        (0..<3_000).map { UInt8(truncatingIfNeeded: $0 / 7) }, [1], Array(repeating: 0, count: 200),
    ]

    func file() -> [UInt8] {
        var writer = SnapshotFileWriter()
        var bytes = writer.header(base: base, clusterID: 5)
        for piece in content { bytes += writer.frame(piece) }
        return bytes + writer.end()
    }

    func read(_ bytes: [UInt8], pieces: Int = .max) throws(SnapshotError) -> (LogBase?, [[UInt8]]) {
        var reader = SnapshotFileReader(clusterID: 5)
        var found: [[UInt8]] = []
        var offset = 0
        while offset < bytes.count {
            let end = min(bytes.count, offset + min(pieces, bytes.count))
            try reader.feed(Array(bytes[offset..<end])) { piece in found.append(piece) }
            offset = end
        }
        try reader.finish()
        return (reader.base, found)
    }

    @Test("come back the same, in pieces of any size", arguments: [1, 7, 500, Int.max])
    func roundTrip(pieces: Int) throws {
        let (readBase, found) = try read(file(), pieces: pieces)
        #expect(readBase == base)
        #expect(found == content)
    }

    @Test("one of another format version is refused by name", arguments: [1, 3] as [UInt8])
    func otherVersion(version: UInt8) {
        var bytes = file()
        bytes[8] = version
        #expect(throws: SnapshotError.unsupportedVersion(UInt32(version))) { try read(bytes) }
    }

    @Test("every flipped bit is noticed")
    func flips() {
        let bytes = file()
        for offset in bytes.indices {
            var damaged = bytes
            damaged[offset] ^= 4
            #expect(throws: SnapshotError.self) { _ = try read(damaged) }
        }
    }

    @Test("every missing end is noticed")
    func truncations() {
        let bytes = file()
        for count in 1..<bytes.count {
            #expect(throws: SnapshotError.self) { _ = try read(Array(bytes[..<count])) }
        }
    }

    @Test("another cluster's is refused")
    func foreign() {
        var reader = SnapshotFileReader(clusterID: 6)
        #expect(throws: SnapshotError.foreign(clusterID: 5)) {
            try reader.feed(file()) { _ in }
        }
    }
}
