import EtcdMessages
import EtcdWire
import Foundation
import KVCore
import RaftCore
import Replica
import SwiftProtobuf

/// Knows what clients may be told.
///
/// The oracle follows the committed log: the moment an entry is committed anywhere, a model applies
/// it and notes what its caller must be told. So an answer to a write can be checked when it comes,
/// and an answer to a read against the model at the revision that the answer names. A call whose
/// outcome is unknown may turn up in the log for ever; one that failed for certain, never.
public struct Oracle {
    private struct Expectation {
        var outcome: Model.Outcome
        var revision: Int64
        var index: LogIndex
    }
    private(set) var model = Model()
    private(set) var leases: LeaseOracle
    private var expectations: [CallID: Expectation] = [:]
    private var failedForCertain: Set<CallID> = []
    private var grantedAt: [Int64: Microseconds] = [:]
    /// The highest revision any client was told.
    private(set) var acknowledged: Int64 = 1
    /// The newest compaction any client was told of.
    private(set) var acknowledgedCompaction: Int64 = 0
    /// What a session last saw with serializable reads of a member in one of its lives.
    private var lastSeen: [SessionPlace: Int64] = [:]
    /// Answers checked, by kind; a check that never runs proves nothing.
    private(set) var counts = Counts()

    private struct SessionPlace: Hashable {
        var session: Int
        var member: Int
        var boot: UInt64
    }
    /// How much was checked.
    public struct Counts: Sendable {
        /// Writes that were acknowledged.
        public var writes = 0
        /// Reads that were answered.
        public var reads = 0
        /// Lease calls that were answered.
        public var leaseCalls = 0
        /// Calls that failed for certain.
        public var failures = 0
        /// Calls whose outcome the client doesn't know.
        public var unknown = 0
        /// Entries in the log.
        public var entries = 0
    }

    init(leases: LeaseOracle) { self.leases = leases }

    // MARK: - The log

    /// An entry was committed.
    mutating func committed(
        _ bytes: [UInt8], at position: LogPosition, now: Microseconds
    ) throws(Violation) {
        counts.entries += 1
        let envelope: Envelope
        let outcome: Model.Outcome
        do {
            envelope = try Envelope(decoding: bytes)
            outcome = try model.apply(envelope, term: position.term)
        } catch {
            throw Violation("Oracle", "entry \(position.label) can't be read: \(error)")
        }
        switch outcome {
        case .granted(let lease, let seconds):
            leases.granted(
                lease, seconds: seconds, invokedAt: grantedAt[lease] ?? now, now: now)
        case .revoked(let lease): leases.revoked(lease, now: now)
        case .expired(let ended): for lease in ended { try leases.expired(lease, now: now) }
        case .put, .deleteRange, .txn, .compacted, .failed, .nothing: break
        }
        guard let call = try call(of: envelope, position) else { return }
        guard !failedForCertain.contains(call) else {
            throw Violation(
                "Oracle", "call \(call) failed for certain, yet is entry \(position.label)")
        }
        guard expectations[call] == nil else {
            throw Violation(
                "Oracle",
                "call \(call) is entry \(position.label), and entry \(expectations[call]!.index) too"
            )
        }
        expectations[call] = Expectation(
            outcome: outcome, revision: model.revision, index: position.index)
    }

    private func call(
        of envelope: Envelope, _ position: LogPosition
    ) throws(Violation) -> CallID? {
        switch envelope.kind {
        case .put, .deleteRange, .txn, .compact, .leaseRevoke:
            return Call.id(inBody: envelope.body)
        case .leaseGrant:
            guard let grant = try? LeaseGrantRequest(decoding: envelope.body) else {
                throw Violation("Oracle", "the grant of entry \(position.label) can't be read")
            }
            return CallID(grant.id)
        case .noop, .leaseCheckpoint, .leaseExpiry, .memberAttributes, .configuration, .alarm,
            .auth, .clusterVersion:
            return nil
        }
    }

    /// A call is about to be made.
    mutating func invoked(_ call: Call) {
        if case .grant(let lease, _) = call.request { grantedAt[lease] = call.invokedAt }
    }

    // MARK: - Answers

    /// Nobody waits for a call any more, whatever became of it.
    mutating func ended(_ call: Call, now: Microseconds) {
        if case .keepAlive(let lease) = call.request { leases.renewalEnded(lease, now: now) }
    }

