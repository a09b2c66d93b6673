import EtcdMessages
import EtcdWire
import Foundation
import RaftCore
import Replica
import SwiftProtobuf

/// Names a call over the whole run. It travels in the request as a field nobody knows, so that the
/// oracle recognises the call in the log.
typealias CallID = UInt64

/// A client's call.
struct Call {
    /// What is asked for.
    enum Request {
        case put(Etcdserverpb_PutRequest)
        case deleteRange(Etcdserverpb_DeleteRangeRequest)
        case txn(Etcdserverpb_TxnRequest)
        case range(Etcdserverpb_RangeRequest)
        case compact(revision: Int64)
        case grant(lease: Int64, seconds: Int64)
        case keepAlive(lease: Int64)
        case revoke(lease: Int64)
        case timeToLive(lease: Int64)
    }

    var id: CallID
    var session: Int
    var request: Request
    var invokedAt: Microseconds
    /// The member that was called, and which of its lives.
    var member: Int
    var boot: UInt64
    /// The highest revision any client had seen when the call was made.
    var floor: Int64
    /// The revision whose compaction had been acknowledged by then.
    var compactionFloor: Int64

    /// The field of a request in which the call's id travels.
    static let idField: UInt32 = 1_000

    /// Whether the call asks for an entry in the log.
    var isWrite: Bool {
        switch request {
        case .put, .deleteRange, .compact, .grant, .revoke: true
        case .txn(let txn): !txn.isReadOnly
        case .range, .keepAlive, .timeToLive: false
        }
    }

    var kind: ClientRequest.Kind {
        switch request {
        case .put: .put
        case .deleteRange: .deleteRange
        case .txn: .txn
        case .range: .range
        case .compact: .compact
        case .grant: .leaseGrant
        case .keepAlive: .leaseKeepAlive
        case .revoke: .leaseRevoke
        case .timeToLive: .leaseTimeToLive
        }
    }

    /// The request's bytes; those of a write carry the call's id.
    var body: [UInt8] {
        var bytes: [UInt8]
        switch request {
        case .put(let put): bytes = Self.bytes(put)
        case .deleteRange(let deletion): bytes = Self.bytes(deletion)
        case .txn(let txn): bytes = Self.bytes(txn)
        case .range(let range): bytes = Self.bytes(range)
        case .compact(let revision):
            bytes = Self.bytes(Etcdserverpb_CompactionRequest.with { $0.revision = revision })
        case .grant(let lease, let seconds):
            bytes = Self.bytes(
                Etcdserverpb_LeaseGrantRequest.with {
                    $0.id = lease
                    $0.ttl = seconds
                })
        case .keepAlive(let lease):
            bytes = Self.bytes(Etcdserverpb_LeaseKeepAliveRequest.with { $0.id = lease })
        case .revoke(let lease):
            bytes = Self.bytes(Etcdserverpb_LeaseRevokeRequest.with { $0.id = lease })
        case .timeToLive(let lease):
            bytes = Self.bytes(
                Etcdserverpb_LeaseTimeToLiveRequest.with {
                    $0.id = lease
                    $0.keys = true
                })
        }
        if isWrite { WireWriter.appendUInt64(Self.idField, id, to: &bytes) }
        return bytes
    }

    private static func bytes(_ message: some SwiftProtobuf.Message) -> [UInt8] {
        guard let bytes: [UInt8] = try? message.serializedBytes() else {
            preconditionFailure("a request without required fields can be serialized")
        }
        return bytes
    }

    /// The id in the body of an entry; nil when it came from no client of ours. A grant's entry is
    /// written anew by the member, so its lease names the call.
    static func id(inBody body: ArraySlice<UInt8>) -> CallID? {
        var reader = WireReader(body)
        while let tag = try? reader.nextTag() {
            if tag.fieldNumber == idField { return try? reader.readUInt64(tag) }
            guard (try? reader.skip(tag)) != nil else { return nil }
        }
        return nil
    }

    /// One line for the story.
    var summary: String {
        func text(_ bytes: Data) -> String { String(decoding: bytes, as: UTF8.self) }
        return switch request {
        case .put(let put):
            "put \(text(put.key))=\(text(put.value))\(put.lease == 0 ? "" : " lease \(put.lease)")"
        case .deleteRange(let deletion):
            "delete \(text(deletion.key))..\(text(deletion.rangeEnd))"
        case .txn(let txn):
            "txn of \(txn.compare.count) compares, \(txn.success.count)/\(txn.failure.count) ops"
        case .range(let range):
            """
            \(range.serializable ? "serializable " : "")get \(text(range.key))..\
            \(text(range.rangeEnd))\(range.revision == 0 ? "" : " at \(range.revision)")
            """
        case .compact(let revision): "compact \(revision)"
        case .grant(let lease, let seconds): "grant \(lease) for \(seconds) s"
        case .keepAlive(let lease): "keep alive \(lease)"
        case .revoke(let lease): "revoke \(lease)"
        case .timeToLive(let lease): "time to live of \(lease)"
        }
    }
}

extension Etcdserverpb_TxnRequest {
    var isReadOnly: Bool {
        (success + failure).allSatisfy { operation in
            switch operation.request {
            case .requestRange, nil: true
            case .requestTxn(let nested): nested.isReadOnly
            case .requestPut, .requestDeleteRange: false
            }
        }
    }
}
