import EtcdWire
import KVCore
import RaftCore

/// A lease call of a client of this member that the leader has to answer.
struct PendingLeaseCall {
    var request: RequestID
    var call: PeerMessage.LeaseCall
    var wantsKeys: Bool
    var deadline: CallDeadline
    /// The leader's answer, until its index is applied here.
    var answer: PeerMessage.LeaseAnswer?
}

/// Leases: the map knows which exist, the leader's clock when they end.
///
/// A renewal is acknowledged only after a leadership round that began after it came: a leader that
/// was deposed without knowing must not promise time that its successor doesn't grant.
extension Replica {
    // MARK: - The leader's clock

    /// The no-op of this term is applied: every lease of older terms is known.
    mutating func startLeaseClock() {
        leases.start(now: now, checkpointEvery: settings.leaseCheckpointMicroseconds)
        for lease in store.allLeases() {
            let seconds = lease.remainingSeconds > 0 ? lease.remainingSeconds : lease.grantedSeconds
            leases.set(
                lease.id,
                deadline: now + microseconds(seconds) + settings.raft.electionTimeoutMicroseconds,
                hasCheckpoint: lease.remainingSeconds > 0)
        }
    }

    private func microseconds(_ seconds: Int64) -> Microseconds {
        Microseconds(seconds) * 1_000_000
    }

    mutating func leaseGranted(_ lease: LeaseInfo) {
        leases.set(
            lease.id, deadline: now + microseconds(lease.grantedSeconds), hasCheckpoint: false)
    }

    mutating func leaseEnded(_ lease: Int64) {
        leases.remove(lease)
        clearing[lease] = nil
    }

    mutating func leasesCheckpointed(_ checkpointed: [LeaseInfo]) {
        for lease in checkpointed where lease.remainingSeconds > 0 {
            leases.noteCheckpoint(lease.id, isPresent: true)
        }
    }

    /// Proposes the end of leases whose time is up, many in one entry.
    mutating func runLeaseClock() {
        guard core.isLeader, leases.isRunning else { return }
        proposeExpiry(of: leases.takeDue(now: now, limit: LeaseExpiry.leaseLimit))
        checkpointLeases()
    }

    private mutating func proposeExpiry(of due: [Int64]) {
        guard !due.isEmpty else { return }
        let fitting = store.expiryBatchCount(due)
        for lease in due[fitting...] { leases.putBack(lease) }
        let ids = Array(due[..<fitting])
        let entry = Envelope.encode(
            kind: .leaseExpiry, origin: Origin(member: id, boot: boot, sequence: 0),
            body: LeaseExpiry(term: core.term, ids: ids).encode())
        guard case .accepted = proposeHere(entry) else {
            // Leadership is being handed over, or too much is uncommitted: a little later.
            for lease in ids { leases.putBack(lease) }
            return leases.pause(until: now + Replica.expiryRetryMicroseconds)
        }
    }

    /// Pause before an expiry that was refused is proposed again.
    static let expiryRetryMicroseconds: Microseconds = 100_000

    private mutating func checkpointLeases() {
        let all = leases.takeCheckpoint(now: now).filter { lease, secondsLeft in
            guard let known = store.lease(lease), clearing[lease] == nil else { return false }
            // A short lease is over before a checkpoint could help.
            return microseconds(known.grantedSeconds) > settings.leaseCheckpointMicroseconds
                && secondsLeft < known.grantedSeconds
        }
        for start in stride(from: 0, to: all.count, by: LeaseCheckpoint.leaseLimit) {
            let part = all[start..<min(start + LeaseCheckpoint.leaseLimit, all.count)]
            let items = part.map {
                LeaseCheckpoint.Item(id: $0.lease, remainingSeconds: $0.secondsLeft)
            }
            proposeInternal(.leaseCheckpoint, LeaseCheckpoint(items: items).encode())
            // From now on a renewal must clear it, applied or not.
            for item in items { leases.noteCheckpoint(item.id, isPresent: true) }
        }
    }

