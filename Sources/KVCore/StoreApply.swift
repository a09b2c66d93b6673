import EtcdWire

extension Store {
    /// Applies the committed entry at `index`.
    ///
    /// Total: whatever the entry contains, the answer is an outcome, and one that is a failure
    /// changed nothing. Every change of a key is in the history then, in order.
    public mutating func apply(
        _ envelope: Envelope, index: UInt64, term: UInt64
    ) -> ApplyResult {
        precondition(index > appliedIndex && term >= appliedTerm, "entries are applied in order")
        appliedIndex = index
        appliedTerm = term
        let outcome: ApplyResult.Outcome
        do throws(EtcdError) {
            outcome = try perform(envelope.kind, envelope.body, term: term)
        } catch {
            precondition(pendingChanges == 0, "a failed check leaves no change behind")
            outcome = .failure(error)
        }
        return ApplyResult(outcome: outcome, revision: revision)
    }

    private mutating func perform(
        _ kind: EntryKind, _ body: ArraySlice<UInt8>, term: UInt64
    ) throws(EtcdError) -> ApplyResult.Outcome {
        switch kind {
        case .noop:
            return .nothing
        case .put:
            let request = try decoding { () throws(WireError) in try PutRequest(decoding: body) }
            return .put(try applyPut(request))
        case .deleteRange:
            let request = try decoding { () throws(WireError) in
                try DeleteRangeRequest(decoding: body)
            }
            try Validation.check(request)
            let outcome = deleteRange(request)
            finishRevision()
            return .deleteRange(outcome)
        case .txn:
            let request = try decoding { () throws(WireError) in try TxnRequest(decoding: body) }
            return .txn(try applyTxn(request))
        case .compact:
            let request = try decoding { () throws(WireError) in
                try CompactionRequest(decoding: body)
            }
            return try applyCompaction(request)
        case .leaseGrant:
            let request = try decoding { () throws(WireError) in
                try LeaseGrantRequest(decoding: body)
            }
            return try applyGrant(request)
        case .leaseRevoke:
            let request = try decoding { () throws(WireError) in
                try LeaseRevokeRequest(decoding: body)
            }
            guard leases[request.id] != nil else { throw .leaseNotFound }
            revoke(request.id)
            return .leaseRevoke(id: request.id)
        case .leaseCheckpoint:
            guard let checkpoint = LeaseCheckpoint.decode(body) else { throw .malformedEntry }
            return .leaseCheckpoint(apply(checkpoint))
        case .leaseExpiry:
            guard let expiry = LeaseExpiry.decode(body) else { throw .malformedEntry }
            guard expiry.term == term else { return .leaseExpiryVoid }
            let ids = expiry.ids.filter { leases[$0] != nil }
            for id in ids where leases[id] != nil { revoke(id) }
            return .leaseExpiry(ids: ids)
        case .memberAttributes:
            guard let attributes = MemberAttributes.decode(body) else { throw .malformedEntry }
            guard membership.apply(attributes) else { throw .memberNotFound }
            combine(kind, body)
            return .memberAttributes(id: attributes.id)
        case .configuration:
            guard let record = MembershipRecord.decode(body) else { throw .malformedEntry }
            membership.apply(record)
            combine(kind, body)
            return .configuration
        case .alarm, .auth, .clusterVersion:
            // `Envelope.init(decoding:)` refuses them, so none is ever applied.
            throw .notCapable
        }
    }

    /// A committed request that can't be read fails alike on every member: it was read completely
    /// before it was proposed, so only a proposer of another kind can cause it.
    private func decoding<Request>(
        _ read: () throws(WireError) -> Request
    ) throws(EtcdError) -> Request {
        do throws(WireError) { return try read() } catch { throw .malformedEntry }
    }

    // MARK: Changes of keys

    // What it calls is inlined: a store that is being changed is lent to a method as a copy.
    private mutating func applyPut(_ request: PutRequest) throws(EtcdError) -> PutOutcome {
        try Validation.check(request)
        if request.lease != 0 && leases[request.lease] == nil { throw .leaseNotFound }
        try checkQuota(adding: cost(of: request, keeping: try versionKept(by: request)))
        let outcome = put(request)
        finishRevision()
        return outcome
    }

