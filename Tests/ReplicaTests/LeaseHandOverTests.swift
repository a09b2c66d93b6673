import RaftCore
import Replica
import TestSupport
import Testing

@Suite("Leases when the leader can't write")
struct LeaseHandOverTests {
    /// Long enough to be recorded in the log, every so often.
    private static let seconds: Int64 = 100
    private static let checkpointMicroseconds: Microseconds = 20_000_000

    private func started(size: Int, seed: UInt64) throws -> TestCluster {
        var settings = TestCluster.fastSettings
        settings.leaseCheckpointMicroseconds = Self.checkpointMicroseconds
        // What happens here takes long: snapshots would only be in the way.
        settings.snapshotEntries = .max
        let cluster = try TestCluster(size: size, seed: seed, settings: settings)
        cluster.run(microseconds: 500_000)
        return cluster
    }

    /// A leader that can't hand over, because its target doesn't hear it, and believes that it is.
    private func transferring(_ cluster: TestCluster) throws -> Int {
        let leader = try #require(cluster.leaderPosition)
        let target = (leader + 1) % 3
        cluster.cut.insert([leader, target])
        cluster.deliver(.transferLeadership(to: MemberID(target + 1)), to: leader)
        try #require(cluster.nodes[leader].status!.isTransferring)
        return leader
    }

    private func left(_ lease: Int64, _ cluster: TestCluster, on position: Int) throws -> Int64 {
        let query = cluster.leaseCall(.leaseTimeToLive, lease, on: position)
        cluster.run(microseconds: 300_000)
        let message = try #require(cluster.responses[query]).get()
        return try #require(TestCluster.integer(3, in: message))
    }

    private func isAlive(_ renewal: RequestID, _ cluster: TestCluster) throws -> Bool {
        let message = try #require(cluster.responses[renewal]).get()
        return TestCluster.integer(3, in: message) == Self.seconds
    }

    @Test("a checkpointed lease is renewed for good: its checkpoint is cleared first")
    func renewal() throws {
        let cluster = try started(size: 1, seed: 51)
        let lease = try cluster.grant(seconds: Self.seconds, on: 0)
        cluster.run(microseconds: 50_000_000)
        #expect(try left(lease, cluster, on: 0) <= 51)
        // A successor counts from the checkpoint that was made last.
        cluster.crash(0)
        try cluster.start(0)
        cluster.run(microseconds: 500_000)
        let fromCheckpoint = try left(lease, cluster, on: 0)
        #expect((50...62).contains(fromCheckpoint), "\(fromCheckpoint)")
        // And from the whole time once the lease was renewed.
        let renewal = cluster.leaseCall(.leaseKeepAlive, lease, on: 0)
        cluster.run(microseconds: 100_000)
        #expect(try isAlive(renewal, cluster))
        cluster.crash(0)
        try cluster.start(0)
        cluster.run(microseconds: 500_000)
        #expect(try left(lease, cluster, on: 0) >= Self.seconds - 1)
    }

    @Test("a checkpointed lease is renewed although the log is full for a moment")
    func full() throws {
        let cluster = try started(size: 1, seed: 52)
        let lease = try cluster.grant(seconds: Self.seconds, on: 0)
        cluster.run(microseconds: 50_000_000)
        cluster.settings.maxUnsyncedBytes = 1
        cluster.crash(0)
        try cluster.start(0)
        cluster.run(microseconds: 500_000)
        let put = cluster.put("a", "1", on: 0)
        // Nothing is synced in no time: the entry that clears the checkpoint is refused.
        let renewal = cluster.leaseCall(.leaseKeepAlive, lease, on: 0)
        #expect(cluster.responses[renewal] == nil)
        cluster.run(microseconds: 100_000)
        #expect(cluster.succeeded(put))
        #expect(try isAlive(renewal, cluster))
        cluster.crash(0)
        try cluster.start(0)
        cluster.run(microseconds: 500_000)
        #expect(try left(lease, cluster, on: 0) >= Self.seconds - 1)
    }

    @Test("a checkpointed lease is renewed when a hand-over that was under way has failed")
    func failedHandOver() throws {
        let cluster = try started(size: 3, seed: 53)
        let lease = try cluster.grant(seconds: Self.seconds, on: 0)
        cluster.run(microseconds: 50_000_000)
        let leader = try transferring(cluster)
        let start = cluster.now
        let renewals = (0..<3).map { cluster.leaseCall(.leaseKeepAlive, lease, on: $0) }
        cluster.run(microseconds: 200_000)
        #expect(cluster.nodes[leader].status!.isTransferring)
        // Before the checkpoint is cleared nobody may be promised anything.
        #expect(renewals.allSatisfy { cluster.responses[$0] == nil })
        cluster.cut = []
        cluster.run(microseconds: 2_000_000)
        #expect(try renewals.allSatisfy { try isAlive($0, cluster) })
        let last = try #require(renewals.compactMap { cluster.answeredAt[$0] }.max())
        #expect(last - start < 1_500_000)
    }

    @Test(
        "a checkpointed lease is renewed by the leader that took over meanwhile", arguments: 0..<3)
    func handOver(position: Int) throws {
        let cluster = try started(size: 3, seed: 54)
        let lease = try cluster.grant(seconds: Self.seconds, on: 0)
        cluster.run(microseconds: 50_000_000)
        let leader = try #require(cluster.leaderPosition)
        cluster.deliver(.transferLeadership(to: nil), to: leader)
        let renewal = cluster.leaseCall(.leaseKeepAlive, lease, on: position)
        cluster.run(microseconds: 500_000)
        let successor = try #require(cluster.leaderPosition)
        #expect(successor != leader)
        #expect(try isAlive(renewal, cluster))
        #expect(try left(lease, cluster, on: position) >= Self.seconds - 1)
    }

    @Test("a lease that ends while leadership is handed over in vain ends soon after, not before")
    func refusedExpiry() throws {
        let cluster = try started(size: 3, seed: 55)
        let lease = try cluster.grant(seconds: 5, on: 0)
        let put = cluster.put("a", "1", lease: lease, on: 0)
        cluster.run(microseconds: 4_700_000)
        #expect(cluster.succeeded(put))
        let leader = try transferring(cluster)
        let before = cluster.nodes[leader].status!.lastIndex
        let effects = cluster.effectCount
        cluster.run(microseconds: 700_000)
        // It is due, and nothing can be proposed.
        #expect(cluster.nodes[leader].status!.isTransferring)
        #expect(cluster.nodes[leader].status!.lastIndex == before)
        #expect(cluster.effectCount - effects < 200)
        // A renewal that comes now still counts: the expiry isn't in the log.
        let renewal = cluster.leaseCall(.leaseKeepAlive, lease, on: leader)
        cluster.run(microseconds: 50_000)
        let message = try #require(cluster.responses[renewal]).get()
        #expect(TestCluster.integer(3, in: message) == 5)
        cluster.run(microseconds: 4_700_000)
        let other = try cluster.grant(seconds: 100, on: leader)
        _ = try transferring(cluster)
        // It is due before the hand-over is given up.
        cluster.run(microseconds: 1_300_000)
        #expect(cluster.leaderPosition == leader)
        cluster.cut = []
        let get = cluster.get("a", on: leader)
        cluster.run(microseconds: 100_000)
        #expect(TestCluster.value(in: try #require(cluster.responses[get]).get()) == nil)
        #expect(try left(other, cluster, on: leader) > 90)
    }
}
