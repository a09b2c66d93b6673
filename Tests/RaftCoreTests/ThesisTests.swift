import Testing

@testable import RaftCore

/// One test or more for each rule of the thesis, by section.
@Suite("Raft by the thesis")
struct ThesisTests {
    func elected(voters: Int = 3, leader: MemberID = 1) -> RaftCluster {
        var cluster = RaftCluster(voters: voters)
        cluster.elect(leader)
        return cluster
    }

    @Test("3.4: a member votes once in a term, also across a crash")
    func oneVote() {
        var cluster = RaftCluster(voters: 3)
        func ask(_ candidate: MemberID) -> Message {
            Message(
                from: candidate, to: 3, term: 5,
                body: .voteRequest(.init(lastIndex: 0, lastTerm: 0)))
        }
        cluster.deliverOne(ask(1))
        let said1 = cluster.takeMessages()
        #expect(said1.map(\.body) == [.voteResponse(granted: true)])
        cluster.crash(3)
        cluster.deliverOne(ask(2))
        let said2 = cluster.takeMessages()
        #expect(said2.map(\.body) == [.voteResponse(granted: false)])
        cluster.deliverOne(ask(1))
        let said3 = cluster.takeMessages()
        #expect(said3.map(\.body) == [.voteResponse(granted: true)])
    }

    @Test("3.4: a vote of an older term elects nobody")
    func oldVote() {
        var cluster = RaftCluster(voters: 3)
        cluster.timeout(1)
        cluster.deliver { if case .voteRequest = $0.body { true } else { false } }
        #expect(cluster[1].role == .candidate && cluster[1].term == 1)
        cluster.pass(3_000_000)
        cluster.timeout(1)
        cluster.deliver { if case .voteRequest = $0.body { true } else { false } }
        #expect(cluster[1].term == 2)
        cluster.deliverOne(Message(from: 2, to: 1, term: 1, body: .voteResponse(granted: true)))
        #expect(cluster[1].role == .candidate)
        cluster.deliverOne(Message(from: 2, to: 1, term: 2, body: .voteResponse(granted: true)))
        #expect(cluster[1].role == .leader)
    }

    @Test("3.5: a delayed append doesn't shorten a log that a newer one extended")
    func delayedAppend() throws {
        var cluster = elected()
        _ = cluster.propose(1)
        let early = try #require(cluster.takeMessages().first { $0.to == 2 })
        cluster.deliverOne(early)
        cluster.deliver()
        _ = cluster.propose(1)
        cluster.deliver()
        let length = cluster[2].lastIndex
        cluster.deliverOne(early)
        cluster.deliver()
        #expect(cluster[2].lastIndex == length)
    }

    @Test("3.5: a follower commits what it was shown, not what it happens to hold")
    func commitsMatched() {
        var cluster = elected(leader: 3)
        _ = cluster.propose(3)
        _ = cluster.propose(3)
        _ = cluster.takeMessages()
        #expect(cluster[3].commitIndex == 1 && cluster[3].lastIndex == 3)
        // A new leader has the first of the two, and something else in place of the second.
        let probe = Message(
            from: 1, to: 3, term: cluster[3].term + 1,
            body: .append(
                .init(previous: cluster[3].position(at: 2)!, entries: [], commitIndex: 3, round: 0))
        )
        cluster.deliverOne(probe)
        #expect(cluster[3].commitIndex == 2)
    }

    @Test("3.5: a follower acknowledges what matched, not what it happens to hold")
    func acknowledgesMatched() {
        var cluster = elected()
        // n3 gets an entry that is never committed, in a term of its own.
        cluster.pass(3_000_000)
        cluster.timeout(3)
        cluster.deliver()
        #expect(cluster[3].isLeader)
        _ = cluster.propose(3)
        _ = cluster.propose(3)
        _ = cluster.takeMessages()
        // Entries 3 and 4 exist on n3 alone; a new leader probes before them.
        let probe = Message(
            from: 1, to: 3, term: cluster[3].term + 1,
            body: .append(
                .init(previous: cluster[3].position(at: 1)!, entries: [], commitIndex: 1, round: 0))
        )
        cluster.deliverOne(probe)
        let answer = cluster.takeMessages().last
        guard case .appendResponse(let response)? = answer?.body else {
            Issue.record("no answer")
            return
        }
        #expect(response.outcome == .matched(2) || response.outcome == .matched(1))
    }