    /// The present version of a key whose value or lease a put keeps. One that brings both is looked
    /// up when it is carried out: to find a key is the largest part of what a put costs the map.
    @inline(__always)
    func versionKept(by request: PutRequest) throws(EtcdError) -> VersionStorage? {
        guard request.ignoreValue || request.ignoreLease else { return nil }
        guard let old = current(request.key) else { throw .keyNotFound }
        return old
    }

    @inline(__always)
    func cost(of request: PutRequest, keeping old: VersionStorage?) -> UInt64 {
        let value = request.ignoreValue ? (old?.valueLength ?? 0) : request.value.count
        return UInt64(request.key.count + value) + StoreLimits.versionOverheadBytes
    }

    @inline(__always)
    func checkQuota(adding bytes: UInt64) throws(EtcdError) {
        guard logicalBytes + bytes <= limits.quotaBytes else { throw .noSpace }
    }

    /// The key's present version, nil if it doesn't exist.
    @inline(__always)
    func current(_ key: ArraySlice<UInt8>) -> VersionStorage? {
        key.withUnsafeBytes { bytes in
            guard let head = tree.find(bytes), !head.isTombstone else { return nil }
            return head
        }
    }

    /// The revision that the next change belongs to.
    var openRevision: Int64 { revision + 1 }

    /// The revision a response inside the running transaction carries.
    var visibleRevision: Int64 { pendingChanges > 0 ? openRevision : revision }

    /// Closes the revision if it changed anything.
    mutating func finishRevision() {
        guard pendingChanges > 0 else { return }
        revision += 1
        pendingChanges = 0
    }

    /// Puts a key whose checks have passed.
    mutating func put(_ request: PutRequest) -> PutOutcome {
        let (revision, subRevision) = (openRevision, pendingChanges)
        let place = request.key.withUnsafeBytes { tree.locate($0) }
        let version = tree.withVersion(at: place) { head in
            VersionStorage.make(
                request, revision: revision, subRevision: subRevision,
                replacing: head?.isTombstone == false ? head : nil)
        }
        let replaced = tree.put(version, at: place)
        let old = replaced?.isTombstone == false ? replaced : nil
        if let old, old.lease != 0, old.lease != version.lease {
            leasedKeys.remove(positionOf: old)
        }
        if version.lease != 0 { leasedKeys.upsert(version) }
        let previous = request.prevKV ? old.map(KeyVersion.init) : nil
        record(version, replacing: replaced)
        return PutOutcome(previous: previous, revision: revision)
    }

    /// Deletes the keys of a range.
    mutating func deleteRange(_ request: DeleteRangeRequest) -> DeleteRangeOutcome {
        let range = KeyRange(key: request.key, rangeEnd: request.rangeEnd)
        var victims: [VersionStorage] = []
        reader.visit(range, at: .max) { version in
            victims.append(version)
            return true
        }
        for victim in victims { delete(victim) }
        return DeleteRangeOutcome(
            deleted: Int64(victims.count),
            previous: request.prevKV ? victims.map(KeyVersion.init) : [],
            revision: visibleRevision)
    }

    /// Leaves a deletion in the place of a key's present version.
    private mutating func delete(_ old: VersionStorage) {
        let tombstone = old.withKey { key in
            VersionStorage.make(
                createRevision: 0, modRevision: openRevision, version: 0, lease: 0,
                subRevision: pendingChanges, key: key,
                value: UnsafeRawBufferPointer(start: nil, count: 0))
        }
        if old.lease != 0 { leasedKeys.remove(positionOf: old) }
        record(tombstone, replacing: tree.upsert(tombstone))
    }

    /// Accounts for a change, links it to the version that it replaced, and appends it to the history.
    private mutating func record(
        _ version: consuming VersionStorage, replacing replaced: consuming VersionStorage?
    ) {
        let reclaimable = History.reclaimable(by: version, replacing: replaced)
        version.follow(consume replaced)
        versionBytes += version.logicalBytes
        pendingChanges += 1
        hasher.combine(version)
        history.append(consume version, reclaiming: reclaimable)
    }

