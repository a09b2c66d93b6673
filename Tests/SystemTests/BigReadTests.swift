import EtcdMessages
import EtcdWire
import Foundation
import HTTP2
import NIOCore
import NIOPosix
import Testing

/// Ranges of so many keys that their answers dwarf what a member may take for them.
@Suite("Big reads", .serialized)
struct BigReadTests {
    /// Answered with 89 MB.
    private static let keys = 300_000
    /// What a member may take beyond what it has, while ranges are read.
    private static let allowedBytes = 64 << 20

    /// Runs a step of the Python client against a member.
    private static func script(
        _ mode: String, _ cluster: ProcessCluster, _ member: Int, keys: Int
    ) async throws {
        let arguments = [
            PythonScript.path("large_range.py"), mode, "\(cluster.clientPorts[member])", "\(keys)",
            cluster.folder.appendingPathComponent("expected").path,
        ]
        // On a thread of its own: it waits for the process.
        let result = try await Task.detached { try run(PythonScript.interpreter, arguments) }.value
        #expect(result.output == "ok\n", "\(mode): \(result.errors)")
    }

    private static func loaded(size: Int, keys: Int) async throws -> ProcessCluster {
        let cluster = try ProcessCluster(size: size, extraArguments: ["--max-txn-ops", "4000"])
        try cluster.startAll()
        try await cluster.waitUntilServing()
        try await script("load", cluster, 0, keys: keys)
        return cluster
    }

    /// Looks every few milliseconds; the kernel's own peak includes the loading.
    private static func peakBytes(of process: Int32, until stop: StopFlag) async throws -> Int {
        var peak = 0
        while !stop.isSet {
            peak = max(peak, try ProcessCluster.residentBytes(of: process))
            try await Task.sleep(for: .milliseconds(5))
        }
        return peak
    }

    @Test("of 300,000 keys are byte for byte right, take little memory and delay no put")
    func whole() async throws {
        let cluster = try await Self.loaded(size: 1, keys: Self.keys)
        let client = try await RawClient.connect(port: cluster.clientPorts[0])
        let before = try cluster.residentBytes(0)
        let stop = StopFlag()
        async let probed = client.probe(until: stop)
        let process = try cluster.processIdentifier(0)
        async let watched = Self.peakBytes(of: process, until: stop)
        try await Self.script("read", cluster, 0, keys: Self.keys)
        stop.set()
        let (puts, peak) = try await (probed, watched)
        #expect(puts.slowest < .seconds(1), "of \(puts.count) puts one took \(puts.slowest)")
        #expect(puts.count > 20)
        #expect(
            peak < before + Self.allowedBytes,
            "\(before >> 20) MiB before, \(peak >> 20) MiB meanwhile")
        await client.connection.close()
    }

    // MARK: - Slow clients

    /// Answered with 3 MB, of which a stream takes 64 KiB ahead.
    private static let fewerKeys = 10_000
    private static let streamsPerClient = 50

    /// A client that takes long messages, though little of them ahead.
    private static func patientClient(_ cluster: ProcessCluster, _ member: Int) async throws
        -> RawClient
    {
        var limits = HTTP2Limits()
        limits.maximumMessageBytes = 1 << 30
        limits.maximumAssemblyBytes = 1 << 30
        limits.streamReceiveWindowBytes = 65_535
        limits.connectionReceiveWindowBytes = 1 << 20
        let client = try await RawClient.connect(port: cluster.clientPorts[member], limits: limits)
        // The connection is up when this is answered.
        _ = try await client.status()
        return client
    }

    private static func request() -> [UInt8] {
        var request = RangeRequest()
        request.key = Array("large/".utf8)[...]
        request.rangeEnd = Array("large0".utf8)[...]
        var message: [UInt8] = []
        request.encode(into: &message)
        return message
    }

    /// Asks for all keys and doesn't wait for the answer.
    private static func ask(_ client: RawClient) async throws -> GRPCClientStream {
        let stream = client.connection.openStream(
            GRPCRequest(path: RPCMethod.range.path, timeoutNanoseconds: 60_000_000_000))
        try await stream.send(request())
        stream.finishSending()
        return stream
    }

    private static func setReading(_ client: RawClient, _ reads: Bool) async throws {
        try await client.connection.channel.setOption(.autoRead, value: reads).get()
    }

    private static func expectEverything(
        _ stream: GRPCClientStream, first: String = "00000000"
    ) async throws {
        let bytes = try #require(try await stream.receive())
        let answer = try Etcdserverpb_RangeResponse(serializedBytes: bytes)
        #expect(answer.count == Int64(fewerKeys))
        #expect(answer.kvs.count == fewerKeys)
        #expect(answer.kvs.first?.key == Data("large/000000".utf8))
        #expect(answer.kvs.first?.value.prefix(8) == Data(first.utf8))
        #expect(answer.kvs.last?.key == Data("large/009999".utf8))
        let end = try await stream.receive()
        #expect(end == nil)
    }

    @Test("of clients that don't read hold little, however many, and end when the clients read")
    func slow() async throws {
        let cluster = try await Self.loaded(size: 1, keys: Self.fewerKeys)
        let quick = try await Self.patientClient(cluster, 0)
        let before = try cluster.residentBytes(0)
        var clients: [RawClient] = []
        var streams: [[GRPCClientStream]] = []
        for _ in 0..<3 {
            let client = try await Self.patientClient(cluster, 0)
            try await Self.setReading(client, false)
            clients.append(client)
            streams.append([])
            for _ in 0..<Self.streamsPerClient {
                streams[streams.count - 1].append(try await Self.ask(client))
            }
        }
        // Read in turn with all others: when it is complete, the others have all they can have.
        try await Self.expectEverything(try await Self.ask(quick))
        let stalled = try cluster.residentBytes(0)
        #expect(
            stalled < before + Self.allowedBytes,
            "\(before >> 20) MiB before, \(stalled >> 20) MiB with \(3 * Self.streamsPerClient)")

        // They get the map as it was when they asked.
        _ = try await quick.put("large/000000", "new")
        try await Self.setReading(clients[0], true)
        for stream in streams[0] { try await Self.expectEverything(stream) }
        await clients[1].connection.close()
        for stream in streams[1] {
            await #expect(throws: GRPCCallError.self) { try await stream.receive() }
        }
        try await Self.setReading(clients[2], true)
        for stream in streams[2].dropFirst() { stream.cancel() }
        try await Self.expectEverything(streams[2][0])
        try await Self.expectEverything(try await Self.ask(quick), first: "new")
        for client in [quick, clients[0], clients[2]] { await client.connection.close() }
    }

    @Test("that were begun are finished by a member that is told to stop")
    func shutdown() async throws {
        let cluster = try await Self.loaded(size: 3, keys: Self.fewerKeys)
        let client = try await Self.patientClient(cluster, 2)
        let stream = try await Self.ask(client)
        try await Self.expectEverything(stream)
        try await Self.setReading(client, false)
        let slow = try await Self.ask(client)
        // Behind it on the same member; when it is answered, the slow one has begun.
        let other = try await Self.patientClient(cluster, 2)
        try await Self.expectEverything(try await Self.ask(other))
        kill(try cluster.processIdentifier(2), SIGTERM)
        try await Self.setReading(client, true)
        try await Self.expectEverything(slow)
        #expect(try await cluster.exitCode(2, limit: .seconds(10)) == 0)
        for client in [client, other] { await client.connection.close() }
    }
}
