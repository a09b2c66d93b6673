/// Which voters a leader asks to confirm a read round.
///
/// While reads are few everyone is asked, and the first answers that complete a quorum count. When they
/// are many only as many voters are asked as complete one: waking the others costs more than their
/// answers are worth (three members on two cores, 64 connections with a read each: 37.6 µs of CPU a read
/// with everyone asked, 29.6 with a quorum; with 2 connections a quorum alone is 18 % slower). Each
/// heartbeat asks everyone anyway, and who answered it first is asked until the next.
struct RoundVoters: Equatable, Sendable {
    /// The voters to ask; nil means everyone.
    private(set) var chosen: [MemberID]?
    /// Voters in the order in which they answered the last heartbeat.
    private var quickest: [MemberID] = []
    private var heartbeatRound: UInt64 = 0

    mutating func answered(_ peer: MemberID, round: UInt64) {
        guard round >= heartbeatRound, !quickest.contains(peer) else { return }
        quickest.append(peer)
    }

    /// A heartbeat with a round of its own is about to leave.
    ///
    /// - Parameters:
    ///   - isBusy: whether many reads came since the last one.
    ///   - count: the number of others that complete a quorum.
    mutating func choose(
        _ count: Int, of configuration: Configuration, isBusy: Bool, heartbeatRound: UInt64
    ) {
        let voters = quickest.filter(configuration.isVoter)
        chosen = isBusy && voters.count >= count ? Array(voters.prefix(count)) : nil
        quickest.removeAll(keepingCapacity: true)
        self.heartbeatRound = heartbeatRound
    }

    mutating func chooseEveryone() { chosen = nil }
}
