import DurableLog
import Foundation
import Testing

/// What an operator gets to see when something is wrong with flags, ports or files.
@Suite("A member that can't start says why", .serialized)
struct StartupTests {
    private func kvserver(_ arguments: [String]) throws -> (errors: String, code: Int32) {
        let result = try run(ProcessCluster.program("kvserver").path, arguments)
        return (result.errors, result.code)
    }

    /// One member, started once so that it has data, then stopped.
    private func stoppedMember() async throws -> ProcessCluster {
        let cluster = try ProcessCluster(size: 1)
        try cluster.startAll()
        try await cluster.waitUntilServing()
        let client = try await RawClient.connect(port: cluster.clientPorts[0])
        for number in 0..<20 { _ = try await client.put("key\(number)", "value") }
        await client.connection.close()
        // SIGKILL: nothing is tidied up.
        cluster.kill9(0)
        return cluster
    }

    private func flip(_ file: String, at offset: Int) throws {
        let handle = try FileHandle(forUpdating: URL(fileURLWithPath: file))
        try handle.seek(toOffset: UInt64(offset))
        let byte = try #require(try handle.read(upToCount: 1)?.first)
        try handle.seek(toOffset: UInt64(offset))
        try handle.write(contentsOf: Data([byte ^ 0x20]))
        try handle.close()
    }

    @Test(
        "flags that contradict one another",
        arguments: [
            (["--initial-cluster", "x=http://127.0.0.1:1"], "doesn't name this member"),
            (["--initial-cluster", "default=http://127.0.0.1:1"], "make them the same"),
            (["--listen-client-urls", "127.0.0.1:1"], "write it as http://HOST:PORT"),
            (["--listen-client-urls", "https://127.0.0.1:1"], "only plain http"),
            (["--election-timeout", "200"], "less than 5 times"),
            (["--idle-poll", "10001"], "choose 0 to 10000"),
            (["--initial-cluster-state", "old"], "use new or existing"),
            (["--log-level", "loud"], "use debug, info, warn or error"),
        ])
    func flags(arguments: [String], text: String) throws {
        let result = try kvserver(arguments)
        #expect(result.code != 0)
        #expect(result.errors.contains(text), "\(result.errors)")
    }

    @Test("which allocator answers")
    func allocator() async throws {
        let cluster = try ProcessCluster(size: 1)
        try cluster.startAll()
        try await cluster.waitUntilServing()
        #expect(cluster.log(0).contains("allocator=\"jemalloc 5."))
    }

    @Test("a port in use")
    func port() async throws {
        let cluster = try ProcessCluster(size: 1)
        try cluster.startAll()
        try await cluster.waitUntilServing()
        let other = cluster.folder.appendingPathComponent("other").path
        let free = try ProcessCluster.freePorts(1)[0]
        let result = try kvserver([
            "--data-dir", other,
            "--listen-client-urls", "http://127.0.0.1:\(cluster.clientPorts[0])",
            "--listen-peer-urls", "http://127.0.0.1:\(free)",
        ])
        #expect(result.code == 1)
        #expect(result.errors.contains("a port is in use"), "\(result.errors)")
    }

    @Test("a data directory that another process uses")
    func lock() async throws {
        let cluster = try ProcessCluster(size: 1)
        try cluster.startAll()
        try await cluster.waitUntilServing()
        let result = try kvserver(cluster.arguments(0))
        #expect(result.code == 1)
        #expect(result.errors.contains("another process uses the data directory"))
    }

    @Test("a data directory of another member or cluster")
    func foreignDirectory() async throws {
        let cluster = try await stoppedMember()
        let ports = try ProcessCluster.freePorts(2)
        let result = try kvserver([
            "--name", "stranger", "--data-dir", cluster.dataDirectory(0),
            "--listen-client-urls", "http://127.0.0.1:\(ports[0])",
            "--listen-peer-urls", "http://127.0.0.1:\(ports[1])",
        ])
        #expect(result.code == 1)
        #expect(result.errors.contains("it belongs to cluster"), "\(result.errors)")
        #expect(result.errors.contains("nothing was overwritten"))
    }

    @Test(
        "a flipped bit in a synced batch, in the segment's header, in the identity",
        arguments: [
            ("log-0000000000000001", 3 * 512 + 30), ("log-0000000000000001", 30), ("identity", 20),
        ])
    func rot(file: String, offset: Int) async throws {
        let cluster = try await stoppedMember()
        let path = cluster.dataDirectory(0) + "/" + file
        let before = try Data(contentsOf: URL(fileURLWithPath: path))
        try flip(path, at: offset)
        let result = try kvserver(cluster.arguments(0))
        #expect(result.code == 1)
        #expect(result.errors.contains(file), "\(result.errors)")
        #expect(result.errors.contains("damaged"), "\(result.errors)")
        #expect(result.errors.contains("Remove this member"), "\(result.errors)")
        // Nothing was overwritten: with the bit back in place the member starts.
        try flip(path, at: offset)
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == before)
        try cluster.start(0)
        try await cluster.waitUntilServing()
        let client = try await RawClient.connect(port: cluster.clientPorts[0])
        #expect(try await client.all(prefix: "key").count == 20)
    }

    @Test("a truncated and a missing segment", arguments: [true, false])
    func missingBytes(truncates: Bool) async throws {
        let cluster = try await stoppedMember()
        let path = cluster.dataDirectory(0) + "/log-0000000000000001"
        if truncates {
            // Behind it the rest of the log is gone, the next segment is still there, empty.
            #expect(truncate(path, 700) == 0)
        } else {
            try FileManager.default.removeItem(atPath: path)
        }
        let result = try kvserver(cluster.arguments(0))
        #expect(result.code == 1)
        #expect(result.errors.contains("log-0000000000000001"), "\(result.errors)")
    }

    @Test("a directory of another format", arguments: [1, 9] as [UInt8])
    func otherFormat(version: UInt8) async throws {
        let cluster = try await stoppedMember()
        let path = cluster.dataDirectory(0) + "/identity"
        var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
        bytes[8] = version
        let checksum = CRC32C.checksum(bytes.dropLast(4))
        withUnsafeBytes(of: checksum.littleEndian) { bytes.replaceSubrange(44..<48, with: $0) }
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        let result = try kvserver(cluster.arguments(0))
        #expect(result.code == 1)
        #expect(result.errors.contains("start the version that wrote it"), "\(result.errors)")
    }

    @Test("a member that stopped at one entry twice names it and waits")
    func hopelessEntry() async throws {
        let cluster = try await stoppedMember()
        let record = cluster.dataDirectory(0) + "/applying"
        // As a process leaves it that stopped while it applied entry 7, the second time.
        var bytes = Data()
        for number in [7, 7, 1] as [UInt64] {
            withUnsafeBytes(of: number.littleEndian) { bytes.append(contentsOf: $0) }
        }
        try bytes.write(to: URL(fileURLWithPath: record))
        try cluster.start(0)
        try await eventually("\(cluster.log(0))") {
            cluster.log(0).contains("entry 7 of the log stopped this member")
        }
        #expect(cluster.isRunning(0))
        #expect((try? await RawClient.connect(port: cluster.clientPorts[0])) == nil)
    }
}