    // MARK: - Calls

    mutating func acceptLeaseCall(
        _ request: ClientRequest, purpose: PeerMessage.LeaseCall.Purpose
    ) throws(RequestFailure) {
        let body = request.body[...]
        let lease: Int64
        var wantsKeys = false
        switch purpose {
        case .renew:
            lease = try parse { () throws(WireError) in
                try LeaseKeepAliveRequest(decoding: body)
            }.id
        case .query:
            let query = try parse { () throws(WireError) in
                try LeaseTimeToLiveRequest(decoding: body)
            }
            lease = query.id
            wantsKeys = query.keys
        }
        let deadline = deadline(of: request)
        let call = PeerMessage.LeaseCall(
            context: leaseCalls.nextNumber, purpose: purpose, lease: lease)
        _ = leaseCalls.add(
            PendingLeaseCall(
                request: request.id, call: call, wantsKeys: wantsKeys, deadline: deadline),
            deadline: deadline)
        start(call, deadline: deadline)
    }

    private mutating func start(_ call: PeerMessage.LeaseCall, deadline: CallDeadline) {
        if core.isLeader {
            addLeaseRead(call, peer: nil, deadline: deadline)
        } else if let leader = core.leader, canForward {
            effects.append(.sendPeer(to: leader, frame: PeerCodec.encode(.leaseCall(call))))
        }
    }

    private mutating func addLeaseRead(
        _ call: PeerMessage.LeaseCall, peer: MemberID?, deadline: CallDeadline
    ) {
        let read = LeaseRead(call: call, peer: peer, receivedAt: now, deadline: deadline)
        reads.add(nil, .lease(read), deadline: deadline)
    }

    /// Renewals and queries may be repeated: nothing depends on how often they arrive.
    mutating func restartLeaseCalls() {
        for context in leaseCalls.numbers {
            guard let pending = leaseCalls[context], pending.answer == nil else { continue }
            start(pending.call, deadline: pending.deadline)
        }
    }

    mutating func answer(_ call: PeerMessage.LeaseCall, from peer: MemberID) {
        guard core.isLeader else {
            reply(.init(context: call.context, outcome: .notLeader), to: peer)
            return
        }
        addLeaseRead(call, peer: peer, deadline: ownDeadline)
    }

    private mutating func reply(_ answer: PeerMessage.LeaseAnswer, to peer: MemberID?) {
        if let peer {
            effects.append(.sendPeer(to: peer, frame: PeerCodec.encode(.leaseAnswer(answer))))
        } else {
            leaseAnswered(answer)
        }
    }

    /// This member led when the call came, and has applied all that was committed then.
    mutating func leaseRoundConfirmed(_ read: LeaseRead) {
        let call = read.call
        guard core.isLeader else {
            // This member's own calls were sent to the new leader when it became known.
            if read.peer != nil {
                reply(.init(context: call.context, outcome: .notLeader), to: read.peer)
            }
            return
        }
        guard leases.isRunning, !leases.isExpiring(call.lease) else {
            // The outcome of an expiry under way decides.
            leaseReadsAwaitingApply.append(read)
            return
        }
        guard let lease = store.lease(call.lease) else {
            reply(
                .init(context: call.context, outcome: .gone(index: store.appliedIndex)),
                to: read.peer)
            return
        }
        if call.purpose == .renew {
            if clearing[call.lease] == nil, leases.hasCheckpoint(call.lease) {
                guard clearCheckpoint(call.lease) else {
                    leaseReadsAwaitingApply.append(read)
                    return
                }
            }
            if let index = clearing[call.lease], index > store.appliedIndex {
                leaseReadsAwaitingApply.append(read)
                return
            }
            if clearing.removeValue(forKey: call.lease) != nil {
                leases.noteCheckpoint(call.lease, isPresent: false)
            }
            _ = leases.renew(
                call.lease, deadline: read.receivedAt + microseconds(lease.grantedSeconds))
        }
        let left =
            call.purpose == .renew
            ? lease.grantedSeconds : leases.secondsLeft(call.lease, now: now) ?? 0
        reply(
            .init(
                context: call.context,
                outcome: .alive(
                    secondsLeft: left, granted: lease.grantedSeconds, index: store.appliedIndex)),
            to: read.peer)
    }