    @Test("3.6.1: the last term decides before the last index")
    func upToDate() {
        var log = EntryLog(base: .zero, configuration: Configuration(voters: [1]))
        log.append(EntryMetadata(term: 2, digest: 1, byteCount: 1))
        log.append(EntryMetadata(term: 3, digest: 1, byteCount: 1))
        #expect(log.isCovered(byLastIndex: 2, lastTerm: 3))
        #expect(log.isCovered(byLastIndex: 1, lastTerm: 4))
        #expect(!log.isCovered(byLastIndex: 9, lastTerm: 2))
        #expect(!log.isCovered(byLastIndex: 1, lastTerm: 3))
    }

    @Test("3.6.2: entries of an earlier term commit only with one of the leader's own")
    func figureEight() {
        var cluster = elected()
        _ = cluster.propose(1)
        _ = cluster.takeMessages()
        cluster.crash(1)
        cluster.pass(3_000_000)
        cluster.timeout(1)
        cluster.deliver { $0.isAppend }
        #expect(cluster[1].isLeader && cluster[1].term == 2 && cluster[1].lastIndex == 3)
        func matched(_ index: LogIndex) -> Message {
            Message(
                from: 2, to: 1, term: 2,
                body: .appendResponse(
                    .init(outcome: .matched(index), round: 0, wantsCommits: false)))
        }
        // Entry 2, of term 1, is on a majority now, and still could be overwritten.
        cluster.deliverOne(matched(2))
        #expect(cluster[1].commitIndex == 0)
        cluster.deliverOne(matched(3))
        #expect(cluster[1].commitIndex == 3)
    }

