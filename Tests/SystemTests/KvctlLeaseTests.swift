import Foundation
import HTTP2
import Testing

/// `kvctl lease …` against a real member.
@Suite("Leases that kvctl holds", .serialized)
struct KvctlLeaseTests {
    private func lone() async throws -> (cluster: ProcessCluster, client: RawClient) {
        let cluster = try ProcessCluster(size: 1)
        try cluster.startAll()
        try await cluster.waitUntilServing()
        return (cluster, try await RawClient.connect(port: cluster.clientPorts[0]))
    }

    private func hold(
        _ cluster: ProcessCluster, ttl: Int = 2, _ command: String
    ) throws -> BackgroundCommand {
        try BackgroundCommand(
            ProcessCluster.program("kvctl"),
            [
                "--endpoints", cluster.endpoints, "lease", "run", "--ttl", "\(ttl)", "--put",
                "svc/a=here", "--put", "svc/b=there", "--", "sh", "-c", command,
            ], in: cluster.folder)
    }

    private func kvctl(_ cluster: ProcessCluster, _ arguments: String...) throws -> String {
        let result = try run(
            ProcessCluster.program("kvctl").path, ["--endpoints", cluster.endpoints] + arguments)
        #expect(result.code == 0, "\(arguments): \(result.errors)")
        return result.output
    }

    private func lease(_ cluster: ProcessCluster) throws -> String {
        String(try #require(try kvctl(cluster, "lease", "list").split(separator: "\n").last))
    }

    @Test("keys are there while the command runs, far beyond the TTL, and gone when it ends")
    func life() async throws {
        let (cluster, client) = try await lone()
        let marker = cluster.folder.appendingPathComponent("end").path
        let holder = try hold(
            cluster, "while ! test -e \(marker); do sleep 0.05; done; exit 7")
        try await eventually("\(holder.errors)") {
            try await client.all(prefix: "svc/") == ["svc/a": "here", "svc/b": "there"]
        }
        let lease = try lease(cluster)
        let start = ContinuousClock.now
        while ContinuousClock.now - start < .seconds(5) {
            #expect(try await client.count(prefix: "svc/") == 2)
            // Looked at often enough to see a gap between two renewals.
            try await Task.sleep(for: .milliseconds(200))
        }
        // It was renewed, not replaced.
        #expect(try self.lease(cluster) == lease)
        try #require(FileManager.default.createFile(atPath: marker, contents: nil))
        #expect(try await holder.exitCode() == 7)
        // Revoked, not left to expire.
        #expect(try await client.count(prefix: "svc/") == 0)
        #expect(try kvctl(cluster, "lease", "list") == "found 0 leases\n")
    }

    @Test("a signal that comes before the command has started ends everything")
    func endedEarly() async throws {
        let cluster = try ProcessCluster(size: 3)
        // Alone it can't get a lease, and takes the call.
        try cluster.start(0)
        try await eventually("the member listens") {
            (try? await RawClient.connect(port: cluster.clientPorts[0])) != nil
        }
        let marker = cluster.folder.appendingPathComponent("started").path
        let holder = try hold(cluster, "touch \(marker)")
        let asked = ContinuousClock.now
        while ContinuousClock.now - asked < .seconds(1) {
            #expect(holder.isRunning)
            // It has to stay for the whole second, not only at its end.
            try await Task.sleep(for: .milliseconds(50))
        }
        holder.send(SIGINT)
        #expect(try await holder.exitCode(limit: .seconds(2)) == 128 + SIGINT)
        #expect(!FileManager.default.fileExists(atPath: marker))
    }

    @Test("a lost lease is granted anew and everything is put again")
    func lost() async throws {
        let (cluster, client) = try await lone()
        let holder = try hold(cluster, "exec sleep 60")
        try await eventually("\(holder.errors)") { try await client.count(prefix: "svc/") == 2 }
        let first = try lease(cluster)
        _ = try kvctl(cluster, "lease", "revoke", first)
        #expect(try await client.count(prefix: "svc/") == 0)
        try await eventually("\(holder.errors)") { try await client.count(prefix: "svc/") == 2 }
        #expect(holder.errors.contains("lease \(first) was lost; granting a new one"))
        #expect(try lease(cluster) != first)
        holder.send(SIGTERM)
        #expect(try await holder.exitCode() == 128 + SIGTERM)
        #expect(try await client.count(prefix: "svc/") == 0)
    }

    @Test("a server that was away longer than the lease lived finds it registered again")
    func restart() async throws {
        let (cluster, client) = try await lone()
        let holder = try hold(cluster, "exec sleep 60")
        try await eventually("\(holder.errors)") { try await client.count(prefix: "svc/") == 2 }
        await client.connection.close()
        cluster.kill9(0)
        try await eventually("\(holder.errors)") { holder.errors.contains("renewing again") }
        try cluster.start(0)
        try await cluster.waitUntilServing()
        let again = try await RawClient.connect(port: cluster.clientPorts[0])
        // Whether the lease survived or is replaced, the keys stay from now on.
        try await eventually("\(holder.errors)") {
            holder.errors.components(separatedBy: "holds, TTL").count >= 3
        }
        let start = ContinuousClock.now
        while ContinuousClock.now - start < .seconds(4) {
            #expect(try await again.count(prefix: "svc/") == 2)
            // As above.
            try await Task.sleep(for: .milliseconds(200))
        }
        holder.send(SIGTERM)
        #expect(try await holder.exitCode() == 128 + SIGTERM)
    }

    @Test("keep-alive renews until the lease is gone, then ends with 1")
    func keepAlive() async throws {
        let (cluster, client) = try await lone()
        let granted = try kvctl(cluster, "lease", "grant", "2")
        let lease = String(granted.split(separator: " ")[1])
        let keeper = try BackgroundCommand(
            ProcessCluster.program("kvctl"),
            ["--endpoints", cluster.endpoints, "lease", "keep-alive", lease], in: cluster.folder)
        try await eventually("\(keeper.errors)") {
            keeper.output.components(separatedBy: "keepalived with TTL(2)").count > 5
        }
        #expect(try await client.leaseCount() == 1)
        _ = try kvctl(cluster, "lease", "revoke", lease)
        #expect(try await keeper.exitCode() == 1)
        #expect(keeper.output.hasSuffix("lease \(lease) expired or revoked.\n"))
    }
}
