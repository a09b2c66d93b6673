import EtcdWire
import RaftCore
import TestSupport
import Testing

@testable import Replica

@Suite("Calls over links that come and go")
struct LinkTests {
    private func started(seed: UInt64) throws -> (TestCluster, leader: Int, follower: Int) {
        let cluster = try TestCluster(size: 3, seed: seed)
        cluster.run(microseconds: 500_000)
        let leader = try #require(cluster.leaderPosition)
        return (cluster, leader, (leader + 1) % 3)
    }

    @Test("what came while the link to the leader was down goes when it is up, each write once")
    func reconnected() throws {
        let (cluster, leader, follower) = try started(seed: 61)
        let lease = try cluster.grant(seconds: 60, on: leader)
        let leaderID = MemberID(leader + 1)
        // The leader is still heard: only what this member opened is down.
        cluster.deliver(.peerDisconnected(leaderID), to: follower)
        cluster.cut.insert([follower, leader])
        let put = cluster.put("a", "1", on: follower)
        let get = cluster.get("a", on: follower)
        let renewal = cluster.leaseCall(.leaseKeepAlive, lease, on: follower)
        cluster.run(microseconds: 400_000)
        for call in [put, get, renewal] { #expect(cluster.responses[call] == nil) }
        cluster.cut = []
        cluster.deliver(.peerConnected(leaderID), to: follower)
        cluster.run(microseconds: 50_000)
        #expect(cluster.succeeded(put))
        #expect(cluster.succeeded(get))
        let answer = try #require(cluster.responses[renewal]).get()
        #expect(TestCluster.integer(3, in: answer) == 60)
        // One write, one revision.
        #expect(cluster.nodes[leader].status!.revision == 2)
    }

    @Test("a write that never left says so, one that may have left is never sent again")
    func deadLink() throws {
        let (cluster, leader, follower) = try started(seed: 62)
        let leaderID = MemberID(leader + 1)
        // 1. The link is dead, and nobody has noticed: what goes into it is lost.
        cluster.cut.insert([follower, leader])
        let lost = cluster.put("lost", "1", on: follower)
        cluster.run(microseconds: 50_000)
        // 2. It is noticed.
        cluster.deliver(.peerDisconnected(leaderID), to: follower)
        let unsent = cluster.put("unsent", "1", timeout: 200_000, on: follower)
        cluster.run(microseconds: 300_000)
        guard case .failure(let failure)? = cluster.responses[unsent] else {
            Issue.record("the unsent write wasn't answered")
            return
        }
        #expect(failure.error == .noLeader)
        // 3. And mended.
        cluster.cut = []
        cluster.deliver(.peerConnected(leaderID), to: follower)
        cluster.run(microseconds: 6_000_000)
        guard case .failure(let unknown)? = cluster.responses[lost] else {
            Issue.record("the lost write was answered with success, or not at all")
            return
        }
        #expect(unknown.error == .timeout || unknown.error == .timeoutDueToLeaderFailure)
        #expect(cluster.nodes[leader].status!.revision == 1)
    }

    @Test("an answer to an earlier life's question about a read is none for this one")
    func earlierLife() throws {
        let (cluster, leader, follower) = try started(seed: 63)
        var asked: [UInt64] = []
        cluster.tap = { from, to, frame in
            guard from == follower, to == leader,
                case .raft(let message, _)? = try? PeerCodec.decode(
                    frame, from: MemberID(follower + 1), to: MemberID(leader + 1)),
                case .readIndexRequest(let context) = message.body
            else { return }
            asked.append(context)
        }
        // 1. The question is on its way when the member dies.
        cluster.cut.insert([leader, follower])
        _ = cluster.get("a", on: follower)
        let earlier = try #require(asked.first)
        cluster.crash(follower)
        try cluster.start(follower)
        cluster.cut = []
        cluster.run(microseconds: 300_000)
        let term = cluster.nodes[leader].status!.term
        try #require(cluster.nodes[leader].status!.isLeader)
        // 2. In its next life it asks again; the answer to the first question comes instead.
        asked.removeAll()
        cluster.cut.insert([leader, follower])
        let read = cluster.get("a", on: follower)
        let later = try #require(asked.first)
        #expect(later != earlier)
        func answer(_ context: UInt64) {
            let message = Message(
                from: MemberID(leader + 1), to: MemberID(follower + 1), term: term,
                body: .readIndexResponse(context: context, index: 0))
            cluster.deliver(
                .peerFrame(
                    MemberID(leader + 1), PeerCodec.encode(.raft(message, entryBytes: []))),
                to: follower)
        }
        answer(earlier)
        #expect(cluster.responses[read] == nil)
        // The same answer under the right context would have been taken.
        answer(later)
        #expect(cluster.succeeded(read))
    }
}
