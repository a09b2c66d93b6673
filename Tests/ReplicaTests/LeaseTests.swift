import DurableLog
import RaftCore
import Testing

@testable import Replica

@Suite("Leases in a cluster")
struct LeaseTests {
    func value(_ key: String, _ cluster: TestCluster, on position: Int = 0) throws -> String? {
        let get = cluster.get(key, on: position)
        cluster.run(microseconds: 50_000)
        return TestCluster.value(in: try #require(cluster.responses[get]).get())
    }

    func started(seed: UInt64) throws -> TestCluster {
        let cluster = try TestCluster(size: 3, seed: seed)
        cluster.run(microseconds: 500_000)
        return cluster
    }

    @Test("a lease that nobody renews takes its keys along, not before its time", arguments: 0..<3)
    func expiry(position: Int) throws {
        let cluster = try started(seed: 11)
        let lease = try cluster.grant(seconds: 5, on: position)
        let put = cluster.put("a", "1", lease: lease, on: position)
        cluster.run(microseconds: 4_800_000)
        #expect(cluster.succeeded(put))
        #expect(try value("a", cluster) == "1")
        cluster.run(microseconds: 400_000)
        #expect(try value("a", cluster) == nil)
    }

    @Test("renewals through any member keep a lease alive", arguments: 0..<3)
    func renewal(position: Int) throws {
        let cluster = try started(seed: 12)
        let lease = try cluster.grant(seconds: 3, on: 0)
        _ = cluster.put("a", "1", lease: lease, on: 0)
        for _ in 0..<6 {
            cluster.run(microseconds: 1_500_000)
            let renewal = cluster.leaseCall(.leaseKeepAlive, lease, on: position)
            cluster.run(microseconds: 100_000)
            let answer = try #require(cluster.responses[renewal]).get()
            #expect(TestCluster.integer(3, in: answer) == 3)
        }
        #expect(try value("a", cluster) == "1")
        cluster.run(microseconds: 3_500_000)
        let late = cluster.leaseCall(.leaseKeepAlive, lease, on: position)
        cluster.run(microseconds: 100_000)
        // Zero is left out of the message.
        #expect(TestCluster.integer(3, in: try #require(cluster.responses[late]).get()) == nil)
    }

    @Test("what is left of a lease can be asked at any member", arguments: 0..<3)
    func timeToLive(position: Int) throws {
        let cluster = try started(seed: 13)
        let lease = try cluster.grant(seconds: 60, on: 1)
        cluster.run(microseconds: 10_000_000)
        let query = cluster.leaseCall(.leaseTimeToLive, lease, on: position)
        cluster.run(microseconds: 100_000)
        let answer = try #require(cluster.responses[query]).get()
        #expect(TestCluster.integer(3, in: answer) == 50)
        #expect(TestCluster.integer(4, in: answer) == 60)
        let unknown = cluster.leaseCall(.leaseTimeToLive, 4711, on: position)
        cluster.run(microseconds: 100_000)
        #expect(TestCluster.integer(3, in: try #require(cluster.responses[unknown]).get()) == -1)
    }

    @Test("a failover neither ends a lease early nor keeps it for ever")
    func failover() throws {
        let cluster = try started(seed: 14)
        let lease = try cluster.grant(seconds: 4, on: 0)
        _ = cluster.put("a", "1", lease: lease, on: 0)
        cluster.run(microseconds: 3_000_000)
        let leader = try #require(cluster.leaderPosition)
        let other = (leader + 1) % 3
        cluster.crash(leader)
        cluster.run(microseconds: 3_000_000)
        #expect(try value("a", cluster, on: other) == "1")
        // At most the full time and an election timeout after the failover.
        cluster.run(microseconds: 2_500_000)
        #expect(try value("a", cluster, on: other) == nil)
    }

    @Test(
        "a renewal that meets the expiry's entry under way learns its outcome", arguments: [1, 3])
    func renewalAgainstExpiry(size: Int) throws {
        let cluster = try TestCluster(size: size, seed: 16)
        cluster.run(microseconds: 500_000)
        let lease = try cluster.grant(seconds: 2, on: 0)
        // The grant was answered within 50 ms; step by step until the expiry is proposed.
        cluster.run(microseconds: 1_900_000)
        let before = cluster.nodes[0].status!.lastIndex
        while cluster.nodes[0].status!.lastIndex == before { cluster.run(microseconds: 100) }
        let renewal = cluster.leaseCall(.leaseKeepAlive, lease, on: 0)
        cluster.run(microseconds: 200_000)
        #expect(
            TestCluster.integer(3, in: try #require(cluster.responses[renewal]).get()) == nil)
    }

    @Test("many leases that end together need few entries")
    func storm() throws {
        let cluster = try started(seed: 15)
        var leases: [Int64] = []
        for _ in 0..<30 { leases.append(try cluster.grant(seconds: 20, on: 0)) }
        let before = cluster.nodes[0].status!.lastIndex
        cluster.run(microseconds: 22_000_000)
        let query = cluster.call(.leaseLeases, [], on: 0)
        cluster.run(microseconds: 100_000)
        #expect(try #require(cluster.responses[query]).get().count < 60)
        #expect(cluster.nodes[0].status!.lastIndex - before <= 30)
    }
}

@Suite("Watches in a cluster")
struct WatchTests {
    @Test("every member's watchers see every event once and in order", arguments: 0..<3)
    func live(position: Int) throws {
        let cluster = try TestCluster(size: 3, seed: 21)
        cluster.run(microseconds: 500_000)
        cluster.watch("k", stream: 1, on: position)
        for number in 10..<40 {
            _ = cluster.put("k\(number)", "v", on: number % 3)
            cluster.run(microseconds: 30_000)
        }
        #expect(cluster.watchedKeys(1) == (10..<40).map { "k\($0)" })
    }

    @Test("a watch from a past revision replays, then follows")
    func history() throws {
        let cluster = try TestCluster(size: 1, seed: 22)
        cluster.run(microseconds: 100_000)
        for number in 10..<20 {
            _ = cluster.put("k\(number)", "v", on: 0)
            cluster.run(microseconds: 10_000)
        }
        cluster.watch("k", from: 4, stream: 1, on: 0)
        cluster.run(microseconds: 10_000)
        _ = cluster.put("k99", "v", on: 0)
        cluster.run(microseconds: 10_000)
        #expect(cluster.watchedKeys(1) == (12..<20).map { "k\($0)" } + ["k99"])
    }

    @Test("a paused stream gets nothing, and everything once it is resumed")
    func paused() throws {
        let cluster = try TestCluster(size: 1, seed: 23)
        cluster.run(microseconds: 100_000)
        cluster.watch("k", stream: 1, on: 0)
        cluster.deliver(.watchPaused(1), to: 0)
        for number in 10..<20 {
            _ = cluster.put("k\(number)", "v", on: 0)
            cluster.run(microseconds: 10_000)
        }
        #expect(cluster.watchedKeys(1).isEmpty)
        cluster.deliver(.watchResumed(1), to: 0)
        cluster.run(microseconds: 10_000)
        #expect(cluster.watchedKeys(1) == (10..<20).map { "k\($0)" })
    }
}

@Suite("Snapshots in a cluster")
struct SnapshotTests {
    @Test("a member away longer than the log reaches catches up while writes go on")
    func catchUp() throws {
        let cluster = try TestCluster(size: 3, seed: 31)
        cluster.run(microseconds: 500_000)
        let leader = try #require(cluster.leaderPosition)
        let away = (leader + 1) % 3
        cluster.crash(away)
        for number in 0..<300 {
            _ = cluster.put("k\(number)", String(repeating: "x", count: 200), on: leader)
            cluster.run(microseconds: 5_000)
        }
        try cluster.start(away)
        for number in 300..<400 {
            _ = cluster.put("k\(number)", "late", on: leader)
            cluster.run(microseconds: 5_000)
        }
        cluster.run(microseconds: 1_000_000)
        #expect(cluster.nodes[away].status!.stateHash == cluster.nodes[leader].status!.stateHash)
        #expect(cluster.nodes[away].status!.revision == 401)
    }

    @Test("a restart continues from the newest snapshot and the log behind it")
    func restart() throws {
        let cluster = try TestCluster(size: 1, seed: 32)
        cluster.run(microseconds: 100_000)
        for number in 0..<200 {
            _ = cluster.put("k\(number)", "v", on: 0)
            cluster.run(microseconds: 5_000)
        }
        let before = cluster.nodes[0].status!
        cluster.crash(0)
        try cluster.start(0)
        cluster.run(microseconds: 100_000)
        let after = cluster.nodes[0].status!
        #expect(after.revision == before.revision)
        #expect(after.stateHash == before.stateHash)
        let get = cluster.get("k150", on: 0)
        cluster.run(microseconds: 10_000)
        #expect(TestCluster.value(in: try #require(cluster.responses[get]).get()) == "v")
    }

    @Test("a snapshot that is being streamed outlives its successors until it has arrived")
    func streamedSnapshot() throws {
        var settings = TestCluster.fastSettings
        // Too few for the member that was away, enough for what happens during the stream.
        settings.retainedEntries = 400
        let cluster = try TestCluster(size: 3, seed: 33, settings: settings)
        cluster.run(microseconds: 500_000)
        let leader = try #require(cluster.leaderPosition)
        let away = (leader + 1) % 3
        cluster.crash(away)
        for number in 0..<600 {
            _ = cluster.put("k\(number)", String(repeating: "x", count: 200), on: leader)
            cluster.run(microseconds: 5_000)
        }
        // A slow stream: the leader writes several snapshots meanwhile.
        cluster.streamMicroseconds = 1_500_000
        try cluster.start(away)
        var most = 0
        for number in 600..<900 {
            _ = cluster.put("k\(number)", "late", on: leader)
            cluster.run(microseconds: 5_000)
            most = max(most, try snapshots(cluster, on: leader))
        }
        cluster.run(microseconds: 1_000_000)
        // It arrived the first time.
        #expect(cluster.streamCount == 1)
        let status = cluster.nodes[away].status!
        #expect(status.stateHash == cluster.nodes[leader].status!.stateHash)
        #expect(status.revision == 901)
        // One that was streamed, the newest, and one on its way out at most.
        #expect((2...3).contains(most))
        #expect(try snapshots(cluster, on: leader) == 1)
    }

    private func snapshots(_ cluster: TestCluster, on position: Int) throws -> Int {
        try cluster.nodes[position].disk.list().compactMap(SnapshotName.index).count
    }

    @Test("a checkpoint takes no part of a second away")
    func checkpointRounding() {
        var clock = LeaseClock()
        clock.start(now: 0, checkpointEvery: 1_000_000)
        clock.set(7, grantedSeconds: 5, deadline: 4_900_000, hasCheckpoint: false)
        let taken = clock.takeCheckpoint(now: 1_000_000)
        #expect(taken.map(\.secondsLeft) == [4], "3.9 seconds are left")
    }
}
