import EtcdWire
import KVCore
import RaftCore

/// Client calls come in: parsed completely, checked, then proposed, forwarded, read or parked.
extension Replica {
    mutating func accept(_ request: ClientRequest) {
        guard writes.count + reads.count + leaseCalls.count < settings.maxParkedRequests else {
            let detail = """
                \(settings.maxParkedRequests) calls wait on this member already; \
                send fewer at a time
                """
            fail(request.id, .tooManyRequests, detail: detail)
            return
        }
        do throws(RequestFailure) {
            switch request.kind {
            case .put, .deleteRange, .txn, .compact, .leaseGrant, .leaseRevoke:
                try acceptWrite(request)
            case .range: try acceptRange(request)
            case .leaseKeepAlive: try acceptLeaseCall(request, purpose: .renew)
            case .leaseTimeToLive: try acceptLeaseCall(request, purpose: .query)
            case .leaseLeases: reads.add(request.id, .leases, deadline: deadline(of: request))
            case .memberList: try acceptMemberList(request)
            case .hashKV: try acceptHash(request)
            case .barrier: reads.add(request.id, .barrier, deadline: deadline(of: request))
            case .changeMembership: try acceptMembership(request)
            }
        } catch {
            effects.append(.fail(request.id, error))
        }
    }

    /// The client's deadline, or this member's own if that comes first.
    func deadline(of request: ClientRequest) -> CallDeadline {
        guard let timeout = request.timeoutMicroseconds,
            timeout <= settings.requestTimeoutMicroseconds
        else { return ownDeadline }
        let margin = min(timeout / 10, Replica.maxAnswerMarginMicroseconds)
        return CallDeadline(time: now + timeout - margin, isClients: true)
    }

    /// This member's limit for a call that came now.
    var ownDeadline: CallDeadline {
        CallDeadline(time: now + settings.requestTimeoutMicroseconds, isClients: false)
    }

    /// An error leaves this much before the client's deadline, so that it says why it came: at the
    /// deadline the client would give up without a reason.
    static let maxAnswerMarginMicroseconds: Microseconds = 20_000

    func parse<Value>(
        _ body: () throws(WireError) -> Value
    ) throws(RequestFailure) -> Value {
        do throws(WireError) {
            return try body()
        } catch {
            throw RequestFailure(.malformed(error))
        }
    }

    func check(_ body: () throws(EtcdError) -> Void) throws(RequestFailure) {
        do throws(EtcdError) {
            try body()
        } catch {
            throw RequestFailure(error)
        }
    }

    // MARK: - Writes

    private mutating func acceptWrite(_ request: ClientRequest) throws(RequestFailure) {
        let body = request.body[...]
        switch request.kind {
        case .put:
            let put = try parse { () throws(WireError) in try PutRequest(decoding: body) }
            try check { () throws(EtcdError) in try Validation.check(put) }
            propose(.put, body, for: request)
        case .deleteRange:
            let deletion = try parse { () throws(WireError) in
                try DeleteRangeRequest(decoding: body)
            }
            try check { () throws(EtcdError) in try Validation.check(deletion) }
            propose(.deleteRange, body, for: request)
        case .txn:
            let txn = try parse { () throws(WireError) in try TxnRequest(decoding: body) }
            let limit = settings.maxTxnOperations
            try check { () throws(EtcdError) in
                try Validation.checkOperations(txn, maximumOperations: limit)
            }
            if txn.isReadOnly {
                reads.add(request.id, .txn(Shared(txn)), deadline: deadline(of: request))
            } else {
                propose(.txn, body, for: request)
            }
        case .compact:
            _ = try parse { () throws(WireError) in try CompactionRequest(decoding: body) }
            propose(.compact, body, for: request)
        case .leaseGrant: try acceptGrant(request)
        case .leaseRevoke:
            _ = try parse { () throws(WireError) in try LeaseRevokeRequest(decoding: body) }
            propose(.leaseRevoke, body, for: request)
        case .range, .leaseKeepAlive, .leaseTimeToLive, .leaseLeases, .memberList, .hashKV,
            .barrier, .changeMembership:
            preconditionFailure("reads and changes of the membership take another way")
        }
    }

