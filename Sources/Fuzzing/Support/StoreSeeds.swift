import DurableLog
import EtcdMessages
import EtcdWire
import KVCore
import RaftCore
import Replica
import TestSupport

/// Entries and stores that make sense.
enum StoreSeeds {
    /// Entry bytes of each kind, in an order in which most of them succeed.
    static let entries: [[UInt8]] = [
        envelope(.noop, []),
        envelope(.memberAttributes, attributes.encode()),
        envelope(.put, RequestSeeds.encoded(RequestSeeds.put("key", "value"))),
        envelope(
            .leaseGrant,
            RequestSeeds.encoded(
                Etcdserverpb_LeaseGrantRequest.with {
                    ($0.ttl, $0.id) = (60, 7)
                })),
        envelope(
            .put,
            RequestSeeds.encoded(
                Etcdserverpb_PutRequest.with {
                    ($0.key, $0.value, $0.lease) = (.init("leased".utf8), .init("v".utf8), 7)
                })),
        envelope(.txn, RequestSeeds.encoded(RequestSeeds.txn)),
        envelope(.txn, RequestSeeds.encoded(RequestSeeds.outer)),
        envelope(
            .leaseCheckpoint,
            LeaseCheckpoint(items: [
                .init(id: 7, remainingSeconds: 20)
            ]).encode()),
        envelope(.deleteRange, RequestSeeds.encoded(RequestSeeds.deletion)),
        envelope(.put, RequestSeeds.encoded(RequestSeeds.put("key", "again"))),
        envelope(.put, RequestSeeds.encoded(RequestSeeds.put("zebra", "stripes"))),
        envelope(
            .compact,
            RequestSeeds.encoded(
                Etcdserverpb_CompactionRequest.with {
                    $0.revision = 4
                })),
        envelope(.put, RequestSeeds.encoded(RequestSeeds.put("key", "after"))),
        envelope(.leaseExpiry, LeaseExpiry(term: 1, ids: [7, 9]).encode()),
        envelope(
            .leaseRevoke,
            RequestSeeds.encoded(
                Etcdserverpb_LeaseRevokeRequest.with {
                    $0.id = 7
                })),
        envelope(.configuration, LogSeeds.membership.encode()),
    ]

    static let attributes = MemberAttributes(
        id: 1, name: "n1", clientURLs: ["http://c1"],
        directoryID: [UInt8](repeating: 3, count: 16))

    static func envelope(_ kind: EntryKind, _ body: [UInt8]) -> [UInt8] {
        Envelope.encode(kind: kind, origin: Origin(member: 1, boot: 1, sequence: 1), body: body)
    }

    /// A store to which the first entries were applied.
    static func store(entries count: Int) -> Store {
        var store = Store(limits: StoreLimits(), membership: LogSeeds.membership)
        for (index, entry) in entries.prefix(count).enumerated() {
            guard let envelope = try? Envelope(decoding: entry) else { continue }
            _ = store.apply(envelope, index: UInt64(index + 1), term: 1)
        }
        return store
    }

    /// The content of a snapshot of a store.
    static func content(_ store: inout Store) -> [UInt8] {
        var encoder = SnapshotEncoder(store.takeView())
        var bytes: [UInt8] = []
        while let next = encoder.next(maxBytes: 1 << 20) { bytes += next }
        return bytes
    }
}

/// Parts of which each stands behind its length, as two bytes, big-endian.
enum Parts {
    static func join(_ parts: some Sequence<[UInt8]>) -> [UInt8] {
        parts.flatMap { part -> [UInt8] in
            let content = part.prefixArray(0xffff)
            return [UInt8(content.count >> 8), UInt8(content.count & 0xff)] + content
        }
    }

    /// The last part may be cut short.
    static func split(_ bytes: ArraySlice<UInt8>) -> [[UInt8]] {
        var parts: [[UInt8]] = []
        var rest = bytes
        while rest.count >= 2 {
            let count = Int(rest[rest.startIndex]) << 8 | Int(rest[rest.startIndex + 1])
            parts.append(Array(rest.dropFirst(2).prefix(count)))
            rest = rest.dropFirst(2 + count)
        }
        return parts
    }
}
