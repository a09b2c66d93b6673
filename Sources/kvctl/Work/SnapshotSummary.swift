import EtcdWire
import KVClient
import KVCore

/// What a snapshot file holds, after all of it has been verified: the SHA-256 of a download, the
/// checksums of the container, the hashes of the body.
struct SnapshotSummary: Equatable {
    /// The hash over everything that was ever applied; equal on all members.
    let hash: UInt64
    let revision: Int64
    let keyCount: Int
    let byteCount: Int
    /// False for a file from a data directory, which has no SHA-256 at its end.
    let hasDownloadHash: Bool

    /// Where the container names its cluster: behind an eight-byte mark and a version of four.
    private static let clusterIDOffset = 12
    private static let hashByteCount = 32

    init(file: String) throws(CommandFailure) {
        let bytes = try FileIO.read(file)
        var verifier = SnapshotVerifier()
        verifier.take(bytes)
        hasDownloadHash = verifier.isValid
        let content =
            verifier.isValid ? Array(bytes.dropLast(Self.hashByteCount)) : bytes
        guard content.count >= Self.clusterIDOffset + 8 else {
            throw CommandFailure("\(file) is no snapshot: it has only \(bytes.count) bytes")
        }
        var clusterID: UInt64 = 0
        for byte in content[Self.clusterIDOffset..<Self.clusterIDOffset + 8].reversed() {
            clusterID = clusterID << 8 | UInt64(byte)
        }
        let body = try SnapshotContainer.body(of: content, clusterID, file: file)
        do throws(SnapshotError) {
            var decoder = SnapshotDecoder()
            try decoder.feed(body)
            let store = try decoder.finish()
            hash = store.stateHash
            revision = store.revision
            keyCount = Self.liveKeyCount(store)
        } catch {
            throw CommandFailure("\(file) is damaged: \(error)")
        }
        byteCount = bytes.count
    }

    /// Keys that exist at the snapshot's revision; the store counts deleted ones with history, too.
    private static func liveKeyCount(_ store: borrowing Store) -> Int {
        var everything = RangeRequest()
        everything.key = [0]
        everything.rangeEnd = [0]
        everything.countOnly = true
        do throws(EtcdError) {
            return Int(try store.range(everything).count)
        } catch {
            preconditionFailure("counting all keys can't be refused: \(error)")
        }
    }
}

extension Printer {
    func snapshot(_ summary: SnapshotSummary) -> [UInt8] {
        let hash = String(summary.hash, radix: 16)
        let row = [
            hash, "\(summary.revision)", "\(summary.keyCount)",
            Self.size(Int64(summary.byteCount)),
        ]
        switch format {
        case .simple: return Array((row.joined(separator: ", ") + "\n").utf8)
        case .table:
            var table = Table(["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE"])
            table.add(row)
            return Array(table.text.utf8)
        case .json:
            return jsonLine(
                .object([
                    ("hash", .string(hash)), ("revision", .integer(summary.revision)),
                    ("totalKey", .integer(Int64(summary.keyCount))),
                    ("totalSize", .integer(Int64(summary.byteCount))),
                ]))
        }
    }
}
