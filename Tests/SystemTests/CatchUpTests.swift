import EtcdWire
import Foundation
import Testing

/// Members that were away, or whose disk was full, come back to the same data.
@Suite("Catching up", .serialized)
struct CatchUpTests {
    /// The revision that every member has reached, and each one's hash over all up to it.
    private func expectEqualHashes(_ cluster: ProcessCluster, revision: Int64) async throws {
        var hashes: [UInt32] = []
        for port in cluster.clientPorts {
            let client = try await RawClient.connect(port: port)
            // A linearizable read: afterwards the member has applied everything acknowledged.
            _ = try await client.count(prefix: "load/")
            hashes.append(try await client.hash(revision: revision))
            await client.connection.close()
        }
        #expect(Set(hashes).count == 1, "\(hashes)")
    }

    @Test("a follower away for longer than the log reaches gets a snapshot while writes go on")
    func snapshot() async throws {
        let cluster = try ProcessCluster(
            size: 3, extraArguments: ["--snapshot-count", "500"])
        try cluster.startAll()
        try await cluster.waitUntilServing()
        let client = try await RawClient.connect(port: cluster.clientPorts[0])
        let follower = try await client.status().leader == client.status().header.memberID ? 1 : 0
        let survivor = try await RawClient.connect(port: cluster.clientPorts[1 - follower])
        await client.connection.close()
        try await concurrently(0..<500, width: 32) { number in
            try await survivor.put("load/\(number)", bytes: [1])
        }
        cluster.kill9(follower)
        // More than the 5,000 entries that stay behind a snapshot, with some keys put often.
        try await concurrently(0..<8_000, width: 64) { number in
            try await survivor.put("load/\(number % 3_000)", bytes: Array("\(number)".utf8))
        }
        let stop = StopFlag()
        let writer = Task {
            var last: Int64 = 0
            while !stop.isSet { last = try await survivor.put("load/more", bytes: [2]) }
            return last
        }
        try cluster.start(follower)
        try await cluster.waitUntilServing()
        stop.set()
        let last = try await writer.value
        #expect(
            cluster.log(follower).contains("receiving a snapshot"), "\(cluster.log(follower))")
        try await expectEqualHashes(cluster, revision: last)
        // What it got is durable: it starts from its own disk again.
        cluster.kill9(follower)
        try cluster.start(follower)
        try await cluster.waitUntilServing()
        try await expectEqualHashes(cluster, revision: last)
        await survivor.connection.close()
    }

    private static let isRoot = getuid() == 0

    @Test(
        "a member whose disk is full stops and says so; with space again it catches up",
        .enabled(if: isRoot, "mounting a small file system takes root"))
    func fullDisk() async throws {
        let cluster = try ProcessCluster(size: 3)
        let directory = cluster.dataDirectory(2)
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true)
        let mount = try run(
            "mount", ["-t", "tmpfs", "-o", "size=160m", "martlet-test", directory])
        try #require(mount.code == 0, "\(mount.errors)")
        defer {
            cluster.kill9(2)
            _ = try? run("umount", [directory])
        }
        try cluster.startAll()
        try await cluster.waitUntilServing()
        // What the member has allocated already is left; the next segment finds no room.
        _ = try run("dd", ["if=/dev/zero", "of=\(directory)/filler", "bs=1M", "count=200"])
        let client = try await RawClient.connect(port: cluster.clientPorts[0])
        try await concurrently(0..<600, width: 8) { number in
            // A change of leader, should the full member lead, may leave a put without an answer.
            do {
                try await client.put("load/\(number)", bytes: [UInt8](repeating: 7, count: 100_000))
            } catch {
                try await client.put("load/\(number)", bytes: [UInt8](repeating: 7, count: 100_000))
            }
        }
        let code = try await cluster.exitCode(2, limit: .seconds(10))
        #expect(code == 1, "\(cluster.log(2))")
        #expect(cluster.log(2).contains("free space on the disk"), "\(cluster.log(2))")
        #expect(cluster.log(2).contains(directory + "/"), "\(cluster.log(2))")
        #expect(try await client.count(prefix: "load/") == 600)

        try FileManager.default.removeItem(atPath: directory + "/filler")
        try cluster.start(2)
        try await cluster.waitUntilServing()
        let last = try await client.put("load/last", bytes: [1])
        try await expectEqualHashes(cluster, revision: last)
        await client.connection.close()
    }
}
