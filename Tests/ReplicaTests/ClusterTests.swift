import EtcdMessages
import EtcdWire
import KVCore
import RaftCore
import Replica
import TestSupport
import Testing

@Suite("A cluster of replicas")
struct ClusterTests {
    @Test("one member serves a put and a read at once")
    func single() throws {
        let cluster = try TestCluster(size: 1, seed: 1)
        cluster.run(microseconds: 100_000)
        let put = cluster.put("a", "1", on: 0)
        cluster.run(microseconds: 10_000)
        #expect(cluster.succeeded(put))
        let get = cluster.get("a", on: 0)
        cluster.run(microseconds: 10_000)
        #expect(TestCluster.value(in: try #require(cluster.responses[get]).get()) == "1")
    }

    @Test("three members elect a leader soon, and every member serves", arguments: 1...20)
    func three(seed: UInt64) throws {
        let cluster = try TestCluster(size: 3, seed: seed)
        cluster.run(microseconds: 300_000)
        #expect(cluster.leaderPosition != nil)
        for position in 0..<3 {
            let put = cluster.put("k\(position)", "v\(position)", on: position)
            cluster.run(microseconds: 50_000)
            #expect(cluster.succeeded(put))
            for reader in 0..<3 {
                let get = cluster.get("k\(position)", on: reader)
                cluster.run(microseconds: 50_000)
                let message = try #require(cluster.responses[get]).get()
                #expect(TestCluster.value(in: message) == "v\(position)")
            }
        }
        let members = cluster.nodes[0].status!.members
        #expect(members.map(\.name) == ["n1", "n2", "n3"])
    }

    @Test("every member answers a range beyond its bounds as it answers a small one")
    func largeRanges() throws {
        var settings = TestCluster.fastSettings
        settings.directRange = RangeBounds(visits: 5, bytes: 1_000_000)
        let cluster = try TestCluster(size: 3, seed: 3, settings: settings)
        cluster.run(microseconds: 300_000)
        for number in 1...6 { _ = cluster.put("k\(number)", "v", on: 0) }
        cluster.run(microseconds: 100_000)
        func answer(_ request: RangeRequest, _ member: Int) throws -> [UInt8] {
            var body: [UInt8] = []
            request.encode(into: &body)
            let call = cluster.call(.range, body, on: member)
            cluster.run(microseconds: 50_000)
            return try #require(cluster.responses[call]).get()
        }
        for member in 0..<3 {
            for serializable in [false, true] {
                var request = RangeRequest()
                request.key = [0]
                request.rangeEnd = [0]
                request.serializable = serializable
                let before = cluster.largeRangeCount
                let large = try Etcdserverpb_RangeResponse(
                    serializedBytes: try answer(request, member))
                #expect(cluster.largeRangeCount == before + 1)
                request.key = Array("k4".utf8)[...]
                let small = try Etcdserverpb_RangeResponse(
                    serializedBytes: try answer(request, member))
                #expect(cluster.largeRangeCount == before + 1)
                #expect(large.header == small.header)
                #expect(large.header.memberID == UInt64(member + 1))
                #expect(large.count == 6)
                #expect(large.kvs.suffix(3) == small.kvs[...])
                request.key = [0]
                request.revision = 99
                let body = request
                #expect(throws: RequestFailure(.futureRevision)) { try answer(body, member) }
            }
        }
    }

    @Test("a read that its client gave up is forgotten, others are answered")
    func cancelledRead() throws {
        let cluster = try TestCluster(size: 3, seed: 6)
        cluster.run(microseconds: 500_000)
        let leader = try #require(cluster.leaderPosition)
        let follower = (leader + 1) % 3
        for peer in 0..<3 where peer != follower {
            cluster.cut.insert([peer, follower])
            cluster.cut.insert([follower, peer])
        }
        let given = cluster.get("a", on: follower)
        let kept = cluster.get("a", on: follower)
        cluster.run(microseconds: 10_000)
        cluster.deliver(.cancelled(given), to: follower)
        cluster.run(microseconds: 10_000_000)
        #expect(cluster.responses[given] == nil)
        guard case .failure(let failure)? = cluster.responses[kept] else {
            Issue.record("the other read was not answered")
            return
        }
        #expect(failure.error == .noLeader)
    }

    @Test("the leader's death is noticed by its closed links and costs little time")
    func failover() throws {
        let cluster = try TestCluster(size: 3, seed: 5)
        cluster.run(microseconds: 500_000)
        let leader = try #require(cluster.leaderPosition)
        cluster.crash(leader)
        let survivor = (leader + 1) % 3
        let put = cluster.put("a", "1", on: survivor)
        cluster.run(microseconds: 100_000)
        #expect(cluster.succeeded(put))
    }

    @Test(
        "nothing acknowledged is lost through crashes, loss and partitions, and all members agree",
        arguments: 0..<40)
    func chaos(seed: UInt64) throws {
        let cluster = try TestCluster(size: seed % 4 == 0 ? 5 : 3, seed: 1_000 + seed)
        var random = Seeded(seed: seed)
        cluster.run(microseconds: 300_000)
        cluster.lossPercent = Int.random(in: 0...5, using: &random)
        var puts: [(key: String, value: String, request: RequestID)] = []
        for step in 0..<400 {
            let position = Int.random(in: 0..<cluster.nodes.count, using: &random)
            let key = "k\(Int.random(in: 0..<10, using: &random))/\(step)"
            puts.append((key, "v\(step)", cluster.put(key, "v\(step)", on: position)))
            cluster.run(microseconds: .random(in: 0...20_000, using: &random))
            try disturb(cluster, &random)
        }
        cluster.cut = []
        cluster.lossPercent = 0
        for position in cluster.nodes.indices where cluster.nodes[position].running == nil {
            try cluster.start(position)
        }
        cluster.run(microseconds: 10_000_000)
        #expect(cluster.nodes.allSatisfy { $0.stopped == nil })
        let acknowledged = puts.filter { cluster.succeeded($0.request) }
        #expect(acknowledged.count > 50)
        for put in acknowledged {
            let reader = Int.random(in: 0..<cluster.nodes.count, using: &random)
            let get = cluster.get(put.key, on: reader)
            cluster.run(microseconds: 20_000)
            let answer = try #require(cluster.responses[get], "seed \(seed)").get()
            #expect(TestCluster.value(in: answer) == put.value, "seed \(seed)")
        }
        let hashes = Set(cluster.nodes.map { $0.status!.stateHash })
        #expect(hashes.count == 1, "seed \(seed)")
        // Every call was answered one way or the other.
        #expect(
            puts.allSatisfy { put in
                cluster.responses[put.request] != nil || cluster.nodes.contains { $0.boot > 1 }
            })
    }

    private func disturb(_ cluster: TestCluster, _ random: inout Seeded) throws {
        switch Int.random(in: 0..<60, using: &random) {
        case 0:
            cluster.crash(Int.random(in: 0..<cluster.nodes.count, using: &random))
        case 1:
            let a = Int.random(in: 0..<cluster.nodes.count, using: &random)
            let b = Int.random(in: 0..<cluster.nodes.count, using: &random)
            if a != b { cluster.cut.insert([a, b]) }
        case 2: cluster.cut = []
        case 3:
            for position in cluster.nodes.indices { cluster.crash(position) }
        case 4...9:
            if let down = cluster.nodes.firstIndex(where: { $0.running == nil }) {
                try cluster.start(down)
            }
        case 10:
            if let leader = cluster.leaderPosition {
                cluster.deliver(.transferLeadership(to: nil), to: leader)
            }
        default: break
        }
    }
}
