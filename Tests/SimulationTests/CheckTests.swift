import DurableLog
import RaftCore
import Testing

@testable import Simulation

/// Every check must fail where its promise is broken: one that can't proves nothing.
@Suite("A check notices")
struct CheckTests {
    @Test("two leaders in a term")
    func electionSafety() throws {
        var check = ElectionSafety()
        try check.observe(StandIn(id: 1, term: 4, role: .leader))
        try check.observe(StandIn(id: 2, term: 5, role: .leader))
        #expect(throws: Violation.self) {
            try check.observe(StandIn(id: 2, term: 4, role: .leader))
        }
    }

    @Test("a second vote in a term, also after a restart")
    func votes() throws {
        var check = VotesAreKept()
        func vote(_ candidate: MemberID, term: Term) -> Message {
            Message(from: 1, to: candidate, term: term, body: .voteResponse(granted: true))
        }
        try check.observe(vote(2, term: 3))
        try check.observe(vote(2, term: 3))
        try check.observeRecovery(of: 1, term: 3, vote: 2)
        #expect(throws: Violation.self) { try check.observe(vote(3, term: 3)) }
        #expect(throws: Violation.self) { try check.observeRecovery(of: 1, term: 3, vote: nil) }
        #expect(throws: Violation.self) { try check.observeRecovery(of: 1, term: 2, vote: nil) }
        let late = Message(
            from: 1, to: 2, term: 2, body: .heartbeatResponse(.init(round: 1, wantsCommits: false)))
        #expect(throws: Violation.self) { try check.observe(late) }
    }

    @Test(
        "anything that goes back in a running process",
        arguments: [
            StandIn(term: 4, vote: 2, commitIndex: 5, appliedIndex: 5),
            StandIn(term: 5, vote: 3, commitIndex: 5, appliedIndex: 5),
            StandIn(term: 5, vote: 2, commitIndex: 4, appliedIndex: 4),
            StandIn(term: 5, vote: 2, commitIndex: 5, appliedIndex: 4),
            StandIn(term: 5, vote: 2, commitIndex: 5, appliedIndex: 6),
        ])
    func monotonicity(after: StandIn) throws {
        var check = Monotonicity()
        let before = StandIn(term: 5, vote: 2, commitIndex: 5, appliedIndex: 5)
        try check.observe(before)
        try check.observe(before)
        #expect(throws: Violation.self) { try check.observe(after) }
        var restarted = StandIn(term: 5, vote: 2, commitIndex: 1, appliedIndex: 1)
        restarted.boot = 2
        try check.observe(restarted)
    }

    @Test("two versions of what is committed")
    func canon() throws {
        var check = CommittedCanon()
        let log = StandIn.log(terms: [1, 1, 2])
        let first = try check.observe(StandIn(id: 1, commitIndex: 2, log: log))
        #expect(first == 0..<2)
        let second = try check.observe(StandIn(id: 2, commitIndex: 3, log: log))
        #expect(second == 2..<3)
        #expect(throws: Violation.self) {
            try check.observe(
                StandIn(id: 3, commitIndex: 2, log: StandIn.log(terms: [1, 3])))
        }
        #expect(throws: Violation.self) {
            try check.observe(StandIn(id: 4, commitIndex: 4, log: log))
        }
    }

    @Test("a leader that lacks what is committed")
    func completeness() throws {
        var canon = CommittedCanon()
        let log = StandIn.log(terms: [1, 1, 2])
        _ = try canon.observe(StandIn(id: 1, commitIndex: 3, log: log))
        var check = LeaderCompleteness()
        try check.observe(StandIn(id: 1, term: 3, role: .leader, log: log), canon: canon)
        #expect(throws: Violation.self) {
            try check.observe(
                StandIn(id: 2, term: 4, role: .leader, log: StandIn.log(terms: [1, 1])),
                canon: canon)
        }
    }

    @Test("logs that differ before an entry they share")
    func matching() throws {
        var check = LogMatching()
        try check.observe(StandIn(id: 1, log: StandIn.log(terms: [1, 1, 2])))
        try check.observe(StandIn(id: 2, log: StandIn.log(terms: [1, 1, 2, 2])))
        #expect(throws: Violation.self) {
            try check.observe(StandIn(id: 3, log: StandIn.log(terms: [1, 1, 2], branch: 9)))
        }
    }

    @Test("a second configuration that isn't committed")
    func configurations() throws {
        let check = OneConfigurationChange()
        let canon = CommittedCanon()
        try check.observe(StandIn(role: .leader, configurationIndexes: [0, 5]), canon: canon)
        #expect(throws: Violation.self) {
            try check.observe(
                StandIn(role: .leader, configurationIndexes: [0, 5, 6]), canon: canon)
        }
    }

    @Test("states that differ after the same entry")
    func agreement() throws {
        var check = StateAgreement()
        try check.observe(StandIn(id: 1, appliedIndex: 7, stateHash: 1, revision: 3))
        try check.observe(StandIn(id: 2, appliedIndex: 7, stateHash: 1, revision: 3))
        #expect(throws: Violation.self) {
            try check.observe(StandIn(id: 3, appliedIndex: 7, stateHash: 2, revision: 3))
        }
    }

    @Test("a term nobody campaigned for")
    func terms() throws {
        var check = TermsAreCampaignedFor()
        try check.observe(StandIn(id: 1, term: 2, role: .candidate))
        try check.observe(StandIn(id: 2, term: 2))
        #expect(throws: Violation.self) {
            try check.observe(StandIn(id: 3, term: 3, role: .preCandidate))
        }
    }

    @Test("somebody who is followed and doesn't lead")
    func following() throws {
        var check = ElectionSafety()
        try check.observe(StandIn(id: 1, term: 4, role: .leader))
        try check.observe(StandIn(id: 2, term: 4, following: 1))
        try check.observe(StandIn(id: 2, term: 5))
        #expect(throws: Violation.self) {
            try check.observe(StandIn(id: 2, term: 5, role: .candidate, following: 1))
        }
    }

    @Test("a leader without a quorum's votes of its term")
    func votesOfALeader() throws {
        func vote(from voter: MemberID, for candidate: MemberID, term: Term) -> Message {
            Message(from: voter, to: candidate, term: term, body: .voteResponse(granted: true))
        }
        var check = LeadersAreElected()
        check.observe(vote(from: 2, for: 1, term: 3))
        try check.observe(StandIn(id: 1, term: 3, role: .leader))
        #expect(throws: Violation.self) {
            try check.observe(StandIn(id: 1, term: 4, role: .leader))
        }
    }

    @Test("a leader that commits, or changes the membership, before its own term")
    func ownTerm() throws {
        let log = StandIn.log(terms: [1, 2, 3, 3])
        func leader(commit: LogIndex, configuration: LogIndex = 0) -> StandIn {
            StandIn(
                id: 1, term: 3, role: .leader, commitIndex: commit, log: log,
                configurationIndexes: [configuration])
        }
        var check = OwnTermFirst()
        try check.observe(leader(commit: 1))
        try check.observe(leader(commit: 3))
        try check.observe(leader(commit: 3, configuration: 4))
        var counting = OwnTermFirst()
        try counting.observe(leader(commit: 1))
        #expect(throws: Violation.self) { try counting.observe(leader(commit: 2)) }
        var changing = OwnTermFirst()
        try changing.observe(leader(commit: 2))
        #expect(throws: Violation.self) {
            try changing.observe(leader(commit: 2, configuration: 4))
        }
    }

    @Test("a configuration that isn't the log's")
    func configurationOfALog() throws {
        let log = StandIn.log(terms: [1, 1])
        var check = ConfigurationIsTheLogs()
        try check.observe(StandIn(id: 1, log: log, configurationIndexes: [2]))
        #expect(throws: Violation.self) {
            try check.observe(
                StandIn(
                    id: 2, log: log, configurationIndexes: [2],
                    configuration: Configuration(voters: [1, 2])))
        }
        #expect(throws: Violation.self) {
            try check.observe(StandIn(id: 3, log: log, configurationIndexes: [3]))
        }
    }

    @Test("that what isn't on the platters is taken for durable")
    func durable() throws {
        let log = StandIn.log(terms: [1, 1, 1])
        var check = DurableIsTrue()
        try check.observe(StandIn(id: 1, log: log, durable: 2)) { _ in platter(Array(log[..<2])) }
        #expect(throws: Violation.self) {
            try check.observe(StandIn(id: 1, log: log, durable: 3)) { _ in
                platter(Array(log[..<2]))
            }
        }
        #expect(throws: Violation.self) {
            try check.observe(StandIn(id: 1, log: log, durable: 4)) { _ in platter(log) }
        }
    }

    @Test("that acknowledged entries are gone in the same term")
    func acknowledgements() throws {
        var check = AcknowledgementsStand()
        let log = StandIn.log(terms: [1, 1, 1])
        check.observe(
            Message(
                from: 1, to: 2, term: 1,
                body: .appendResponse(.init(outcome: .matched(3), round: 1, wantsCommits: false))))
        try check.observe(StandIn(id: 1, log: log))
        try check.observe(StandIn(id: 1, term: 2, log: Array(log[..<2])))
        #expect(throws: Violation.self) {
            try check.observe(StandIn(id: 1, log: Array(log[..<2])))
        }
    }

    private func platter(_ log: [LogPosition]) -> PlatterAccount.Log {
        PlatterAccount.Log(positions: log)
    }

    @Test("a commit without a quorum's platters")
    func quorum() throws {
        let log = StandIn.log(terms: [1, 1])
        let configuration = Configuration(voters: [1, 2, 3], learners: [4])
        let check = QuorumDurability()
        try check.observe(committed: log[1], configuration: configuration) { member in
            member <= 2 ? platter(log) : nil
        }
        #expect(throws: Violation.self) {
            try check.observe(committed: log[1], configuration: configuration) { member in
                // A learner's copy counts for nothing.
                member == 1 || member == 4 ? platter(log) : platter([log[0]])
            }
        }
    }

    @Test("a count for a peer that its platters don't bear out, or that goes back")
    func matches() throws {
        let log = StandIn.log(terms: [1, 1, 1])
        func leader(match: LogIndex) -> StandIn {
            StandIn(
                id: 1, term: 1, role: .leader, log: log, peerMatches: [(member: 2, match: match)])
        }
        var check = MatchIsTrue()
        try check.observe(leader(match: 2)) { _ in platter(Array(log[..<2])) }
        #expect(throws: Violation.self) {
            try check.observe(leader(match: 3)) { _ in platter(Array(log[..<2])) }
        }
        var other = MatchIsTrue()
        try other.observe(leader(match: 2)) { _ in platter(log) }
        #expect(throws: Violation.self) {
            try other.observe(leader(match: 1)) { _ in platter(log) }
        }
    }

    @Test("that synced entries are gone after a loss of power")
    func platters() throws {
        func record(_ index: UInt64) -> [LogRecord] {
            [
                .vote(RecordedVote(term: 1, vote: 0)),
                .entry(LogEntry(index: index, term: 1, bytes: [1, 2])),
            ]
        }
        var account = PlatterAccount()
        try account.wrote(record(1), by: 1)
        account.syncedAll()
        let withOne = account.synced
        try account.wrote(record(2), by: 1)
        // What was under way may be there or not; what was synced must be.
        var withTwo = withOne
        for record in record(2) { withTwo.apply(record) }
        for outcome in [withOne, withTwo] {
            var copy = account
            try copy.recovered(outcome, member: 1, afterPowerLoss: true)
        }
        #expect(throws: Violation.self) {
            try account.recovered(PlatterAccount.Log(), member: 1, afterPowerLoss: true)
        }
    }

    @Test("that a batch whose sync failed is taken for durable after a mere restart")
    func cachedBatch() throws {
        let records: [LogRecord] = [
            .vote(RecordedVote(term: 1, vote: 0)),
            .entry(LogEntry(index: 1, term: 1, bytes: [1])),
        ]
        var account = PlatterAccount()
        try account.wrote(records, by: 1)
        var shown = PlatterAccount.Log()
        for record in records { shown.apply(record) }
        try account.recovered(shown, member: 1, afterPowerLoss: false)
        #expect(account.synced.positions.isEmpty)
    }

    private func entry(_ index: UInt64, term: UInt64) -> LogRecord {
        .entry(LogEntry(index: index, term: term, bytes: [1]))
    }

    @Test("a batch that no member could go on from")
    func prefixes() throws {
        var newer = PlatterAccount()
        #expect(throws: Violation.self) { try newer.wrote([entry(1, term: 1)], by: 1) }
        var gap = PlatterAccount()
        #expect(throws: Violation.self) {
            try gap.wrote([.vote(RecordedVote(term: 1, vote: 0)), entry(2, term: 1)], by: 1)
        }
        var early = PlatterAccount()
        let other = [LogPosition(index: 1, term: 2, chain: 7)]
        #expect(throws: Violation.self) {
            try early.wrote(
                .init(
                    records: [.vote(RecordedVote(term: 1, vote: 0)), entry(1, term: 1)],
                    commitIndex: 1), by: 1, canon: other)
        }
    }

    @Test("that another entry is read back as committed")
    func recoveredCommit() throws {
        var canon = CommittedCanon()
        let log = StandIn.log(terms: [1, 1])
        _ = try canon.observe(StandIn(id: 1, commitIndex: 2, log: log))
        try canon.observeRecovery(of: 2, commitIndex: 2, positions: [.zero] + log)
        #expect(throws: Violation.self) {
            try canon.observeRecovery(
                of: 2, commitIndex: 2, positions: [.zero] + StandIn.log(terms: [1, 2]))
        }
    }

    @Test("that a loss of power now would be the end of a member")
    func probes() throws {
        let world = World(seed: 1, scenario: Scenario())
        let member = world.members[0]
        world.probePower(of: member)
        #expect(world.violation == nil)
        try member.disk.write("log-0000000000000001", offset: 0, bytes: [1, 2, 3])
        try member.disk.sync("log-0000000000000001")
        world.probePower(of: member)
        #expect(world.violation?.check == "PowerProbe")
    }
}

extension PlatterAccount {
    /// Notes records in one batch that speaks of no commit.
    mutating func wrote(_ records: [LogRecord], by member: MemberID) throws(Violation) {
        try wrote(.init(records: records, commitIndex: 0), by: member, canon: [])
    }
}
