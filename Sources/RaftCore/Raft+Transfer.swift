/// Handing leadership over (thesis 3.10).
extension Raft {
    mutating func transferLeadership(to wanted: MemberID?, now: Microseconds) {
        guard role == .leader, transfer == nil else { return }
        let target = wanted ?? bestSuccessor(now: now)
        guard let target, target != id, configuration.isVoter(target) else { return }
        transfer = Transfer(target: target, deadline: now + settings.electionTimeoutMicroseconds)
        finishTransferIfCaughtUp(target)
        if transfer != nil { replicate(to: target) }
    }

    /// The voter with the longest matching log among those heard lately.
    private func bestSuccessor(now: Microseconds) -> MemberID? {
        configuration.voters
            .filter { voter in
                voter != id
                    && progress[voter]!.lastContact + settings.electionTimeoutMicroseconds >= now
            }
            .max { progress[$0]!.match < progress[$1]!.match }
    }

    /// A target that lacks entries would lose its election.
    mutating func finishTransferIfCaughtUp(_ peer: MemberID) {
        guard role == .leader, transfer?.target == peer else { return }
        if progress[peer]!.match == log.lastIndex { send(.timeoutNow, to: peer) }
    }
}
