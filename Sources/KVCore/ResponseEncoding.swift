import EtcdWire

/// Writes the responses of the etcd API straight from versions: no message objects in between.
enum ResponseEncoder {
    /// Appends a response's header (field 1 of every response).
    static func appendHeader(
        _ source: ResponseSource, revision: Int64, to out: inout [UInt8]
    ) {
        let size =
            WireWriter.uint64Size(1, source.clusterID) + WireWriter.uint64Size(2, source.memberID)
            + WireWriter.int64Size(3, revision) + WireWriter.uint64Size(4, source.raftTerm)
        WireWriter.appendMessageHead(1, size: size, to: &out)
        WireWriter.appendUInt64(1, source.clusterID, to: &out)
        WireWriter.appendUInt64(2, source.memberID, to: &out)
        WireWriter.appendInt64(3, revision, to: &out)
        WireWriter.appendUInt64(4, source.raftTerm, to: &out)
    }

    /// Appends the header of an operation inside a transaction, which carries the revision alone.
    private static func appendInnerHeader(revision: Int64, to out: inout [UInt8]) {
        WireWriter.appendMessageHead(1, size: WireWriter.int64Size(3, revision), to: &out)
        WireWriter.appendInt64(3, revision, to: &out)
    }

    /// Bytes of a version as `mvccpb.KeyValue`, without tag and length.
    static func keyValueSize(_ version: VersionStorage, keysOnly: Bool = false) -> Int {
        WireWriter.bytesSize(1, count: version.keyLength)
            + WireWriter.int64Size(2, version.createRevision)
            + WireWriter.int64Size(3, version.modRevision)
            + WireWriter.int64Size(4, version.version)
            + (keysOnly ? 0 : WireWriter.bytesSize(5, count: version.valueLength))
            + WireWriter.int64Size(6, version.lease)
    }

    /// Appends a version as a field of type `mvccpb.KeyValue`.
    ///
    /// Of a deletion only key and modification revision are there, as etcd sends it.
    static func appendKeyValue(
        _ field: UInt32, _ version: VersionStorage, keysOnly: Bool = false, to out: inout [UInt8]
    ) {
        let size = keyValueSize(version, keysOnly: keysOnly)
        WireWriter.appendMessageHead(field, size: size, to: &out)
        version.withKey { WireWriter.appendBytes(1, $0, to: &out) }
        WireWriter.appendInt64(2, version.createRevision, to: &out)
        WireWriter.appendInt64(3, version.modRevision, to: &out)
        WireWriter.appendInt64(4, version.version, to: &out)
        if !keysOnly { version.withValue { WireWriter.appendBytes(5, $0, to: &out) } }
        WireWriter.appendInt64(6, version.lease, to: &out)
    }

    static func appendBody(_ outcome: RangeOutcome, to out: inout [UInt8]) {
        for version in outcome.versions {
            appendKeyValue(2, version.storage, keysOnly: outcome.keysOnly, to: &out)
        }
        WireWriter.appendBool(3, outcome.more, to: &out)
        WireWriter.appendInt64(4, outcome.count, to: &out)
    }

    static func appendBody(_ outcome: PutOutcome, to out: inout [UInt8]) {
        if let previous = outcome.previous { appendKeyValue(2, previous.storage, to: &out) }
    }

    static func appendBody(_ outcome: DeleteRangeOutcome, to out: inout [UInt8]) {
        WireWriter.appendInt64(2, outcome.deleted, to: &out)
        for version in outcome.previous { appendKeyValue(3, version.storage, to: &out) }
    }

    static func appendBody(_ outcome: TxnOutcome, to out: inout [UInt8]) {
        WireWriter.appendBool(2, outcome.succeeded, to: &out)
        for response in outcome.responses {
            let operation = WireWriter.beginMessage(3, to: &out)
            append(response, to: &out)
            WireWriter.endMessage(operation, to: &out)
        }
    }

    /// Appends the one field of a `ResponseOp`.
    private static func append(_ outcome: OperationOutcome, to out: inout [UInt8]) {
        switch outcome {
        case .range(let range):
            let message = WireWriter.beginMessage(1, to: &out)
            appendInnerHeader(revision: range.revision, to: &out)
            appendBody(range, to: &out)
            WireWriter.endMessage(message, to: &out)
        case .put(let put):
            let message = WireWriter.beginMessage(2, to: &out)
            appendInnerHeader(revision: put.revision, to: &out)
            appendBody(put, to: &out)
            WireWriter.endMessage(message, to: &out)
        case .deleteRange(let deletion):
            let message = WireWriter.beginMessage(3, to: &out)
            appendInnerHeader(revision: deletion.revision, to: &out)
            appendBody(deletion, to: &out)
            WireWriter.endMessage(message, to: &out)
        case .txn(let txn):
            let message = WireWriter.beginMessage(4, to: &out)
            // etcd leaves the header of a nested transaction empty.
            appendInnerHeader(revision: 0, to: &out)
            appendBody(txn, to: &out)
            WireWriter.endMessage(message, to: &out)
        }
    }
}

extension RangeOutcome {
    /// Bytes that `encodeResponse` appends at most, to reserve room before it.
    public var encodedSizeEstimate: Int {
        versions.reduce(64) { size, version in
            size + 8 + ResponseEncoder.keyValueSize(version.storage, keysOnly: keysOnly)
        }
    }

    /// Appends the `RangeResponse`.
    public func encodeResponse(_ source: ResponseSource, into out: inout [UInt8]) {
        ResponseEncoder.appendHeader(source, revision: revision, to: &out)
        ResponseEncoder.appendBody(self, to: &out)
    }
}

extension TxnOutcome {
    /// Appends the `TxnResponse` of a transaction that only read, at the store's `revision`.
    public func encodeResponse(
        _ source: ResponseSource, revision: Int64, into out: inout [UInt8]
    ) {
        ResponseEncoder.appendHeader(source, revision: revision, to: &out)
        ResponseEncoder.appendBody(self, to: &out)
    }
}

extension ApplyResult {
    /// What `encodeResponse` has to offer.
    public enum EncodeResponseResult: Equatable, Sendable {
        /// The response was appended.
        case encoded
        /// Nothing was appended: the call fails with this error.
        case failed(EtcdError)
        /// Nothing was appended: entries of this kind answer no call of the etcd API by
        /// themselves.
        case noResponse
    }

    /// Appends the response message of the call that proposed this entry.
    public func encodeResponse(
        _ source: ResponseSource, into out: inout [UInt8]
    ) -> EncodeResponseResult {
        switch outcome {
        case .failure(let error): return .failed(error)
        case .nothing, .leaseCheckpoint, .leaseExpiry, .leaseExpiryVoid, .configuration,
            .memberAttributes:
            return .noResponse
        case .put, .deleteRange, .txn, .compact, .leaseGrant, .leaseRevoke: break
        }
        ResponseEncoder.appendHeader(source, revision: revision, to: &out)
        switch outcome {
        case .put(let put): ResponseEncoder.appendBody(put, to: &out)
        case .deleteRange(let deletion): ResponseEncoder.appendBody(deletion, to: &out)
        case .txn(let txn): ResponseEncoder.appendBody(txn, to: &out)
        case .leaseGrant(let lease):
            WireWriter.appendInt64(2, lease.id, to: &out)
            WireWriter.appendInt64(3, lease.grantedSeconds, to: &out)
        case .compact, .leaseRevoke, .nothing, .leaseCheckpoint, .leaseExpiry, .leaseExpiryVoid,
            .configuration, .memberAttributes, .failure:
            break
        }
        return .encoded
    }
}
