/// Reads what a single write put into the log, for a harness that keeps its own account of what is
/// on a member's disk.
package enum LogInspection {
    /// Whether a file holds a part of the log.
    package static func isSegment(_ file: String) -> Bool { SegmentName.number(file) != nil }

    /// The records of the batch that a write put into a segment; nil when the file is no segment
    /// or the bytes hold no batch that verifies.
    package static func records(
        in bytes: [UInt8], writtenTo file: String, directory: DirectoryID
    ) -> [LogRecord]? {
        guard let number = SegmentName.number(file) else { return nil }
        let seed = LogFormat.seed(segment: number, directory: directory)
        // The first write into a segment begins with the header sector.
        for offset in [0, LogFormat.sectorByteCount] {
            if let batch = BatchFrame.parse(bytes, at: offset, seed: seed) {
                return try? batch.records(in: bytes)
            }
        }
        return nil
    }
}
