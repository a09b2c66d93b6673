import EtcdWire
import KVCore
import RaftCore

/// Reads: linearizable by a read round, or serializable from what is here.
extension Replica {
    func acceptedRange(_ body: ArraySlice<UInt8>) throws(RequestFailure) -> RangeRequest {
        let range = try parse { () throws(WireError) in try RangeRequest(decoding: body) }
        try check { () throws(EtcdError) in try Validation.check(range) }
        return range
    }

    mutating func acceptRange(_ request: ClientRequest) throws(RequestFailure) {
        let range = try acceptedRange(request.body[...])
        if range.serializable {
            serve(range, for: request.id)
        } else {
            reads.add(request.id, .range(Shared(consume range)), deadline: deadline(of: request))
        }
    }

    mutating func acceptMemberList(_ request: ClientRequest) throws(RequestFailure) {
        let isLinearizable = try parse { () throws(WireError) -> Bool in
            var reader = WireReader(request.body[...])
            var linearizable = false
            while let tag = try reader.nextTag() {
                if tag.fieldNumber == 1 {
                    linearizable = try reader.readBool(tag)
                } else {
                    try reader.skip(tag)
                }
            }
            return linearizable
        }
        if isLinearizable {
            reads.add(request.id, .members, deadline: deadline(of: request))
        } else {
            respondMembers(request.id)
        }
    }

    mutating func acceptHash(_ request: ClientRequest) throws(RequestFailure) {
        let revision = try parse { () throws(WireError) -> Int64 in
            var reader = WireReader(request.body[...])
            var revision: Int64 = 0
            while let tag = try reader.nextTag() {
                if tag.fieldNumber == 1 {
                    revision = try reader.readInt64(tag)
                } else {
                    try reader.skip(tag)
                }
            }
            return revision
        }
        // As in etcd, the hash is this member's own, so that members can be compared.
        respondHash(revision: revision, for: request.id)
    }

    /// Asks one question for all reads of this batch.
    mutating func issueReads() {
        guard core.leader != nil else { return }
        guard let (context, calls) = reads.issue(now: now) else { return }
        core.read(context: context, calls: calls, now: now)
    }

    mutating func serveReads() {
        guard reads.count > 0 else { return }
        while let read = reads.popReady(applied: store.appliedIndex) {
            if case .lease(let lease) = read.kind {
                leaseRoundConfirmed(lease)
                continue
            }
            guard let request = read.request else {
                preconditionFailure("members forward lease calls alone")
            }
            switch read.kind {
            case .range(let range): serve(range.value, for: request)
            case .txn(let txn): serve(txn.value, for: request)
            case .leases: respondLeases(request)
            case .members: respondMembers(request)
            case .barrier: respond(request, [])
            case .lease: break
            }
        }
    }

    /// The header of an answer made now.
    var responseHeader: ResponseHeader {
        ResponseHeader(
            identity: responseIdentity, revision: store.revision, raftTerm: core.term)
    }

    private mutating func serve(_ range: RangeRequest, for request: RequestID) {
        do throws(EtcdError) {
            if let message = try store.encodePoint(range, header: responseHeader) {
                respond(request, message)
                return
            }
            guard let outcome = try store.range(range, within: settings.directRange) else {
                let large = try store.largeRange(range, header: responseHeader)
                effects.append(.readRange(request, large, store.takeView()))
                return
            }
            var message: [UInt8] = []
            message.reserveCapacity(outcome.encodedSizeBound)
            outcome.encodeResponse(responseHeader, into: &message)
            respond(request, message)
        } catch {
            fail(request, error, detail: "")
        }
    }

    private mutating func serve(_ txn: TxnRequest, for request: RequestID) {
        do throws(EtcdError) {
            let outcome = try store.read(txn, maximumOperations: settings.maxTxnOperations)
            var message: [UInt8] = []
            outcome.encodeResponse(responseHeader, into: &message)
            respond(request, message)
        } catch {
            fail(request, error, detail: "")
        }
    }

    /// A message that begins with the header, as every response does.
    func header() -> [UInt8] {
        var message: [UInt8] = []
        // For most answers all that follows finds room as well.
        message.reserveCapacity(64)
        responseHeader.appendField(to: &message)
        return message
    }

    private mutating func respondMembers(_ request: RequestID) {
        var message = header()
        for member in store.members {
            let open = WireWriter.beginMessage(2, to: &message)
            WireWriter.appendUInt64(1, member.id, to: &message)
            WireWriter.appendString(2, member.name, to: &message)
            for url in member.peerURLs { WireWriter.appendString(3, url, to: &message) }
            for url in member.clientURLs { WireWriter.appendString(4, url, to: &message) }
            WireWriter.appendBool(5, member.role == .learner, to: &message)
            WireWriter.endMessage(open, to: &message)
        }
        respond(request, message)
    }

    private mutating func respondHash(revision: Int64, for request: RequestID) {
        do throws(EtcdError) {
            let hash = try store.hashKV(revision: revision)
            var message = header()
            WireWriter.appendUInt64(2, UInt64(hash.hash), to: &message)
            WireWriter.appendInt64(3, hash.compactedRevision, to: &message)
            WireWriter.appendInt64(4, hash.hashRevision, to: &message)
            respond(request, message)
        } catch {
            fail(request, error, detail: "")
        }
    }
}
