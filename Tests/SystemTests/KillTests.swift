import Foundation
import HTTP2
import NIOCore
import Testing

/// What a load of puts came to.
private actor Ledger {
    private(set) var acknowledged: [String: String] = [:]
    private(set) var longestGap: Duration = .zero
    private var lastAcknowledgement: ContinuousClock.Instant?

    func acknowledge(_ key: String, _ value: String) {
        acknowledged[key] = value
        let now = ContinuousClock.now
        if let lastAcknowledgement { longestGap = max(longestGap, now - lastAcknowledgement) }
        lastAcknowledgement = now
    }

    func resetGap() {
        longestGap = .zero
        lastAcknowledgement = .now
    }
}

@Suite("Processes killed with SIGKILL", .serialized)
struct KillTests {
    /// Puts numbered keys through one member until told to stop; each key is tried once.
    private func load(
        _ name: String, port: Int, ledger: Ledger, isOver: @escaping @Sendable () -> Bool
    ) async {
        var number = 0
        while !isOver() {
            guard let client = try? await RawClient.connect(port: port) else {
                // Nobody listens while the member is down: there is nothing to wait for but time.
                try? await Task.sleep(for: .milliseconds(20))
                continue
            }
            while !isOver() {
                number += 1
                let key = "load/\(name)/\(number)"
                do {
                    _ = try await client.put(key, "value of \(key)")
                    await ledger.acknowledge(key, "value of \(key)")
                } catch {
                    if error.reach != .answered { break }
                }
            }
            await client.connection.close()
        }
    }

    private func check(_ cluster: ProcessCluster, _ ledger: Ledger) async throws {
        let acknowledged = await ledger.acknowledged
        #expect(acknowledged.count > 100)
        for port in cluster.clientPorts {
            let client = try await RawClient.connect(port: port)
            let found = try await client.all(prefix: "load/")
            let lost = acknowledged.filter { found[$0.key] != $0.value }
            #expect(lost.isEmpty, "\(lost.count) of \(acknowledged.count) acknowledged puts lost")
            await client.connection.close()
        }
    }

    @Test("any one member, again and again: nothing acknowledged is lost")
    func oneAtATime() async throws {
        let cluster = try ProcessCluster(size: 3)
        try cluster.startAll()
        try await cluster.waitUntilServing()
        let ledger = Ledger()
        let end = ContinuousClock.now + .seconds(8)
        let ports = cluster.clientPorts
        let loads = (0..<6).map { number in
            Task {
                await load("\(number)", port: ports[number % 3], ledger: ledger) {
                    ContinuousClock.now > end
                }
            }
        }
        var victim = 0
        while ContinuousClock.now < end - .seconds(1) {
            // The rhythm of the kills: all three members work between two of them, and two go on
            // without the third for a while.
            try await Task.sleep(for: .milliseconds(700))
            cluster.kill9(victim)
            try await Task.sleep(for: .milliseconds(200))
            try cluster.start(victim)
            victim = (victim + 1) % 3
        }
        for load in loads { await load.value }
        try await cluster.waitUntilServing()
        try await check(cluster, ledger)
    }

    /// On a disk the kernel writes the log by itself; in memory it can't, and a thread does.
    @Test(
        "all members at once, again and again: nothing acknowledged is lost",
        arguments: [nil, URL(fileURLWithPath: "/dev/shm")])
    func allAtOnce(parent: URL?) async throws {
        let cluster = try ProcessCluster(size: 3, in: parent)
        try cluster.startAll()
        try await cluster.waitUntilServing()
        let ledger = Ledger()
        let end = ContinuousClock.now + .seconds(6)
        let ports = cluster.clientPorts
        let loads = (0..<6).map { number in
            Task {
                await load("\(number)", port: ports[number % 3], ledger: ledger) {
                    ContinuousClock.now > end
                }
            }
        }
        while ContinuousClock.now < end - .seconds(1) {
            // Time to elect a leader and to write, before all die again.
            try await Task.sleep(for: .milliseconds(900))
            for position in 0..<3 { cluster.kill9(position) }
            for position in 0..<3 { try cluster.start(position) }
        }
        for load in loads { await load.value }
        try await cluster.waitUntilServing()
        try await check(cluster, ledger)
    }

    @Test("the leader: the others write again within an election timeout")
    func failover() async throws {
        let cluster = try ProcessCluster(size: 3)
        try cluster.startAll()
        try await cluster.waitUntilServing()
        let leader = try #require(try await leaderPosition(cluster))
        let survivor = (leader + 1) % 3
        let ledger = Ledger()
        let port = cluster.clientPorts[survivor]
        let end = ContinuousClock.now + .seconds(3)
        let writer = Task {
            await load("survivor", port: port, ledger: ledger) { ContinuousClock.now > end }
        }
        // Writes flow by then; the gap is counted from here.
        try await Task.sleep(for: .milliseconds(500))
        await ledger.resetGap()
        cluster.kill9(leader)
        await writer.value
        let gap = await ledger.longestGap
        #expect(
            gap < .seconds(1),
            "the longest gap was \(gap); the survivor says: \(cluster.log(survivor))")
    }

    private func leaderPosition(_ cluster: ProcessCluster) async throws -> Int? {
        for (position, port) in cluster.clientPorts.enumerated() {
            let client = try await RawClient.connect(port: port)
            let status = try await client.status()
            await client.connection.close()
            if status.leader == status.header.memberID { return position }
        }
        return nil
    }

    @Test("SIGTERM hands over, answers what was accepted, and leaves with 0")
    func terminate() async throws {
        let cluster = try ProcessCluster(size: 3)
        try cluster.startAll()
        try await cluster.waitUntilServing()
        let leader = try #require(try await leaderPosition(cluster))
        let ledger = Ledger()
        let port = cluster.clientPorts[(leader + 1) % 3]
        let end = ContinuousClock.now + .seconds(2)
        let writer = Task {
            await load("survivor", port: port, ledger: ledger) { ContinuousClock.now > end }
        }
        // Writes flow by then; the gap is counted from here.
        try await Task.sleep(for: .milliseconds(300))
        await ledger.resetGap()
        #expect(cluster.terminate(leader) == 0)
        await writer.value
        let gap = await ledger.longestGap
        #expect(gap < .milliseconds(500), "the longest gap was \(gap)")
    }
}
