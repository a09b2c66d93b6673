/// Reads what a single write put into the log, for a harness that keeps its own account of what is
/// on a member's disk.
package enum LogInspection {
    /// A batch as it was written.
    package struct Batch {
        /// What it says, in order.
        package var records: [LogRecord]
        /// What it says is committed.
        package var commitIndex: UInt64

        /// Creates a batch.
        package init(records: [LogRecord], commitIndex: UInt64) {
            self.records = records
            self.commitIndex = commitIndex
        }
    }

    /// The batch that a write put into a segment; nil when the file is no segment or the bytes hold
    /// no batch that verifies.
    package static func batch(
        in bytes: [UInt8], writtenTo file: String, directory: DirectoryID
    ) -> Batch? {
        guard let number = SegmentName.number(file) else { return nil }
        let seed = LogFormat.seed(segment: number, directory: directory)
        guard let parsed = BatchFrame.parse(bytes, at: 0, seed: seed),
            let records = try? parsed.records(in: bytes)
        else { return nil }
        return Batch(records: records, commitIndex: parsed.commitIndex)
    }

    /// Whether a file is a segment of the log.
    package static func isSegment(_ file: String) -> Bool { SegmentName.number(file) != nil }
}