    /// A call was answered.
    mutating func answered(_ call: Call, _ message: [UInt8]) throws(Violation) {
        do {
            switch call.request {
            case .put, .deleteRange, .txn, .compact, .grant, .revoke:
                if call.isWrite {
                    try checkWrite(call, message)
                } else if case .txn(let txn) = call.request {
                    try checkReadOnly(txn, call, message)
                }
            case .range(let range): try checkRange(range, call, message)
            case .keepAlive(let lease):
                counts.leaseCalls += 1
                let response = try Etcdserverpb_LeaseKeepAliveResponse(serializedBytes: message)
                try checkFloor(response.header, call)
                try leases.renewed(lease, seconds: response.ttl, invokedAt: call.invokedAt)
            case .timeToLive(let lease):
                counts.leaseCalls += 1
                let response = try Etcdserverpb_LeaseTimeToLiveResponse(serializedBytes: message)
                try checkFloor(response.header, call)
                try leases.reported(
                    lease, secondsLeft: response.ttl, granted: response.grantedTtl,
                    invokedAt: call.invokedAt)
                try checkKeys(response, lease)
            }
        } catch let violation as Violation {
            throw violation
        } catch {
            throw Violation("Oracle", "the answer to \(call.summary) can't be read: \(error)")
        }
    }

    /// A call failed.
    mutating func failed(_ call: Call, _ failure: RequestFailure) throws(Violation) {
        switch Self.meaning(of: failure, for: call) {
        case .unknown: counts.unknown += 1
        case .nothingHappened:
            counts.failures += 1
            guard call.isWrite else { return }
            if let expectation = expectations[call.id] {
                throw Violation(
                    "Oracle",
                    "\(call.summary) failed (\(failure.error)), yet is entry \(expectation.index)")
            }
            failedForCertain.insert(call.id)
        case .refused(let error):
            counts.failures += 1
            try checkRefusal(call, error)
        }
    }

    /// Nobody will answer the call any more.
    mutating func abandoned(_ call: Call) { counts.unknown += 1 }

    private enum Meaning {
        case unknown
        case nothingHappened
        /// The map said no.
        case refused(EtcdError)
    }

    private static func meaning(of failure: RequestFailure, for call: Call) -> Meaning {
        switch failure.error {
        case .timeout, .timeoutDueToLeaderFailure, .timeoutDueToConnectionLost,
            .deadlineExceeded:
            call.isWrite ? .unknown : .nothingHappened
        case .noLeader, .tooManyRequests, .notLeader, .unhealthyCluster, .leaderChanged:
            .nothingHappened
        default: .refused(failure.error)
        }
    }

    private func checkRefusal(_ call: Call, _ error: EtcdError) throws(Violation) {
        if call.isWrite {
            guard let expectation = expectations[call.id] else {
                // Checked before it entered the log: only what looks wrong by itself may be refused.
                guard [.valueProvided, .leaseProvided, .duplicateKey].contains(error) else {
                    throw Violation(
                        "Oracle", "\(call.summary) was refused with \(error) without an entry")
                }
                return
            }
            if case .failed(let expected) = expectation.outcome, expected == error { return }
            throw Violation(
                "Oracle",
                "\(call.summary) was refused with \(error), the model says \(expectation.outcome)")
        }
        // A read of the past is refused when that was compacted, one of the future always.
        let wanted = call.wantedRevisions
        let isRight =
            switch error {
            case .compacted: wanted.contains { $0 < model.compacted }
            case .futureRevision: wanted.contains { $0 > call.floor || call.isSerializable }
            default: false
            }
        guard isRight else {
            throw Violation("Oracle", "\(call.summary) was refused with \(error)")
        }
    }

    // MARK: - Writes

    private mutating func checkWrite(_ call: Call, _ message: [UInt8]) throws {
        counts.writes += 1
        guard let expectation = expectations[call.id] else {
            throw Violation("Oracle", "\(call.summary) was acknowledged but isn't committed")
        }
        let header: Etcdserverpb_ResponseHeader
        let matches: Bool
        switch expectation.outcome {
        case .put(let expected):
            var response = try Etcdserverpb_PutResponse(serializedBytes: message)
            header = response.header
            response.clearHeader()
            matches = response == expected
        case .deleteRange(let expected):
            var response = try Etcdserverpb_DeleteRangeResponse(serializedBytes: message)
            header = response.header
            response.clearHeader()
            matches = response == expected
        case .txn(let expected):
            let response = try Etcdserverpb_TxnResponse(serializedBytes: message)
            header = response.header
            matches = response.withoutHeaders == expected
        case .compacted:
            header = try Etcdserverpb_CompactionResponse(serializedBytes: message).header
            matches = true
        case .granted(let lease, let seconds):
            let response = try Etcdserverpb_LeaseGrantResponse(serializedBytes: message)
            header = response.header
            matches = response.id == lease && response.ttl == seconds
        case .revoked:
            header = try Etcdserverpb_LeaseRevokeResponse(serializedBytes: message).header
            matches = true
        case .failed, .expired, .nothing:
            throw Violation(
                "Oracle", "\(call.summary) succeeded, the model says \(expectation.outcome)")
        }
        guard matches, header.revision == expectation.revision else {
            throw Violation(
                "Oracle",
                """
                \(call.summary) was answered at revision \(header.revision), the model says \
                \(expectation.outcome) at \(expectation.revision)
                """)
        }
        acknowledged = max(acknowledged, header.revision)
        if case .compact(let revision) = call.request {
            acknowledgedCompaction = max(acknowledgedCompaction, revision)
        }
    }

