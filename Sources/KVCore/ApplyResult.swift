import EtcdWire

/// What a put did.
public struct PutOutcome: Sendable {
    /// The key-value as it was, if the request asked for it and there was one.
    public let previous: KeyVersion?
    /// The revision the response's own header carries inside a transaction.
    let revision: Int64
}

/// What a range read.
public struct RangeOutcome: Sendable {
    /// The key-values, in the order asked for.
    public internal(set) var versions: [KeyVersion]
    /// Whether `limit` cut something off.
    public internal(set) var more: Bool
    /// Keys in the range, regardless of `limit` and the revision filters.
    public let count: Int64
    /// Whether values are left out of the response.
    public let keysOnly: Bool
    /// The store's revision when the range ran.
    public let revision: Int64
}

/// What a deletion deleted.
public struct DeleteRangeOutcome: Sendable {
    /// Keys deleted.
    public let deleted: Int64
    /// The deleted key-values, if the request asked for them.
    public let previous: [KeyVersion]
    /// The revision the response's own header carries inside a transaction.
    let revision: Int64
}

/// What a transaction did.
public struct TxnOutcome: Sendable {
    /// Whether every compare held.
    public let succeeded: Bool
    /// One outcome per operation of the branch taken.
    public let responses: [OperationOutcome]
}

/// What one operation of a transaction did.
public enum OperationOutcome: Sendable {
    /// A range.
    case range(RangeOutcome)
    /// A put.
    case put(PutOutcome)
    /// A deletion.
    case deleteRange(DeleteRangeOutcome)
    /// A transaction inside the transaction.
    case txn(TxnOutcome)
}

/// What applying one entry did: all that its response needs, holding versions by reference.
public struct ApplyResult: Sendable {
    /// What happened, by kind of entry.
    public enum Outcome: Sendable {
        /// A no-op.
        case nothing
        /// A put.
        case put(PutOutcome)
        /// A deletion.
        case deleteRange(DeleteRangeOutcome)
        /// A transaction.
        case txn(TxnOutcome)
        /// A compaction to `compactedRevision`.
        case compact(compactedRevision: Int64)
        /// A granted lease.
        case leaseGrant(LeaseInfo)
        /// A revoked lease.
        case leaseRevoke(id: Int64)
        /// Remaining times were recorded for these leases; unknown ones were passed over.
        case leaseCheckpoint([LeaseInfo])
        /// These leases expired; those already gone were passed over.
        case leaseExpiry(ids: [Int64])
        /// An expiry proposed in another term: it had no effect.
        case leaseExpiryVoid
        /// The members changed.
        case configuration
        /// A member's attributes changed.
        case memberAttributes(id: UInt64)
        /// A check failed and nothing changed.
        case failure(EtcdError)
    }

    /// What happened.
    public let outcome: Outcome
    /// The store's revision after the entry, for the response's header.
    public let revision: Int64
}
