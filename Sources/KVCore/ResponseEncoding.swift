import EtcdWire

extension VersionStorage {
    var numbers: KeyValueNumbers {
        KeyValueNumbers(
            createRevision: createRevision, modRevision: modRevision, version: version,
            lease: lease)
    }

    /// Appends the version as a field of type `mvccpb.KeyValue`, straight from where it is kept.
    func appendKeyValue(_ field: UInt8, keysOnly: Bool = false, to out: inout [UInt8]) {
        withKey { key in
            withValue { value in
                let shown = keysOnly ? UnsafeRawBufferPointer(start: nil, count: 0) : value
                WireWriter.appendKeyValue(field, key: key, value: shown, numbers, to: &out)
            }
        }
    }
}

extension RangeOutcome {
    /// Bytes that `encodeResponse` appends at most, to reserve room before it.
    public var encodedSizeBound: Int {
        versions.reduce(96) { size, version in
            let value = keysOnly ? 0 : version.storage.valueLength
            return size
                + RangeResponse.keyValueFieldSize(
                    keyCount: version.storage.keyLength, valueCount: value, version.storage.numbers)
        }
    }

    /// Appends the `RangeResponse`. The header's revision is the store's when the range ran,
    /// whatever the one given.
    public func encodeResponse(_ header: ResponseHeader, into out: inout [UInt8]) {
        var header = header
        header.revision = revision
        header.appendField(to: &out)
        for version in versions {
            version.storage.appendKeyValue(2, keysOnly: keysOnly, to: &out)
        }
        RangeResponse.appendTail(more: more, count: count, to: &out)
    }
}

extension Store {
    /// The whole answer to a request for one key as it is now; nil for any other request. Most
    /// requests are of this kind, and what ranges need besides, a list of versions and their order,
    /// took half of what it costs to serve one. The header's revision is this state's, whatever the
    /// one given.
    public func encodePoint(
        _ request: RangeRequest, header: ResponseHeader
    ) throws(EtcdError) -> [UInt8]? {
        guard request.asksForOneKeyNow else { return nil }
        try Validation.check(request)
        var header = header
        header.revision = revision
        return request.key.withUnsafeBytes { key in
            tree.withVersion(key) { [header] version in
                guard let version, !version.isTombstone else {
                    return RangeResponse.encodeEmpty(header)
                }
                return version.withValue { value in
                    let shown =
                        request.keysOnly ? UnsafeRawBufferPointer(start: nil, count: 0) : value
                    return RangeResponse.encode(header, key: key, value: shown, version.numbers)
                }
            }
        }
    }
}

extension RangeRequest {
    /// Whether nothing but the key, and whether its value is wanted, has a say in the answer.
    fileprivate var asksForOneKeyNow: Bool {
        rangeEnd.isEmpty && revision <= 0 && !countOnly && minModRevision == 0
            && maxModRevision == 0 && minCreateRevision == 0 && maxCreateRevision == 0
    }
}

extension PutOutcome {
    func append(_ header: ResponseHeader, to out: inout [UInt8]) {
        PutResponse.append(header, to: &out)
        previous?.storage.appendKeyValue(2, to: &out)
    }
}

extension DeleteRangeOutcome {
    func append(_ header: ResponseHeader, to out: inout [UInt8]) {
        DeleteRangeResponse.append(header, deleted: deleted, to: &out)
        for version in previous { version.storage.appendKeyValue(3, to: &out) }
    }
}

extension TxnOutcome {
    /// Appends the `TxnResponse`.
    public func encodeResponse(_ header: ResponseHeader, into out: inout [UInt8]) {
        TxnResponse.append(header, succeeded: succeeded, to: &out)
        // Puts that don't say what was there before are answered alike. Encoded once, they spare a
        // transaction of four puts 1,100 instructions.
        var plainPut: (revision: Int64, bytes: [UInt8])?
        for response in responses {
            guard case .put(let put) = response, put.previous == nil else {
                response.append(to: &out)
                continue
            }
            if let plainPut, plainPut.revision == put.revision {
                out += plainPut.bytes
            } else {
                let start = out.count
                response.append(to: &out)
                plainPut = (put.revision, Array(out[start...]))
            }
        }
    }
}

extension OperationOutcome {
    /// Appends one element of `responses`. The headers inside a transaction carry the revision
    /// alone, that of a nested transaction nothing at all, as etcd sends them.
    fileprivate func append(to out: inout [UInt8]) {
        switch self {
        case .range(let range):
            let operation = TxnResponse.beginOperation(.range, to: &out)
            range.encodeResponse(ResponseHeader(), into: &out)
            TxnResponse.endOperation(operation, to: &out)
        case .put(let put):
            let operation = TxnResponse.beginOperation(.put, to: &out)
            put.append(ResponseHeader(revision: put.revision), to: &out)
            TxnResponse.endOperation(operation, to: &out)
        case .deleteRange(let deletion):
            let operation = TxnResponse.beginOperation(.deleteRange, to: &out)
            deletion.append(ResponseHeader(revision: deletion.revision), to: &out)
            TxnResponse.endOperation(operation, to: &out)
        case .txn(let txn):
            let operation = TxnResponse.beginOperation(.txn, to: &out)
            txn.encodeResponse(ResponseHeader(), into: &out)
            TxnResponse.endOperation(operation, to: &out)
        }
    }
}

extension ApplyResult {
    /// What `encodeResponse` has to offer.
    public enum EncodeResponseResult: Equatable, Sendable {
        /// The response was appended.
        case encoded
        /// Nothing was appended: the call fails with this error.
        case failed(EtcdError)
        /// Nothing was appended: entries of this kind answer no call by themselves.
        case noResponse
    }

    /// Appends the response message of the call that proposed this entry. The header's revision is
    /// the one after the entry, whatever the one given.
    public func encodeResponse(
        _ header: ResponseHeader, into out: inout [UInt8]
    ) -> EncodeResponseResult {
        var header = header
        header.revision = revision
        switch outcome {
        case .failure(let error): return .failed(error)
        case .nothing, .leaseCheckpoint, .leaseExpiry, .leaseExpiryVoid, .configuration,
            .memberAttributes:
            return .noResponse
        case .put(let put): put.append(header, to: &out)
        case .deleteRange(let deletion): deletion.append(header, to: &out)
        case .txn(let txn):
            // A put's part takes less, unless it says what was there before.
            out.reserveCapacity(header.fieldSize + 2 + 24 * txn.responses.count)
            txn.encodeResponse(header, into: &out)
        case .compact: CompactionResponse.append(header, to: &out)
        case .leaseGrant(let lease):
            LeaseGrantResponse.append(
                header, id: lease.id, ttl: lease.grantedSeconds, to: &out)
        case .leaseRevoke: LeaseRevokeResponse.append(header, to: &out)
        }
        return .encoded
    }
}

extension EtcdError {
    /// A committed entry whose request can't be read: refused when proposed, and if one gets into
    /// the log nevertheless it fails alike on every member.
    static let malformedEntry = EtcdError(
        code: .internal, message: "martlet: the log entry's request can't be read")
}
