/// Why a log can't be opened or can't go on. Every message names the file and what to do.
public enum LogError: Error, Equatable, Sendable, CustomStringConvertible {
    /// A disk call failed.
    case disk(DiskError)
    /// Bytes that were synced are damaged.
    case corrupt(file: String, offset: Int, reason: String)
    /// A file that must exist doesn't.
    case missing(file: String, reason: String)
    /// The directory belongs to another member or cluster.
    case foreign(file: String, reason: String)
    /// The files were written by another version.
    case unsupportedVersion(file: String, found: UInt32, supported: UInt32)

    /// The file, the cause and the remedy.
    public var description: String {
        switch self {
        case .disk(let error):
            switch error.kind {
            case .noSpace:
                "\(error); free space on the disk, then start the member again"
            case .missing, .tooShort, .system:
                "\(error); check the disk, then start the member again"
            }
        case .corrupt(let file, let offset, let reason):
            """
            \(file) is damaged at byte \(offset): \(reason); nothing was changed. Remove this \
            member from the cluster and add it again with an empty data directory
            """
        case .missing(let file, let reason):
            """
            \(file) is missing: \(reason); nothing was changed. Put the file back, or remove this \
            member from the cluster and add it again with an empty data directory
            """
        case .foreign(let file, let reason):
            "\(file): \(reason); check --data-dir, --name and --initial-cluster"
        case .unsupportedVersion(let file, let found, let supported):
            """
            \(file) has format version \(found), this program reads \(supported); start the \
            version that wrote it; to move its keys, without leases and history, use etcdctl make-mirror
            """
        }
    }
}
