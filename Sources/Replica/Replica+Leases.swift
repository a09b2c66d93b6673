import EtcdWire
import KVCore
import RaftCore

/// A lease call of a client of this member that another one has to answer.
struct PendingLeaseCall {
    var read: LeaseRead
    /// The leader's answer, until its index is applied here.
    var answer: PeerMessage.LeaseAnswer.Outcome?
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
                lease.id, grantedSeconds: lease.grantedSeconds,
                deadline: now + microseconds(seconds) + settings.raft.electionTimeoutMicroseconds,
                hasCheckpoint: lease.remainingSeconds > 0)
        }
    }

    private func microseconds(_ seconds: Int64) -> Microseconds {
        Microseconds(seconds) * 1_000_000
    }

    mutating func leaseGranted(_ lease: LeaseInfo) {
        leases.set(
            lease.id, grantedSeconds: lease.grantedSeconds,
            deadline: now + microseconds(lease.grantedSeconds), hasCheckpoint: false)
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
        let read = LeaseRead(
            purpose: purpose, lease: lease,
            caller: .client(request.id, wantsKeys: wantsKeys), receivedAt: now,
            deadline: deadline(of: request))
        if core.isLeader { reads.add(read) } else { forward(read) }
    }

    /// Sends a lease call of this member's client to the leader, now or once there is one.
    private mutating func forward(_ read: LeaseRead) {
        send(read, context: leaseCalls.add(PendingLeaseCall(read: read), deadline: read.deadline))
    }

    private mutating func send(_ read: LeaseRead, context: UInt64) {
        guard let leader = core.leader, canForward else { return }
        let call = PeerMessage.LeaseCall(
            context: context, purpose: read.purpose, lease: read.lease)
        effects.append(.sendPeer(to: leader, frame: PeerCodec.encode(.leaseCall(call))))
    }

    /// Another member leads, or this one does. Renewals and queries may be repeated: nothing
    /// depends on how often they arrive.
    mutating func restartLeaseCalls() {
        for context in leaseCalls.numbers {
            guard let pending = leaseCalls[context], pending.answer == nil else { continue }
            var read = pending.read
            guard core.isLeader else {
                send(read, context: context)
                continue
            }
            _ = leaseCalls.remove(context)
            read.receivedAt = now
            reads.add(read)
        }
    }

    mutating func answer(_ call: PeerMessage.LeaseCall, from peer: MemberID) {
        guard core.isLeader else { return reply(.notLeader, to: peer, context: call.context) }
        reads.add(
            LeaseRead(
                purpose: call.purpose, lease: call.lease,
                caller: .member(peer, context: call.context), receivedAt: now,
                deadline: ownDeadline))
    }

    /// This member led when the call came, and has applied all that was committed then.
    mutating func leaseRoundConfirmed(_ read: LeaseRead) {
        guard core.isLeader else {
            if case .member = read.caller { answer(read, .notLeader) } else { forward(read) }
            return
        }
        guard leases.isRunning else { return reads.putAside(read) }
        switch read.purpose {
        case .renew: renew(read)
        case .query: query(read)
        }
    }

    private mutating func renew(_ read: LeaseRead) {
        switch leases.renew(read.lease, from: read.receivedAt) {
        case .renewed(let seconds):
            answer(
                read,
                .alive(secondsLeft: seconds, granted: seconds, index: store.appliedIndex))
        case .gone: answer(read, .gone(index: store.appliedIndex))
        case .isExpiring: reads.putAside(read)
        case .hasCheckpoint:
            guard clearCheckpoint(of: read.lease) else { return reads.putAside(read) }
            leases.noteCheckpoint(read.lease, isPresent: false)
            renew(read)
        }
    }

    private mutating func query(_ read: LeaseRead) {
        // The outcome of an expiry under way decides.
        guard !leases.isExpiring(read.lease) else { return reads.putAside(read) }
        guard let lease = store.lease(read.lease) else {
            return answer(read, .gone(index: store.appliedIndex))
        }
        answer(
            read,
            .alive(
                secondsLeft: leases.secondsLeft(lease.id, now: now) ?? 0,
                granted: lease.grantedSeconds, index: store.appliedIndex))
    }

    /// Another leader would count from the checkpoint: it must go before a renewal counts. Proposes
    /// the entry that clears it, if that can be done now; true once it is applied.
    private mutating func clearCheckpoint(of lease: Int64) -> Bool {
        if let index = clearing[lease] {
            guard index <= store.appliedIndex else { return false }
            clearing[lease] = nil
            return true
        }
        let item = LeaseCheckpoint.Item(id: lease, remainingSeconds: 0)
        let entry = Envelope.encode(
            kind: .leaseCheckpoint, origin: Origin(member: id, boot: boot, sequence: 0),
            body: LeaseCheckpoint(items: [item]).encode())
        if case .accepted(let index) = proposeHere(entry) { clearing[lease] = index }
        return false
    }

    // MARK: - Answers

    private mutating func answer(_ read: LeaseRead, _ outcome: PeerMessage.LeaseAnswer.Outcome) {
        switch read.caller {
        case .client(let request, let wantsKeys):
            respond(request, read, wantsKeys: wantsKeys, outcome)
        case .member(let peer, let context): reply(outcome, to: peer, context: context)
        }
    }

    private mutating func reply(
        _ outcome: PeerMessage.LeaseAnswer.Outcome, to peer: MemberID, context: UInt64
    ) {
        let answer = PeerMessage.LeaseAnswer(context: context, outcome: outcome)
        effects.append(.sendPeer(to: peer, frame: PeerCodec.encode(.leaseAnswer(answer))))
    }

    mutating func leaseAnswered(_ answer: PeerMessage.LeaseAnswer) {
        guard let pending = leaseCalls[answer.context], pending.answer == nil else { return }
        switch answer.outcome {
        case .alive(_, _, let index), .gone(let index):
            leaseCalls.update(answer.context) { $0.answer = answer.outcome }
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
        guard let pending = leaseCalls.remove(context), let outcome = pending.answer else { return }
        answer(pending.read, outcome)
    }

    private mutating func respond(
        _ request: RequestID, _ read: LeaseRead, wantsKeys: Bool,
        _ outcome: PeerMessage.LeaseAnswer.Outcome
    ) {
        let alive: (secondsLeft: Int64, granted: Int64)?
        switch outcome {
        case .alive(let secondsLeft, let granted, _): alive = (secondsLeft, granted)
        case .gone: alive = nil
        case .notLeader: preconditionFailure("the leader is asked again, and the client waits")
        }
        var message: [UInt8] = []
        switch read.purpose {
        case .renew:
            LeaseKeepAliveResponse.append(
                responseHeader, id: read.lease, ttl: alive?.secondsLeft ?? 0, to: &message)
        case .query:
            LeaseTimeToLiveResponse.append(
                responseHeader, id: read.lease, ttl: alive?.secondsLeft ?? -1,
                grantedTTL: alive?.granted ?? 0, to: &message)
            if alive != nil, wantsKeys {
                for key in store.keys(ofLease: read.lease) {
                    key.key.withUnsafeBytes {
                        LeaseTimeToLiveResponse.appendKey($0, to: &message)
                    }
                }
            }
        }
        respond(request, message)
    }

    mutating func expireLeaseCalls() {
        while let (pending, _) = leaseCalls.removeExpired(now: now) {
            if let request = pending.read.request { failExpiredLeaseCall(request) }
        }
    }

    mutating func failExpiredLeaseCall(_ request: RequestID) {
        fail(
            request, core.leader == nil ? .noLeader : .timeout,
            detail: "the leader didn't answer the lease call in time")
    }

    mutating func respondLeases(_ request: RequestID) {
        var message: [UInt8] = []
        LeaseLeasesResponse.append(responseHeader, to: &message)
        for lease in store.allLeases() {
            LeaseLeasesResponse.appendLease(id: lease.id, to: &message)
        }
        respond(request, message)
    }
}
