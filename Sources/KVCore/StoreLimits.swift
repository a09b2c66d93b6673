/// Bounds of a store.
///
/// Those that apply checks must be the same on every member, or the members would answer an entry
/// differently.
public struct StoreLimits: Equatable, Sendable {
    /// What each version counts towards the quota beyond its key and value bytes.
    public static let versionOverheadBytes: UInt64 = 96
    /// What each lease counts towards the quota.
    public static let leaseBytes: UInt64 = 64
    /// The longest time to live of a lease, in seconds (etcd's bound).
    public static let maximumLeaseSeconds: Int64 = 9_000_000_000

    /// Logical bytes from which on puts and grants are refused; deletions always go through.
    public var quotaBytes: UInt64

    /// Limits with etcd's default quota of 2 GiB.
    public init(quotaBytes: UInt64 = 2 << 30) {
        self.quotaBytes = quotaBytes
    }
}