    /// The id is chosen and the time to live raised before the entry exists: apply sees neither
    /// entropy nor the election timeout.
    private mutating func acceptGrant(_ request: ClientRequest) throws(RequestFailure) {
        let body = request.body[...]
        var grant = try parse { () throws(WireError) in try LeaseGrantRequest(decoding: body) }
        try check { [grant] () throws(EtcdError) in try Validation.check(grant) }
        grant.ttl = max(grant.ttl, settings.minLeaseSeconds)
        while grant.id == 0 { grant.id = Int64(random.next() >> 1) }
        var bytes: [UInt8] = []
        grant.encode(into: &bytes)
        propose(.leaseGrant, bytes[...], for: request)
    }

    private mutating func propose(
        _ kind: EntryKind, _ body: ArraySlice<UInt8>, for request: ClientRequest
    ) {
        let sequence = writes.nextSequence
        let entry = Envelope.encode(
            kind: kind, origin: Origin(member: id, boot: boot, sequence: sequence), body: body)
        guard writes.unsentBytes + entry.count <= settings.maxUnsentBytes else {
            fail(
                request.id, .tooManyRequests,
                detail: "too many bytes wait here for a leader; is a majority running?")
            return
        }
        var write = PendingWrite(request: request.id, unsent: entry)
        switch offer(entry) {
        case .taken: write.noteSent(term: core.term)
        case .refused: return failFull(request.id)
        case .mustWait: break
        }
        writes.add(write, deadline: deadline(of: request))
    }

    /// What became of a write that was to leave this member's hands.
    private enum Offer {
        case taken
        /// The leader has too many uncommitted entries.
        case refused
        /// There is no leader that could be given it.
        case mustWait
    }

    /// Gives a write that nobody has seen to the leader, if there is one.
    private mutating func offer(_ entry: [UInt8]) -> Offer {
        if core.isLeader {
            switch proposeHere(entry) {
            case .accepted: return .taken
            case .full: return .refused
            case .notLeader, .transferring, .configurationBusy, .configurationInvalid:
                return .mustWait
            }
        }
        guard canForward else { return .mustWait }
        forwards.append(entry)
        return .taken
    }

    private mutating func failFull(_ request: RequestID) {
        fail(
            request, .tooManyRequests, detail: "the leader has too many uncommitted entries")
    }

    /// Gives a write that has waited to the leader, once there is one.
    private mutating func send(_ sequence: UInt64) {
        guard let entry = writes[sequence]?.unsent else { return }
        switch offer(entry) {
        case .taken: writes.noteSent(sequence, term: core.term)
        case .refused:
            if let write = writes.remove(sequence) { failFull(write.request) }
        case .mustWait: break
        }
    }

    /// Whether a frame to the leader would leave.
    var canForward: Bool { core.leader.map(connectedPeers.contains) ?? false }

    /// Appends an entry to the leader's log.
    mutating func proposeHere(
        _ entry: [UInt8], configuration: Configuration? = nil
    ) -> Raft.ProposeResult {
        guard log.unsyncedByteCount < settings.maxUnsyncedBytes else { return .full }
        let result = core.propose(
            Raft.Proposal(
                byteCount: UInt32(entry.count), digest: entryDigest(entry),
                configuration: configuration), now: now)
        if case .accepted(let index) = result { tail.append(entry, at: index) }
        return result
    }

    mutating func sendUnsentWrites() {
        for sequence in writes.sequences { send(sequence) }
    }

    /// Bytes of writes in one forwarded frame, about.
    static let forwardFrameBytes = 1 << 20

    /// All writes of this batch, in as few frames as their size allows.
    mutating func sendForwards() {
        guard !forwards.isEmpty else { return }
        let entries = forwards
        forwards.removeAll(keepingCapacity: true)
        guard let leader = core.leader, leader != id else { return }
        var frame: [[UInt8]] = []
        var frameBytes = 0
        for entry in entries {
            frame.append(entry)
            frameBytes += entry.count
            if frameBytes >= Replica.forwardFrameBytes {
                sendForward(frame, to: leader)
                frame.removeAll()
                frameBytes = 0
            }
        }
        if !frame.isEmpty { sendForward(frame, to: leader) }
    }

