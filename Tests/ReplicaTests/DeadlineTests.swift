import EtcdWire
import RaftCore
import Replica
import TestSupport
import Testing

@Suite("Calls that can't be answered in time")
struct DeadlineTests {
    /// A follower that reaches nobody, and the time at which it was cut off.
    private func isolated(seed: UInt64) throws -> (cluster: TestCluster, follower: Int) {
        let cluster = try TestCluster(size: 3, seed: seed)
        cluster.run(microseconds: 500_000)
        let follower = (try #require(cluster.leaderPosition) + 1) % 3
        for peer in 0..<3 where peer != follower {
            cluster.cut.insert([peer, follower])
            cluster.cut.insert([follower, peer])
        }
        return (cluster, follower)
    }

    private func failure(_ request: RequestID, _ cluster: TestCluster) throws -> RequestFailure {
        guard case .failure(let failure) = try #require(cluster.responses[request]) else {
            throw Unexpected()
        }
        return failure
    }

    private struct Unexpected: Error {}

    @Test("a read is answered shortly before its client's deadline, with etcd's error")
    func read() throws {
        let (cluster, follower) = try isolated(seed: 41)
        let start = cluster.now
        let patient = cluster.get("a", on: follower)
        let hasty = cluster.get("a", timeout: 1_000_000, on: follower)
        let hastier = cluster.get("a", timeout: 100_000, on: follower)
        cluster.run(microseconds: 7_000_000)
        #expect(cluster.answeredAt[hastier] == start + 90_000)
        #expect(cluster.answeredAt[hasty] == start + 980_000)
        #expect(cluster.answeredAt[patient] == start + 5_000_000)
        #expect(try failure(hastier, cluster).error == .deadlineExceeded)
        #expect(try failure(hasty, cluster).error == .deadlineExceeded)
        #expect(try failure(patient, cluster).error == .noLeader)
    }

    @Test("a client that would wait longer than this member does gets the member's error")
    func patientClient() throws {
        let (cluster, follower) = try isolated(seed: 42)
        let start = cluster.now
        let read = cluster.get("a", timeout: 3_600_000_000, on: follower)
        cluster.run(microseconds: 6_000_000)
        #expect(cluster.answeredAt[read] == start + 5_000_000)
        #expect(try failure(read, cluster).error == .noLeader)
    }

    @Test("a write in time says what became of it: never sent, or unknown")
    func write() throws {
        let (cluster, follower) = try isolated(seed: 43)
        let start = cluster.now
        // The follower still takes the leader for one: the write leaves, and is lost.
        let sent = cluster.put("a", "1", timeout: 300_000, on: follower)
        cluster.run(microseconds: 3_000_000)
        #expect(cluster.answeredAt[sent] == start + 280_000)
        #expect(try failure(sent, cluster).error == .timeout)
        let unsent = cluster.put("a", "2", timeout: 300_000, on: follower)
        cluster.run(microseconds: 1_000_000)
        #expect(try failure(unsent, cluster).error == .noLeader)
        #expect(try failure(unsent, cluster).detail.contains("nothing was written"))
    }

    @Test("a lease call keeps its client's deadline")
    func lease() throws {
        let (cluster, follower) = try isolated(seed: 44)
        let start = cluster.now
        let renewal = cluster.leaseCall(.leaseKeepAlive, 7, timeout: 400_000, on: follower)
        cluster.run(microseconds: 1_000_000)
        #expect(cluster.answeredAt[renewal] == start + 380_000)
        #expect(try failure(renewal, cluster).error == .timeout)
    }

    @Test("a leader that stepped down in its term is not asked without end")
    func steppedDown() throws {
        let cluster = try TestCluster(size: 3, seed: 45)
        cluster.run(microseconds: 500_000)
        let leader = try #require(cluster.leaderPosition)
        let followers = (0..<3).filter { $0 != leader }
        let put = cluster.put("a", "1", on: leader)
        cluster.run(microseconds: 50_000)
        #expect(cluster.succeeded(put))
        // 1. The leader is heard but hears nobody: it steps down, and the followers don't know.
        for follower in followers { cluster.cut.insert([follower, leader]) }
        while cluster.nodes[leader].status!.isLeader { cluster.run(microseconds: 10_000) }
        let term = cluster.nodes[leader].status!.term
        cluster.cut = []
        // 2. A follower asks it until it hears of another leader.
        let before = cluster.frameCounts[[followers[0], leader], default: 0]
        let read = cluster.get("a", on: followers[0])
        var sent = 0
        while cluster.leaderPosition == nil {
            sent = cluster.frameCounts[[followers[0], leader], default: 0] - before
            cluster.run(microseconds: 5_000)
            try #require(cluster.now < 60_000_000)
        }
        #expect(cluster.nodes[followers[0]].status!.term > term)
        #expect((2...12).contains(sent), "\(sent) frames to a member that doesn't lead")
        // 3. Then it is answered.
        cluster.run(microseconds: 200_000)
        #expect(TestCluster.value(in: try #require(cluster.responses[read]).get()) == "1")
    }
}