    // MARK: - Reads

    /// No answer but a serializable one may be older than what was known when the call was made.
    private mutating func checkFloor(
        _ header: Etcdserverpb_ResponseHeader, _ call: Call
    ) throws(Violation) {
        guard header.revision <= model.revision else {
            throw Violation(
                "Oracle", "\(call.summary) was answered at \(header.revision), not yet committed")
        }
        let place = SessionPlace(session: call.session, member: call.member, boot: call.boot)
        let floor = call.isSerializable ? lastSeen[place] ?? 1 : call.floor
        guard header.revision >= floor else {
            throw Violation(
                "Oracle",
                """
                stale: \(call.summary) was answered at revision \(header.revision), \
                \(floor) had been seen before it was made
                """)
        }
        lastSeen[place] = max(lastSeen[place] ?? 1, header.revision)
        acknowledged = max(acknowledged, header.revision)
    }

    private mutating func checkRange(
        _ range: Etcdserverpb_RangeRequest, _ call: Call, _ message: [UInt8]
    ) throws {
        counts.reads += 1
        var response = try Etcdserverpb_RangeResponse(serializedBytes: message)
        let header = response.header
        try checkFloor(header, call)
        response.clearHeader()
        let revision = range.revision > 0 ? range.revision : header.revision
        guard range.serializable || revision >= call.compactionFloor else {
            throw Violation("Oracle", "\(call.summary) was answered from a compacted past")
        }
        guard range.revision <= header.revision,
            response == model.range(range, at: revision)
        else {
            throw Violation(
                "Oracle",
                """
                \(call.summary) was answered at revision \(header.revision) with \
                \(response.kvs.map { "\($0.key.count):\($0.modRevision)" }), the model says \
                \(model.range(range, at: revision).kvs.map { "\($0.key.count):\($0.modRevision)" })
                """)
        }
    }

    private mutating func checkReadOnly(
        _ txn: Etcdserverpb_TxnRequest, _ call: Call, _ message: [UInt8]
    ) throws {
        counts.reads += 1
        let response = try Etcdserverpb_TxnResponse(serializedBytes: message)
        try checkFloor(response.header, call)
        guard case .success(let expected) = model.read(txn, at: response.header.revision),
            response.withoutHeaders == expected
        else {
            throw Violation(
                "Oracle", "\(call.summary) differs at revision \(response.header.revision)")
        }
    }

    private func checkKeys(
        _ response: Etcdserverpb_LeaseTimeToLiveResponse, _ lease: Int64
    ) throws(Violation) {
        guard response.ttl > 0, response.header.revision == model.revision else { return }
        guard
            response.keys.map(Array.init).sorted(by: { $0.lexicographicallyPrecedes($1) })
                == model.keys(ofLease: lease)
        else {
            throw Violation("Oracle", "lease \(lease) is reported with other keys than it has")
        }
    }
}

extension Call {
    /// Whether the call is content with the past.
    var isSerializable: Bool {
        switch request {
        case .range(let range): range.serializable
        case .put, .deleteRange, .txn, .compact, .grant, .keepAlive, .revoke, .timeToLive: false
        }
    }

    /// Past revisions the call names.
    var wantedRevisions: [Int64] {
        switch request {
        case .range(let range): [range.revision]
        case .txn(let txn): txn.wantedRevisions
        case .put, .deleteRange, .compact, .grant, .keepAlive, .revoke, .timeToLive: []
        }
    }
}

extension Etcdserverpb_TxnRequest {
    fileprivate var wantedRevisions: [Int64] {
        (success + failure).flatMap { operation -> [Int64] in
            switch operation.request {
            case .requestRange(let range): [range.revision]
            case .requestTxn(let nested): nested.wantedRevisions
            case .requestPut, .requestDeleteRange, nil: []
            }
        }
    }
}

extension Etcdserverpb_TxnResponse {
    /// The response with all headers taken out, those inside as well.
    var withoutHeaders: Self {
        var plain = self
        plain.clearHeader()
        plain.responses = responses.map { answer in
            var plain = answer
            switch answer.response {
            case .responseRange(var range):
                range.clearHeader()
                plain.responseRange = range
            case .responsePut(var put):
                put.clearHeader()
                plain.responsePut = put
            case .responseDeleteRange(var deletion):
                deletion.clearHeader()
                plain.responseDeleteRange = deletion
            case .responseTxn(let nested): plain.responseTxn = nested.withoutHeaders
            case nil: break
            }
            return plain
        }
        return plain
    }
}