    private mutating func sendForward(_ entries: [[UInt8]], to leader: MemberID) {
        effects.append(
            .sendPeer(
                to: leader,
                frame: PeerCodec.encode(.forward(term: core.term, envelopes: entries))))
    }

    /// A follower's writes. They are proposed in the term they were meant for or not at all, so
    /// that each goes to one leader at most.
    mutating func proposeForwarded(_ envelopes: [[UInt8]], term: Term, from peer: MemberID) {
        var refused: [UInt64] = []
        for entry in envelopes {
            guard let envelope = try? Envelope(decoding: entry), envelope.origin.member == peer,
                envelope.kind.isForwarded
            else {
                effects.append(.peerFault(peer, PeerFault(reason: "a forwarded entry is invalid")))
                return
            }
            if core.isLeader, core.term == term, case .accepted = proposeHere(entry) { continue }
            refused.append(envelope.origin.sequence)
        }
        if !refused.isEmpty {
            effects.append(
                .sendPeer(
                    to: peer, frame: PeerCodec.encode(.forwardRefused(sequences: refused))))
        }
    }

    mutating func forwardRefused(_ sequence: UInt64) {
        guard let write = writes.remove(sequence) else { return }
        // The leader proved that it didn't propose it, but its entry is not kept here.
        fail(
            write.request, .noLeader,
            detail: "the leader stepped down before it took the write; nothing was written")
    }

    // MARK: - Time and errors

    mutating func failExpiredRequests() {
        while let write = writes.removeExpired(now: now) {
            if write.unsent != nil {
                // Within the client's deadline or ours: this error says that nothing was written.
                fail(
                    write.request, .noLeader,
                    detail: "no leader was found in time; nothing was written")
            } else if core.leader == nil || core.term != write.sentTerm {
                failUnknown(write)
            } else {
                fail(
                    write.request, .timeout,
                    detail: "the write wasn't committed in time; its outcome is unknown")
            }
        }
        while let (read, deadline) = reads.removeExpired(now: now) {
            guard let request = read.request else { continue }
            // As in etcd, a read reports the client's deadline, and a lease call doesn't.
            if case .lease = read.kind {
                failExpiredLeaseCall(request)
            } else if core.leader == nil {
                fail(
                    request, deadline.isClients ? .deadlineExceeded : .noLeader,
                    detail: "a linearizable read needs a leader; is a majority running?")
            } else {
                fail(
                    request, deadline.isClients ? .deadlineExceeded : .timeout,
                    detail: "the leader didn't confirm in time that it still leads")
            }
        }
        reads.askAgain(now: now)
        expireLeaseCalls()
    }

    /// An entry of a newer term was applied: what an older leader was given and isn't applied by
    /// now never will be, or already was under a result this member could not see.
    mutating func failWrites(sentBefore term: Term) {
        for sequence in writes.sequences {
            guard let write = writes[sequence], write.unsent == nil, write.sentTerm < term else {
                continue
            }
            _ = writes.remove(sequence)
            failUnknown(write)
        }
    }

    private mutating func failUnknown(_ write: PendingWrite) {
        fail(
            write.request, .timeoutDueToLeaderFailure,
            detail: "the leader was lost while it held the write; read the key to see its outcome")
    }

    mutating func fail(_ request: RequestID, _ error: EtcdError, detail: String) {
        effects.append(.fail(request, RequestFailure(error, detail: detail)))
    }
}

extension EntryKind {
    /// Whether a follower may ask the leader to propose such an entry. The rest is the leader's own:
    /// what consensus itself must know of, and what its clock decides.
    fileprivate var isForwarded: Bool {
        switch self {
        case .put, .deleteRange, .txn, .compact, .leaseGrant, .leaseRevoke, .leaseCheckpoint,
            .memberAttributes:
            true
        case .noop, .leaseExpiry, .configuration, .alarm, .auth, .clusterVersion: false
        }
    }
}

extension EtcdError {
    /// A message that is no valid protobuf, as a gRPC server reports it.
    static func malformed(_ error: WireError) -> EtcdError {
        EtcdError(code: .internal, message: "grpc: error unmarshalling request: \(error)")
    }
}
