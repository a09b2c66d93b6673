/// Reads what a single write put into the log, for a harness that keeps its own account of what is
/// on a member's disk.
package enum LogInspection {
    /// The records of the batch that a write put into a segment; nil when the file is no segment
    /// or the bytes hold no batch that verifies.
    package static func records(
        in bytes: [UInt8], writtenTo file: String, directory: DirectoryID
    ) -> [LogRecord]? {
        guard let number = SegmentName.number(file) else { return nil }
        let seed = LogFormat.seed(segment: number, directory: directory)
        return BatchFrame.parse(bytes, at: 0, seed: seed).flatMap { try? $0.records(in: bytes) }
    }
}