    @Test("3.10: the target of a hand-over campaigns only with its log on disk")
    func transferWaitsForDisk() {
        var cluster = elected()
        cluster.holdDisk(3, true)
        _ = cluster.propose(1)
        cluster.deliver()
        cluster.deliverOne(Message(from: 1, to: 3, term: cluster[1].term, body: .timeoutNow))
        let before = cluster.takeMessages()
        #expect(!before.contains { $0.from == 3 })
        cluster.holdDisk(3, false)
        let after = cluster.takeMessages()
        #expect(
            after.contains {
                if case .voteRequest(let request) = $0.body { request.isTransfer } else { false }
            })
    }

    @Test("4.1: one change at a time, of one voter, and only behind an entry of this term")
    func membershipRules() {
        var cluster = elected()
        let bigger = Configuration(voters: [1, 2, 3, 4])
        let twoAtOnce = cluster.propose(1, Configuration(voters: [1, 4, 5]))
        #expect(twoAtOnce == .configurationInvalid)
        let accepted = cluster.propose(1, bigger)
        #expect(accepted == .accepted(2))
        #expect(cluster[1].configuration == bigger)
        let early = cluster.propose(1, Configuration(voters: [1, 2, 3, 4, 5]))
        #expect(early == .configurationBusy)
        cluster.deliver { $0.to == 4 }
        #expect(cluster[1].commitIndex == 2)
        let next = cluster.propose(1, Configuration(voters: [1, 2, 3, 4, 5]))
        #expect(next == .accepted(3))
    }

    @Test("4.1: a configuration that is truncated is rolled back")
    func configurationRollback() {
        var cluster = elected()
        _ = cluster.propose(1, Configuration(voters: [1, 2, 3, 4]))
        _ = cluster.takeMessages()
        cluster.pass(3_000_000)
        cluster.timeout(2)
        cluster.deliver { $0.to == 1 || $0.from == 1 }
        _ = cluster.propose(2)
        cluster.deliver()
        cluster.timeout(2)
        cluster.deliver()
        #expect(cluster[1].leader == 2)
        #expect(cluster[1].configuration.voters == [1, 2, 3])
    }

    @Test("4.2.2: a removed leader doesn't count itself and steps down when it is gone")
    func removedLeader() {
        var cluster = elected()
        _ = cluster.propose(1, Configuration(voters: [2, 3]))
        let messages = cluster.takeMessages()
        // Its own disk and one follower are no quorum of {2, 3}.
        for message in messages where message.to == 2 { cluster.deliverOne(message) }
        cluster.deliver()
        #expect(cluster[1].commitIndex == 1 && cluster[1].isLeader)
        for message in messages where message.to == 3 { cluster.deliverOne(message) }
        cluster.deliver()
        #expect(!cluster[1].isLeader)
        #expect(cluster[1].commitIndex == 2)
    }

    @Test("4.2.2: a member that an uncommitted entry removes campaigns, without counting itself")
    func removedCandidate() {
        var cluster = elected(voters: 2)
        // The entry that leaves only n2 stays with n1, which then loses its leadership.
        _ = cluster.propose(1, Configuration(voters: [2]))
        _ = cluster.takeMessages()
        cluster.pass(3_000_000)
        cluster.timeout(1)
        _ = cluster.takeMessages()
        #expect(cluster[1].role == .follower && cluster[1].lastIndex > cluster[2].lastIndex)
        cluster.pass(3_000_000)
        cluster.timeout(2)
        cluster.deliver()
        #expect(!cluster[2].isLeader, "n1 must refuse: its log is newer")
        cluster.pass(3_000_000)
        cluster.timeout(1)
        #expect(cluster[1].role == .preCandidate, "its own vote is no quorum")
        cluster.deliver()
        #expect(cluster[2].commitIndex >= 2, "n2 learned from n1 that it is alone")
        cluster.pass(3_000_000)
        #expect(cluster[1].nextDeadline == .max, "its work is done; it would win again and again")
        cluster.timeout(2)
        cluster.deliver()
        #expect(cluster[2].isLeader)
    }

    @Test("4.2.1: a learner whose promotion is lost campaigns when others need its vote")
    func promotedLearner() {
        var cluster = RaftCluster(voters: 3, learners: 1)
        cluster.elect(2)
        // Only n2 has the promotion.
        _ = cluster.propose(2, Configuration(voters: [1, 2, 3, 4]))
        _ = cluster.takeMessages()
        cluster.pass(3_000_000)
        cluster.timeout(1)
        cluster.deliver { $0.from == 2 || $0.to == 2 || $0.body.isAppend && $0.to == 3 }
        #expect(cluster[1].isLeader && cluster[4].lastIndex == 2 && cluster[3].lastIndex == 1)
        // n1 is gone for good. n2 needs n3 and n4; n4 has a newer log, and is no voter by it.
        func isLost(_ message: Message) -> Bool { message.from == 1 || message.to == 1 }
        // n2 learns that nobody follows it, asks in vain, and n4 takes its place for a moment.
        for id in [2, 2, 4, 2] as [MemberID] {
            cluster.pass(3_000_000)
            cluster.timeout(id)
            cluster.deliver(losing: isLost)
        }
        #expect(cluster[2].isLeader || cluster[3].isLeader)
        #expect(cluster[4].role == .follower)
    }

    @Test("6.2: a leader that hears no majority for an election timeout steps down")
    func checkQuorum() {
        var cluster = elected()
        cluster.pass(2_100_000)
        cluster.timeout(1)
        #expect(cluster[1].role == .follower)
    }

    @Test("6.4: a new leader doesn't answer reads before its no-op is committed")
    func freshLeaderRead() {
        var cluster = elected()
        _ = cluster.propose(1)
        cluster.deliver { $0.to == 2 }
        cluster.pass(3_000_000)
        cluster.timeout(3)
        cluster.deliver { message in
            if case .append = message.body { message.from == 3 } else { message.to == 1 }
        }
        #expect(cluster[3].isLeader)
        cluster.transcript = []
        cluster.read(3, context: 5)
        cluster.deliver { $0.isAppend }
        #expect(!cluster.transcript.contains { $0.hasPrefix("n3 read 5") })
        cluster.timeout(3)
        cluster.deliver()
        cluster.timeout(3)
        cluster.deliver()
        #expect(cluster.transcript.contains("n3 read 5 at 3"))
    }

    @Test("9.6: a member that hears its leader refuses pre-votes")
    func stickiness() {
        var cluster = elected()
        cluster.timeout(1)
        cluster.deliver()
        cluster.deliverOne(
            Message(
                from: 3, to: 2, term: 9, body: .preVoteRequest(.init(lastIndex: 99, lastTerm: 8))))
        let said4 = cluster.takeMessages()
        #expect(said4.map(\.body) == [.preVoteResponse(granted: false)])
        #expect(cluster[2].term == cluster[1].term)
    }

    @Test("3.5: a peer that connects to a new leader is asked from the end of the log backwards")
    func connectsLate() {
        var cluster = elected()
        for _ in 0..<10 { _ = cluster.propose(1) }
        cluster.deliver()
        cluster.pass(3_000_000)
        cluster.timeout(2)
        cluster.deliver { $0.to == 3 && $0.from == 2 && $0.isAppend }
        #expect(cluster[2].isLeader)
        cluster.step(.peerDisconnected(3), on: 2)
        cluster.step(.peerConnected(3), on: 2)
        let sent = cluster.takeMessages().filter { $0.to == 3 && $0.isAppend }
        #expect(sent.count == 1)
        guard case .append(let append)? = sent.first?.body else { return }
        #expect(append.previous.index == 11)
    }

    @Test("10.2: appends are pipelined within a window of messages and bytes")
    func window() {
        var cluster = elected()
        let limit = cluster[1].settings.maxInflightMessages
        for _ in 0..<limit + 50 { _ = cluster.propose(1) }
        let appends = cluster.takeMessages().filter { $0.to == 2 }
        #expect(appends.count == limit)
    }
}

