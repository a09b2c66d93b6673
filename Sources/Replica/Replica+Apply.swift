import EtcdWire
import KVCore
import RaftCore

/// Committed entries enter the map, in order; whoever waits here is answered.
extension Replica {
    mutating func apply(through index: LogIndex) {
        // Past `self`: to call what it holds counts references.
        let observer = applyObserver
        // Terms only grow in a log. To ask for each entry's took 150 instructions.
        let isOneTerm = core.term(at: index) == store.appliedTerm
        while !isStopping, store.appliedIndex < index {
            let next = store.appliedIndex + 1
            guard let bytes = tail[next],
                let term = isOneTerm ? store.appliedTerm : core.term(at: next)
            else {
                preconditionFailure("committed entry \(next) is not in memory")
            }
            observer?.begin(next)
            apply(bytes, at: next, term: term)
            if isStopping { return }
            observer?.end()
        }
        reads.resume()
        serveReads()
        serveLeaseAnswers()
    }

    private mutating func apply(_ bytes: [UInt8], at index: LogIndex, term: Term) {
        let envelope: Envelope
        do throws(EnvelopeError) {
            envelope = try Envelope(decoding: bytes)
        } catch {
            stop(.unreadableEntry(index: index, reason: "\(error)"))
            return
        }
        if term > store.appliedTerm, store.appliedTerm > 0 { failWrites(sentBefore: term) }
        let result = store.apply(envelope, index: index, term: term)
        if hub.watcherCount == 0 {
            hub.advance(to: store.revision)
        } else if store.revision > hub.revision {
            hub.publish(changesOf: store, into: &deliveries)
            if hub.needsCatchUp { watchersAreBehind = true }
        }
        react(to: result, index: index, term: term)
        if envelope.origin.member == id, envelope.origin.boot == boot,
            let write = writes.remove(envelope.origin.sequence)
        {
            answer(write, with: result)
        }
    }

    private mutating func answer(_ write: PendingWrite, with result: ApplyResult) {
        var message: [UInt8] = []
        switch result.encodeResponse(responseHeader, into: &message) {
        case .encoded: respond(write.request, message)
        case .failed(let error): fail(write.request, error, detail: "")
        case .noResponse: respond(write.request, [])
        }
    }

    /// What follows from an entry besides the answer.
    private mutating func react(to result: ApplyResult, index: LogIndex, term: Term) {
        switch result.outcome {
        case .compact:
            compactionPending = true
        case .leaseGrant(let lease): leaseGranted(lease)
        case .leaseRevoke(let id): leaseEnded(id)
        case .leaseExpiry(let ids): for id in ids { leaseEnded(id) }
        case .leaseCheckpoint(let checkpointed): leasesCheckpointed(checkpointed)
        case .leaseExpiryVoid: break
        case .configuration:
            snapshots.noteMembership(
                MembershipRecord(
                    members: store.members.map {
                        MembershipRecord.Item(id: $0.id, peerURLs: $0.peerURLs, role: $0.role)
                    }, removedIDs: store.removedMemberIDs
                ).encode(), at: index)
            effects.append(.membersChanged)
            // This may be the entry that made this member one.
            announceIfNeeded()
        case .memberAttributes: effects.append(.membersChanged)
        case .nothing:
            if core.isLeader, term == core.term { startLeaseClock() }
        case .put, .deleteRange, .txn, .failure: break
        }
    }

    /// Trims compacted history a little at a time.
    mutating func trimHistory() {
        guard compactionPending else { return }
        switch store.compactStep(budget: 2_000) {
        case .finished: compactionPending = false
        case .more, .heldByView: break
        }
    }

    /// Each member tells the cluster its name, client URLs and directory once, and again when they
    /// have changed.
    mutating func announceIfNeeded() {
        announceAgainAt = .max
        guard core.leader != nil, let known = store.members.first(where: { $0.id == id }),
            known.name != attributes.name || known.clientURLs != attributes.clientURLs
                || known.directoryID != attributes.directoryID
        else { return }
        proposeInternal(.memberAttributes, attributes.encode())
        announceAgainAt = now + Replica.announceRetryMicroseconds
    }

    /// Pause before an announcement that wasn't applied is made again: it may have been lost.
    static let announceRetryMicroseconds: Microseconds = 500_000

    /// Proposes an entry nobody waits for; it may be lost, and is proposed again when it matters.
    mutating func proposeInternal(_ kind: EntryKind, _ body: [UInt8]) {
        let entry = Envelope.encode(
            kind: kind, origin: Origin(member: id, boot: boot, sequence: 0), body: body)
        if core.isLeader {
            _ = proposeHere(entry)
        } else if canForward {
            forwards.append(entry)
        }
    }
}
