import Foundation
import HTTP2
import Testing

/// `kvctl watch … -- COMMAND` against real members.
@Suite("Commands that kvctl runs on changes", .serialized)
struct KvctlWatchTests {
    private func lone() async throws -> (cluster: ProcessCluster, client: RawClient) {
        let cluster = try ProcessCluster(size: 1)
        try cluster.startAll()
        try await cluster.waitUntilServing()
        return (cluster, try await RawClient.connect(port: cluster.clientPorts[0]))
    }

    /// A watch of `cfg/` whose command is a shell script; `$LOG` is the file to write into.
    private func watch(
        _ cluster: ProcessCluster, _ options: [String] = [], script: String
    ) throws -> BackgroundCommand {
        try BackgroundCommand(
            ProcessCluster.program("kvctl"),
            ["--endpoints", cluster.endpoints, "watch", "cfg/", "--prefix"] + options
                + ["--", "sh", "-c", script],
            in: cluster.folder, environment: ["LOG": logFile(cluster)])
    }

    private func logFile(_ cluster: ProcessCluster) -> String {
        cluster.folder.appendingPathComponent("log").path
    }

    private func lines(_ cluster: ProcessCluster) -> [String] {
        let text = try? String(contentsOfFile: logFile(cluster), encoding: .utf8)
        return (text ?? "").split(separator: "\n").map(String.init)
    }

    private static let note = #"echo "$ETCD_WATCH_REVISION" >> "$LOG""#

    @Test("the first run gets the present state, each further one a revision: stdin, variables")
    func runs() async throws {
        let (cluster, client) = try await lone()
        _ = try await client.put("cfg/a", "1")
        let second = try await client.put("cfg/b", "two\nlines")
        let watch = try watch(
            cluster,
            script: """
                {
                  echo "$ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_REVISION"
                  echo "${ETCD_WATCH_VALUE-unset}"
                  cat
                  echo end
                } >> "$LOG"
                """)
        try await eventually("\(watch.errors)") { lines(cluster).filter { $0 == "end" }.count == 1 }
        let first = lines(cluster)
        #expect(first[0] == "PUT cfg/b \(second)")
        #expect(Array(first[1...2]) == ["two", "lines"])
        #expect(first.count == 6)
        let events = try first[3...4].map { line in
            try #require(
                try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
        }
        #expect(events.map { $0["key"] as? String } == ["cfg/a", "cfg/b"])
        #expect(events.map { $0["value"] as? String } == ["1", "two\nlines"])

        try FileManager.default.removeItem(atPath: logFile(cluster))
        _ = try run(
            ProcessCluster.program("kvctl").path,
            ["--endpoints", cluster.endpoints, "del", "cfg/", "--prefix"])
        try await eventually("\(watch.errors)") { lines(cluster).last == "end" }
        let deletion = lines(cluster)
        // Both keys went in one revision: one run, two lines.
        #expect(Array(deletion[0...1]) == ["DELETE cfg/b \(second + 1)", "unset"])
        #expect(deletion.count == 5)
        #expect(deletion[2...3].allSatisfy { $0.contains(#""type":"DELETE""#) })
    }