@Suite("Bookkeeping")
struct BookkeepingTests {
    @Test("what recovery writes once more isn't durable before it says so")
    func recoveryWrite() {
        var queue = DurabilityQueue(durableIndex: 3, lastIndex: 5)
        #expect(queue.durableIndex == 3 && queue.handedIndex == 5)
        #expect(!queue.isHardStateDurable && !queue.isIdle)
        queue.complete(token: DurabilityQueue.recoveryToken)
        #expect(queue.durableIndex == 5)
        #expect(queue.isHardStateDurable && queue.isIdle)
    }

    @Test("a truncation lowers what writes under way may claim")
    func asynchronousABA() {
        var queue = DurabilityQueue(durableIndex: 4, lastIndex: 4)
        queue.complete(token: DurabilityQueue.recoveryToken)
        let first = queue.begin(lastIndex: 5, carriesHardState: false)
        let firstMustBeTold = queue.truncate(to: 4)
        let second = queue.begin(lastIndex: 5, carriesHardState: false)
        let secondMustBeTold = queue.truncate(to: 4)
        #expect(firstMustBeTold && secondMustBeTold)
        let third = queue.begin(lastIndex: 5, carriesHardState: false)
        queue.complete(token: first)
        #expect(queue.durableIndex == 4)
        queue.complete(token: second)
        #expect(queue.durableIndex == 4)
        queue.complete(token: third)
        #expect(queue.durableIndex == 5)
    }

    @Test("logs that differ anywhere have different chains")
    func chains() {
        func chain(_ entries: [(Term, UInt64)]) -> UInt64 {
            var log = EntryLog(base: .zero, configuration: Configuration(voters: [1]))
            for (term, digest) in entries {
                log.append(EntryMetadata(term: term, digest: digest, byteCount: 3))
            }
            return log.lastPosition.chain
        }
        let all: [[(Term, UInt64)]] = [
            [(1, 1), (1, 2), (2, 3)], [(1, 1), (1, 2), (1, 3)], [(1, 1), (1, 4), (2, 3)],
            [(1, 2), (1, 1), (2, 3)], [(1, 1), (2, 3)],
        ]
        #expect(Set(all.map(chain)).count == all.count)
    }

    @Test("a follower whose history differs under the same term is told", arguments: [1, 2])
    func divergence(index: LogIndex) throws {
        var cluster = RaftCluster(voters: 3)
        cluster.elect(1)
        _ = cluster.propose(1)
        cluster.deliver()
        var position = try #require(cluster[1].position(at: index))
        position.chain ^= 1
        cluster.transcript = []
        let entry = EntryMetadata(term: cluster[1].term, digest: 1, byteCount: 1)
        cluster.deliverOne(
            Message(
                from: 1, to: 2, term: cluster[1].term,
                body: .append(
                    .init(
                        previous: position, entries: [entry, entry], commitIndex: index, round: 0)))
        )
        #expect(cluster.transcript.contains("n2 differs from n1 at \(index)"))
    }

    @Test("quorums of any size intersect", arguments: 1...7)
    func quorums(size: Int) {
        let configuration = Configuration(voters: (1...size).map { MemberID($0) })
        #expect(configuration.quorumSize * 2 > size)
        #expect(configuration.quorumIndex { $0 } == LogIndex(size - configuration.quorumSize + 1))
    }

    @Test("a quorum has reached the middle of all indexes, equal or not", arguments: 0...5)
    func quorumIndexes(size: Int) {
        let configuration = Configuration(voters: (0..<size).map { MemberID($0 + 1) })
        let values = 4
        // Each choice of one of four values for each voter, as the digits of a number.
        for choice in 0..<(0..<size).reduce(1, { product, _ in product * values }) {
            var digits = choice
            let indexes = (0..<size).map { _ in
                defer { digits /= values }
                return LogIndex(digits % values)
            }
            let middle = size == 0 ? 0 : indexes.sorted()[size - configuration.quorumSize]
            #expect(configuration.quorumIndex { indexes[Int($0) - 1] } == middle)
        }
    }
}

extension Message.Body {
    fileprivate var isAppend: Bool {
        if case .append = self { true } else { false }
    }
}
