import DurableLog

/// The outer part of a snapshot file.
enum SnapshotContainer {
    /// Verifies the container and returns what is in it.
    static func body(
        of content: [UInt8], _ clusterID: UInt64, file: String
    ) throws(CommandFailure) -> [UInt8] {
        var reader = SnapshotFileReader(clusterID: clusterID)
        var body: [UInt8] = []
        do throws(SnapshotError) {
            try reader.feed(content) { (piece) throws(SnapshotError) in body += piece }
            try reader.finish()
        } catch {
            throw CommandFailure("\(file) \(error)")
        }
        return body
    }
}
