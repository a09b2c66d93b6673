import EtcdMessages
import EtcdWire
import KVCore

/// Entries of a log, applied one after the other to a store; each behind its length.
public struct EntryTarget: FuzzTarget {
    /// See `FuzzTarget`.
    public let name = "entries"
    /// See `FuzzTarget`.
    public let summary = """
        committed entries with any content: applying is total, a failure changes nothing, two stores \
        stay equal, answers can be read, and the state survives a snapshot
        """

    /// A target for applied entries.
    public init() {}

    /// See `FuzzTarget`.
    public func seeds() -> [[UInt8]] {
        [Parts.join(StoreSeeds.entries)] + StoreSeeds.entries.map { Parts.join([$0, $0]) }
    }

    /// See `FuzzTarget`.
    public func mutate(_ input: [UInt8], _ mutator: inout Mutator) -> [UInt8] {
        var entries = Parts.split(input[...])
        let donor = mutator.other()
        mutator.rearrange(&entries, from: Parts.split(donor[...])) { entry, mutator in
            Self.change(&entry, &mutator)
        }
        return Parts.join(entries.prefix(40)).prefixArray(Mutator.maximumBytes)
    }

    /// Keeps the envelope most of the time.
    static func change(_ entry: inout [UInt8], _ mutator: inout Mutator) {
        guard entry.count > Envelope.headerBytes, !mutator.once(in: 6) else {
            entry = mutator.damage(entry)
            return
        }
        if mutator.once(in: 8) { entry[1] = UInt8(mutator.below(16)) }
        let body = Array(entry[Envelope.headerBytes...])
        let isProtobuf = entry[1] >= 1 && entry[1] <= 6
        entry =
            entry.prefixArray(Envelope.headerBytes)
            + (isProtobuf ? ProtobufTree.mutate(body, &mutator) : mutator.damage(body))
    }

    /// See `FuzzTarget`.
    public func run(_ input: [UInt8]) throws(PropertyBreach) -> Behaviour {
        var trace = BehaviourTrace()
        var store = Store(limits: StoreLimits(quotaBytes: 20_000), membership: LogSeeds.membership)
        var twin = Store(limits: StoreLimits(quotaBytes: 20_000), membership: LogSeeds.membership)
        var isAccepted = false
        for (position, bytes) in Parts.split(input[...]).enumerated() {
            guard let envelope = try? Envelope(decoding: bytes) else {
                trace.note("no envelope")
                continue
            }
            let again = Envelope.encode(
                kind: envelope.kind, origin: envelope.origin, authRevision: envelope.authRevision,
                user: envelope.user, body: envelope.body)
            try require(again == bytes, "an envelope is written back as it was read")
            let outcome = try Self.apply(envelope, UInt64(position + 1), &store)
            trace.note(outcome)
            isAccepted = isAccepted || !outcome.hasPrefix("failure")
            _ = try Self.apply(envelope, UInt64(position + 1), &twin)
            // What has been trimmed is nobody's business but the store's own.
            _ = twin.compactStep(budget: 3)
        }
        try Self.checkEqual(&store, &twin)
        let content = StoreSeeds.content(&store)
        try SnapshotContentTarget.check(&store, content)
        return Behaviour(isAccepted: isAccepted, trace)
    }

    /// Applies an entry and checks what must hold for it alone; returns the kind of outcome.
    private static func apply(
        _ envelope: Envelope, _ index: UInt64, _ store: inout Store
    ) throws(PropertyBreach) -> String {
        let before = (store.revision, store.stateHash, store.logicalBytes)
        let changesBefore = store.changeCount
        let result = store.apply(envelope, index: index, term: 1)
        let changeCount = store.changeCount - changesBefore
        var failure: String?
        if case .failure(let error) = result.outcome { failure = error.message }
        try EntryCheck(
            before: before, after: (store.revision, store.stateHash, store.logicalBytes),
            changeCount: changeCount, failure: failure
        ).check()
        var message: [UInt8] = []
        let header = ResponseHeader(
            clusterID: 1, memberID: 1, revision: store.revision, raftTerm: 1)
        _ = result.encodeResponse(header, into: &message)
        switch result.outcome {
        case .failure(let error): return "failure \(error.message)"
        case .put:
            try Answers.check(message, as: Etcdserverpb_PutResponse.self)
        case .deleteRange:
            try Answers.check(message, as: Etcdserverpb_DeleteRangeResponse.self)
        case .txn:
            try Answers.check(message, as: Etcdserverpb_TxnResponse.self)
        case .nothing, .compact, .leaseGrant, .leaseRevoke, .leaseCheckpoint, .leaseExpiry,
            .leaseExpiryVoid, .configuration, .memberAttributes:
            break
        }
        return "\(envelope.kind) \(changeCount.bitWidth - changeCount.leadingZeroBitCount)"
    }

    static func checkEqual(
        _ store: inout Store, _ twin: inout Store
    ) throws(PropertyBreach) {
        let isEqual =
            store.stateHash == twin.stateHash && store.logicalBytes == twin.logicalBytes
            && store.revision == twin.revision
        let contents = (StoreSeeds.content(&store), StoreSeeds.content(&twin))
        try require(
            isEqual && contents.0 == contents.1,
            "stores that applied the same entries are equal")
    }
}

/// What one entry did to a store.
struct EntryCheck {
    typealias State = (revision: Int64, hash: UInt64, bytes: UInt64)
    var before: State
    var after: State
    var changeCount: Int
    /// Why the entry failed, if it did.
    var failure: String?

    func check() throws(PropertyBreach) {
        try require(
            after.revision == before.revision + (changeCount == 0 ? 0 : 1),
            "a revision is made exactly when something changes",
            "\(after.revision) after \(before.revision)")
        try require(
            failure == nil
                || (changeCount == 0 && after.hash == before.hash && after.bytes == before.bytes),
            "a failure changes nothing", failure ?? "")
    }
}