    @Test("once per revision, in order, never two at a time; not at the start if so asked")
    func oneAtATime() async throws {
        let (cluster, client) = try await lone()
        let before = try await client.put("cfg/a", "0")
        let watch = try watch(
            cluster, ["--no-initial"],
            script: """
                mkdir "$LOG.lock" || echo overlap >> "$LOG"
                sleep 0.03
                rmdir "$LOG.lock"
                \(Self.note)
                """)
        // Nothing shows from outside that the watch stands, except that it runs for a change.
        try await eventually("\(watch.errors)") {
            _ = try await client.put("cfg/probe", "x")
            return !lines(cluster).isEmpty
        }
        var last: Int64 = 0
        for number in 0..<20 { last = try await client.put("cfg/a", "\(number)") }
        try await eventually("\(lines(cluster)) \(watch.errors)") {
            lines(cluster).last == "\(last)"
        }
        let revisions = try lines(cluster).map { try #require(Int64($0)) }
        #expect(revisions[0] > before)
        #expect(revisions == Array(revisions[0]...last))
    }

    @Test("--debounce merges what comes together into one run")
    func debounce() async throws {
        let (cluster, client) = try await lone()
        let watch = try watch(
            cluster, ["--debounce", "700ms"],
            script: #"echo "$ETCD_WATCH_REVISION $(wc -l)" >> "$LOG""#)
        try await eventually("\(watch.errors)") { lines(cluster).count == 1 }
        var last: Int64 = 0
        for number in 0..<10 { last = try await client.put("cfg/\(number)", "x") }
        try await eventually("\(watch.errors)") { lines(cluster).count == 2 }
        #expect(lines(cluster)[1] == "\(last) 10")
    }

    @Test("a failed run is reported, and its events come again with the next change")
    func retry() async throws {
        let (cluster, client) = try await lone()
        let watch = try watch(
            cluster, ["--no-initial"],
            script: #"echo "$(wc -l)" >> "$LOG"; test -e "$LOG.good" || exit 7"#)
        try await eventually("\(watch.errors)") {
            _ = try await client.put("cfg/probe", "x")
            return !lines(cluster).isEmpty
        }
        try await eventually("\(watch.errors)") {
            watch.errors.contains("sh failed with exit code 7 at revision")
        }
        // What came so far has failed; each run was given what the ones before it were.
        let runs = lines(cluster).count
        #expect(lines(cluster).compactMap(Int.init) == Array(1...runs))
        #expect(
            FileManager.default.createFile(atPath: logFile(cluster) + ".good", contents: nil))
        _ = try await client.put("cfg/a", "1")
        try await eventually("\(watch.errors)") { lines(cluster).count > runs }
        let good = try #require(Int(lines(cluster)[runs]))
        #expect(good > runs)
        _ = try await client.put("cfg/a", "2")
        // Now that it works, a run gets what is new only.
        try await eventually("\(lines(cluster))") { lines(cluster).last == "1" }
        #expect(watch.isRunning)
    }

    @Test("--on-error stop ends with the command's exit code")
    func stop() async throws {
        let (cluster, _) = try await lone()
        let watch = try watch(cluster, ["--on-error", "stop"], script: "exit 9")
        #expect(try await watch.exitCode() == 9)
    }

    @Test("nothing is lost or told twice over a server that was killed and came back")
    func reconnect() async throws {
        let (cluster, client) = try await lone()
        let first = try await client.put("cfg/a", "1")
        let watch = try watch(cluster, script: Self.note)
        try await eventually("\(watch.errors)") { !lines(cluster).isEmpty }
        let second = try await client.put("cfg/a", "2")
        try await eventually("\(watch.errors)") { lines(cluster).count == 2 }
        await client.connection.close()
        cluster.kill9(0)
        try await eventually("\(watch.errors)") { watch.errors.contains("trying again") }
        try cluster.start(0)
        try await cluster.waitUntilServing()
        let again = try await RawClient.connect(port: cluster.clientPorts[0])
        let third = try await again.put("cfg/a", "3")
        try await eventually("\(watch.errors)") { lines(cluster).count >= 3 }
        #expect(watch.errors.contains("following again at"))
        let fourth = try await again.put("cfg/a", "4")
        try await eventually("\(watch.errors)") { lines(cluster).count >= 4 }
        #expect(lines(cluster) == [first, second, third, fourth].map { "\($0)" })
    }

    @Test("follows at another member when its own is killed")
    func failover() async throws {
        let cluster = try ProcessCluster(size: 3)
        try cluster.startAll()
        try await cluster.waitUntilServing()
        let watch = try watch(cluster, script: Self.note)
        try await eventually("\(watch.errors)") { lines(cluster).count == 1 }
        let client = try await RawClient.connect(port: cluster.clientPorts[2])
        let before = try await client.put("cfg/a", "1")
        try await eventually("\(watch.errors)") { lines(cluster).last == "\(before)" }
        // The first endpoint is where it began.
        cluster.kill9(0)
        var after: Int64 = 0
        try await eventually("\(cluster.log(2))") {
            after = (try? await client.put("cfg/a", "2")) ?? 0
            return after > 0
        }
        try await eventually("\(watch.errors)") { lines(cluster).last == "\(after)" }
        let revisions = try lines(cluster).dropFirst().map { try #require(Int64($0)) }
        #expect(revisions == Array(before...after))
    }

    @Test("reads the state again when the history it needs is compacted")
    func compaction() async throws {
        let (cluster, client) = try await lone()
        let watch = try watch(cluster, ["--debounce", "50ms"], script: Self.note)
        try await eventually("\(watch.errors)") { lines(cluster).count == 1 }
        // 1. It stands still while more happens than fits on the way to it.
        watch.send(SIGSTOP)
        let value = [UInt8](repeating: UInt8(ascii: "x"), count: 1_000_000)
        var last: Int64 = 0
        for number in 0..<60 { last = try await client.put("cfg/\(number % 3)", bytes: value) }
        try await client.compact(revision: last)
        // 2. It goes on, and what it would need next is gone.
        watch.send(SIGCONT)
        try await eventually("\(lines(cluster)) \(watch.errors)", limit: .seconds(30)) {
            lines(cluster).last == "\(last)"
        }
        #expect(watch.errors.contains("is compacted; reading the state again"))
        // 3. And then it follows as before.
        let next = try await client.put("cfg/a", "1")
        try await eventually("\(watch.errors)") { lines(cluster).last == "\(next)" }
    }

    @Test("SIGTERM ends the command that runs and then the watch")
    func termination() async throws {
        let (cluster, _) = try await lone()
        let watch = try watch(
            cluster,
            script: """
                trap 'echo ended >> "$LOG"; exit 0' TERM
                echo up >> "$LOG"
                while :; do sleep 0.05; done
                """)
        try await eventually("\(watch.errors)") { lines(cluster) == ["up"] }
        watch.send(SIGTERM)
        #expect(try await watch.exitCode() == 128 + SIGTERM)
        #expect(lines(cluster) == ["up", "ended"])
    }
}