    /// Another leader would count from the checkpoint: it must go before a renewal counts. False
    /// if the entry that clears it couldn't be proposed now.
    private mutating func clearCheckpoint(_ lease: Int64) -> Bool {
        let item = LeaseCheckpoint.Item(id: lease, remainingSeconds: 0)
        let entry = Envelope.encode(
            kind: .leaseCheckpoint, origin: Origin(member: id, boot: boot, sequence: 0),
            body: LeaseCheckpoint(items: [item]).encode())
        guard case .accepted(let index) = proposeHere(entry) else { return false }
        clearing[lease] = index
        return true
    }

    /// Entries were applied, or can be proposed again: what waited for that is confirmed anew.
    mutating func retryLeaseReads() {
        guard !leaseReadsAwaitingApply.isEmpty else { return }
        let waiting = leaseReadsAwaitingApply
        leaseReadsAwaitingApply.removeAll()
        for read in waiting where read.deadline.time > now {
            reads.add(nil, .lease(read), deadline: read.deadline)
        }
    }

    // MARK: - Answers

    mutating func leaseAnswered(_ answer: PeerMessage.LeaseAnswer) {
        guard let pending = leaseCalls[answer.context], pending.answer == nil else { return }
        switch answer.outcome {
        case .alive(_, _, let index), .gone(let index):
            leaseCalls.update(answer.context) { $0.answer = answer }
            answeredLeaseCalls.push(index, answer.context)
            serveLeaseAnswers()
        case .notLeader:
            break  // Asked again when a leader is known.
        }
    }

    mutating func serveLeaseAnswers() {
        while let first = answeredLeaseCalls.first, first.key <= store.appliedIndex {
            answeredLeaseCalls.popFirst()
            serveLeaseAnswer(first.value)
        }
    }

    private mutating func serveLeaseAnswer(_ context: UInt64) {
        guard let pending = leaseCalls.remove(context), let answer = pending.answer else { return }
        let alive: (secondsLeft: Int64, granted: Int64)?
        switch answer.outcome {
        case .alive(let secondsLeft, let granted, _): alive = (secondsLeft, granted)
        case .gone: alive = nil
        case .notLeader: return
        }
        let lease = pending.call.lease
        var message: [UInt8] = []
        switch pending.call.purpose {
        case .renew:
            LeaseKeepAliveResponse.append(
                responseHeader, id: lease, ttl: alive?.secondsLeft ?? 0, to: &message)
        case .query:
            LeaseTimeToLiveResponse.append(
                responseHeader, id: lease, ttl: alive?.secondsLeft ?? -1,
                grantedTTL: alive?.granted ?? 0, to: &message)
            if alive != nil, pending.wantsKeys {
                for key in store.keys(ofLease: lease) {
                    key.key.withUnsafeBytes {
                        LeaseTimeToLiveResponse.appendKey($0, to: &message)
                    }
                }
            }
        }
        effects.append(.respond(pending.request, message: message))
    }

    mutating func expireLeaseCalls() {
        while let (pending, _) = leaseCalls.removeExpired(now: now) {
            fail(
                pending.request, core.leader == nil ? .noLeader : .timeout,
                detail: "the leader didn't answer the lease call in time")
        }
    }

    mutating func respondLeases(_ request: RequestID) {
        var message: [UInt8] = []
        LeaseLeasesResponse.append(responseHeader, to: &message)
        for lease in store.allLeases() {
            LeaseLeasesResponse.appendLease(id: lease.id, to: &message)
        }
        effects.append(.respond(request, message: message))
    }
}
