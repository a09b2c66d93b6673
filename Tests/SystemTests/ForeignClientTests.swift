import Foundation
import Testing

/// Clients that we didn't write, unmodified, against a live cluster of three.
@Suite("Foreign clients", .serialized)
struct ForeignClientTests {
    private func startedCluster() async throws -> ProcessCluster {
        let cluster = try ProcessCluster(size: 3)
        try cluster.startAll()
        try await cluster.waitUntilServing()
        return cluster
    }

    /// Runs a script against a member. The messages of etcd3 need protobuf without its C part.
    private func expectOK(_ script: String, _ cluster: ProcessCluster, _ member: Int) throws {
        let result = try run(
            PythonScript.interpreter,
            [PythonScript.path(script), "\(cluster.clientPorts[member])"],
            environment: ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"])
        #expect(result.output == "ok\n", "\(result.errors)")
    }

    @Test("the Python package etcd3, through each member", arguments: 0..<3)
    func pythonEtcd3(member: Int) async throws {
        let cluster = try await startedCluster()
        try expectOK("etcd3_walkthrough.py", cluster, member)
    }

    @Test("grpcio sees every code and text", arguments: 0..<3)
    func grpcio(member: Int) async throws {
        let cluster = try await startedCluster()
        try expectOK("grpcio_errors.py", cluster, member)
    }

    @Test("etcdctl: put, get, delete, transaction, lease, watch, status, snapshot")
    func etcdctl() async throws {
        let cluster = try await startedCluster()
        let endpoints = cluster.clientPorts.map { "127.0.0.1:\($0)" }
        @discardableResult
        func ctl(
            _ arguments: String..., on endpoint: String? = nil, input: String? = nil
        ) throws -> String {
            let result = try run(
                "etcdctl", ["--endpoints", endpoint ?? endpoints[0]] + arguments,
                environment: ["ETCDCTL_API": "3"], input: input)
            #expect(result.code == 0, "etcdctl \(arguments): \(result.errors)")
            return result.output
        }
        #expect(try ctl("put", "greeting", "hello") == "OK\n")
        for endpoint in endpoints {
            #expect(try ctl("get", "greeting", on: endpoint) == "greeting\nhello\n")
        }
        try ctl("put", "greeting", "again", on: endpoints[1])
        #expect(
            try ctl("get", "--prefix", "gre", "--keys-only", on: endpoints[2]) == "greeting\n\n")
        let txn = try ctl(
            "txn", on: endpoints[2],
            input:
                "value(\"greeting\") = \"again\"\n\nput greeting done\nget greeting\n\nput x y\n\n")
        #expect(txn == "SUCCESS\n\nOK\n\ngreeting\ndone\n")
        #expect(try ctl("del", "greeting") == "1\n")

        let grant = try ctl("lease", "grant", "60")
        let lease = String(grant.split(separator: " ")[1])
        try ctl("put", "service", "here", "--lease", lease, on: endpoints[1])
        for endpoint in endpoints {
            let left = try ctl("lease", "timetolive", lease, "--keys", on: endpoint)
            #expect(left.contains("attached keys([service])"))
        }
        #expect(
            try ctl("lease", "keep-alive", "--once", lease, on: endpoints[2]).contains("TTL(60)"))
        #expect(try ctl("lease", "list", on: endpoints[1]).contains(lease))
        #expect(try ctl("lease", "revoke", lease, on: endpoints[2]) == "lease \(lease) revoked\n")
        #expect(try ctl("get", "service") == "")

        #expect(try ctl("member", "list").split(separator: "\n").count == 3)
        let status = try ctl(
            "endpoint", "status", "--cluster", "-w", "json")
        #expect(status.components(separatedBy: "\"Endpoint\"").count == 4)
        #expect(try ctl("endpoint", "hashkv", "--cluster").split(separator: "\n").count == 3)
        // A hash is of what the member itself has applied: a follower that nobody asks learns of
        // the last commit with a heartbeat. One that answers this has applied it.
        for endpoint in endpoints { #expect(try ctl("get", "service", on: endpoint) == "") }
        let hashes = Set(
            try ctl("endpoint", "hashkv", "--cluster").split(separator: "\n")
                .map { $0.split(separator: " ").last! })
        #expect(hashes.count == 1)
        #expect(try ctl("defrag").contains("Finished defragmenting"))
        let file = cluster.folder.appendingPathComponent("snapshot").path
        try ctl("snapshot", "save", file)
        let size = try FileManager.default.attributesOfItem(atPath: file)[.size] as? Int
        // Whole sectors and a SHA-256 behind them: that is how etcd's tools know it is complete.
        #expect(try #require(size) % 512 == 32)
        let revision = try ctl("get", "service", "-w", "json")
        #expect(revision.contains("\"revision\""))
    }

    @Test("an etcdctl watch sees a change made through another member")
    func etcdctlWatch() async throws {
        let cluster = try await startedCluster()
        let watch = Process()
        watch.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        watch.arguments = [
            "etcdctl", "--endpoints", "127.0.0.1:\(cluster.clientPorts[0])", "watch", "--prefix",
            "config/",
        ]
        watch.environment = ProcessInfo.processInfo.environment.merging(["ETCDCTL_API": "3"]) { $1 }
        let output = Pipe()
        watch.standardOutput = output
        watch.standardError = FileHandle.nullDevice
        try watch.run()
        // The watch is there when a change of ours shows; puts go on until then.
        let client = try await RawClient.connect(port: cluster.clientPorts[1])
        let reader = Task.detached { () -> String in
            var text = ""
            while text.split(separator: "\n").count < 3 {
                let piece = output.fileHandleForReading.availableData
                if piece.isEmpty { break }
                text += String(decoding: piece, as: UTF8.self)
            }
            return text
        }
        let writer = Task {
            for number in 0..<200 where !Task.isCancelled {
                _ = try await client.put("config/x", "\(number)")
                // Written again until the watch, which begins at its own time, has seen one.
                try await Task.sleep(for: .milliseconds(50))
            }
            watch.terminate()  // Ends the reader when nothing was ever seen.
        }
        let seen = await reader.value
        writer.cancel()
        #expect(seen.hasPrefix("PUT\nconfig/x\n"), "\(seen)")
        watch.terminate()
        watch.waitUntilExit()
    }

    @Test("h2load: every put arrives")
    func h2load() async throws {
        let cluster = try await startedCluster()
        var message: [UInt8] = [0x0a, 4] + Array("load".utf8) + [0x12, 3] + Array("abc".utf8)
        message = [0] + [0, 0, 0, UInt8(message.count)] + message
        let file = cluster.folder.appendingPathComponent("put.bin")
        try Data(message).write(to: file)
        let result = try run(
            "h2load",
            [
                "-c", "8", "-m", "16", "-n", "4000", "-H", "content-type: application/grpc", "-H",
                "te: trailers", "-d", file.path,
                "http://127.0.0.1:\(cluster.clientPorts[2])/etcdserverpb.KV/Put",
            ])
        #expect(result.output.contains("4000 succeeded, 0 failed, 0 errored, 0 timeout"))
        // h2load doesn't look at grpc-status: the key's version does.
        let client = try await RawClient.connect(port: cluster.clientPorts[0])
        #expect(try await client.version(of: "load") == 4_000)
    }
}