    // MARK: Compaction

    private mutating func applyCompaction(
        _ request: CompactionRequest
    ) throws(EtcdError) -> ApplyResult.Outcome {
        guard request.revision > compactedRevision else { throw .compacted }
        guard request.revision <= revision else { throw .futureRevision }
        compactedRevision = request.revision
        let reclaimed = history.reclaimed(through: compactedRevision)
        versionBytes -= reclaimed - reclaimedBytes
        reclaimedBytes = reclaimed
        hasher.combine(UInt64(EntryKind.compact.rawValue))
        hasher.combine(compactedRevision)
        return .compact(compactedRevision: compactedRevision)
    }

    // MARK: Leases

    private mutating func applyGrant(
        _ request: LeaseGrantRequest
    ) throws(EtcdError) -> ApplyResult.Outcome {
        try Validation.check(request)
        // The proposer has chosen an id and raised the TTL to its smallest.
        guard request.id != 0, request.ttl > 0 else { throw .malformedEntry }
        guard leases[request.id] == nil else { throw .leaseExists }
        try checkQuota(adding: StoreLimits.leaseBytes)
        let lease = LeaseInfo(id: request.id, grantedSeconds: request.ttl)
        leases[request.id] = lease
        combine(lease, as: .leaseGrant)
        return .leaseGrant(lease)
    }

    /// Forgets a lease and deletes its keys, in order and in one revision.
    private mutating func revoke(_ id: Int64) {
        var victims: [VersionStorage] = []
        visitKeys(ofLease: id) { version in
            victims.append(version)
            return true
        }
        for victim in victims { delete(victim) }
        finishRevision()
        if let lease = leases[id] { combine(lease, as: .leaseRevoke) }
        leases[id] = nil
    }

    private mutating func apply(_ checkpoint: LeaseCheckpoint) -> [LeaseInfo] {
        var updated: [LeaseInfo] = []
        for item in checkpoint.items {
            guard var lease = leases[item.id] else { continue }
            lease.remainingSeconds = min(max(0, item.remainingSeconds), lease.grantedSeconds)
            leases[item.id] = lease
            combine(lease, as: .leaseCheckpoint)
            updated.append(lease)
        }
        return updated
    }

    // MARK: State hash

    private mutating func combine(_ lease: LeaseInfo, as kind: EntryKind) {
        hasher.combine(UInt64(kind.rawValue))
        hasher.combine(lease.id)
        hasher.combine(lease.grantedSeconds)
        hasher.combine(lease.remainingSeconds)
    }

    private mutating func combine(_ kind: EntryKind, _ body: ArraySlice<UInt8>) {
        hasher.combine(UInt64(kind.rawValue))
        body.withUnsafeBytes { hasher.combine($0) }
    }
}

extension History {
    /// Logical bytes that a compaction covering `version` gives back: those of what it replaced,
    /// unless that is a deletion, which gives back its own.
    static func reclaimable(
        by version: VersionStorage, replacing replaced: VersionStorage?
    ) -> UInt64 {
        let replacedBytes = replaced.map { $0.isTombstone ? 0 : $0.logicalBytes } ?? 0
        return replacedBytes + (version.isTombstone ? version.logicalBytes : 0)
    }
}

extension VersionStorage {
    /// The version that a put makes of a key's present one, which it isn't linked to yet.
    fileprivate static func make(
        _ request: PutRequest, revision: Int64, subRevision: UInt32, replacing old: VersionStorage?
    ) -> VersionStorage {
        request.key.withUnsafeBytes { key in
            func make(_ value: UnsafeRawBufferPointer) -> VersionStorage {
                VersionStorage.make(
                    createRevision: old?.createRevision ?? revision, modRevision: revision,
                    version: (old?.version ?? 0) + 1,
                    lease: request.ignoreLease ? (old?.lease ?? 0) : request.lease,
                    subRevision: subRevision, key: key, value: value)
            }
            if request.ignoreValue, let old { return old.withValue(make) }
            return request.value.withUnsafeBytes(make)
        }
    }
}
