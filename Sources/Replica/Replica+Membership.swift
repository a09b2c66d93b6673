import EtcdWire
import KVCore
import RaftCore

/// Changes of the membership, one voter at a time (thesis chapter 4).
extension Replica {
    /// Proposes a membership. A change isn't forwarded and doesn't wait for a leader: whoever asks
    /// for it has looked at the membership that it changes, and must look again after a failure.
    mutating func acceptMembership(_ request: ClientRequest) throws(RequestFailure) {
        guard let record = MembershipRecord.decode(request.body[...]),
            Set(record.members.map(\.id)).isDisjoint(with: record.removedIDs)
        else {
            throw RequestFailure(
                EtcdError(code: .invalidArgument, message: "martlet: malformed membership"))
        }
        let sequence = writes.nextSequence
        let entry = Envelope.encode(
            kind: .configuration, origin: Origin(member: id, boot: boot, sequence: sequence),
            body: request.body)
        switch proposeHere(entry, configuration: record.configuration) {
        case .accepted:
            writes.add(
                PendingWrite(request: request.id, unsent: nil, sentTerm: core.term),
                deadline: deadline(of: request))
        case .notLeader, .transferring:
            throw RequestFailure(.notLeader, detail: "ask the leader to change the membership")
        case .full:
            throw RequestFailure(
                .tooManyRequests, detail: "the leader has too many uncommitted entries")
        case .configurationBusy:
            throw RequestFailure(
                .unhealthyCluster,
                detail: "another change is under way, or the leader is new; try again soon")
        case .configurationInvalid:
            throw RequestFailure(
                EtcdError(code: .failedPrecondition, message: "martlet: not one step"),
                detail: "a change adds, removes or promotes one voter; look at the members again")
        }
    }
}
