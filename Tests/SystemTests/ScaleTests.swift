import EtcdMessages
import EtcdWire
import HTTP2
import Testing

/// What is "nothing special": many watches, many leases.
@Suite("A thousand watches and ten thousand leases", .serialized)
struct ScaleTests {
    private static let connections = 5
    private static let streamsPerConnection = 10
    private static let watchesPerStream = 20
    private static let puts = 40

    /// Reads a stream until each of its watches has seen `last`, then until the progress message
    /// that comes behind everything; returns the values that each watch saw.
    private static func readAll(
        _ stream: GRPCClientStream, watches: Int, last: String
    ) async throws -> [Int64: [String]] {
        var seen: [Int64: [String]] = [:]
        var finished = 0
        while true {
            let answer = try await stream.answer()
            if answer.watchID == -1, answer.events.isEmpty { return seen }
            for event in answer.events {
                let value = String(decoding: event.kv.value, as: UTF8.self)
                seen[answer.watchID, default: []].append(value)
                guard value == last else { continue }
                finished += 1
                if finished == watches { try await stream.requestProgress() }
            }
        }
    }

    @Test("1,000 watches of one key see each put exactly once and in order")
    func watches() async throws {
        let cluster = try ProcessCluster(size: 3)
        try cluster.startAll()
        try await cluster.waitUntilServing()
        var clients: [RawClient] = []
        var streams: [GRPCClientStream] = []
        for number in 0..<Self.connections {
            let client = try await RawClient.connect(port: cluster.clientPorts[number % 3])
            clients.append(client)
            for _ in 0..<Self.streamsPerConnection {
                streams.append(try await client.watch("hot", count: Self.watchesPerStream))
            }
        }
        let writer = clients[0]
        let values = (0..<Self.puts).map { "value \($0)" }
        let seen = try await withThrowingTaskGroup(of: [Int64: [String]].self) { group in
            for stream in streams {
                group.addTask {
                    try await Self.readAll(
                        stream, watches: Self.watchesPerStream, last: values[Self.puts - 1])
                }
            }
            for value in values { _ = try await writer.put("hot", value) }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(seen.count == Self.connections * Self.streamsPerConnection)
        for stream in seen {
            #expect(stream.count == Self.watchesPerStream)
            #expect(stream.values.allSatisfy { $0 == values })
        }
        for client in clients { await client.connection.close() }
    }

    // MARK: - Leases

    private static let leases = 10_000
    private static let seconds: Int64 = 3

    /// When leases were asked for and when their keys were seen to vanish.
    private actor Lifetimes {
        private var asked: [String: ContinuousClock.Instant] = [:]
        private(set) var lifetimes: [Duration] = []

        func ask(_ key: String) { asked[key] = .now }

        func vanished(_ key: String) {
            guard let start = asked.removeValue(forKey: key) else { return }
            lifetimes.append(.now - start)
        }
    }

    private static func renew(_ leases: [Int64], by client: RawClient) async throws {
        let stream = client.connection.openStream(GRPCRequest(path: RPCMethod.leaseKeepAlive.path))
        defer { stream.cancel() }
        while !Task.isCancelled {
            for lease in leases {
                var request = Etcdserverpb_LeaseKeepAliveRequest()
                request.id = lease
                try await stream.send(try request.serializedBytes())
            }
            for _ in leases {
                guard let bytes = try await stream.receive() else { throw StreamEnded() }
                let answer = try Etcdserverpb_LeaseKeepAliveResponse(serializedBytes: bytes)
                #expect(answer.ttl == Self.seconds)
            }
            // A client renews about three times in a lease's life.
            try? await Task.sleep(for: .seconds(1))
        }
    }

    private static func collectDeletions(
        _ stream: GRPCClientStream, count: Int, into lifetimes: Lifetimes
    ) async throws {
        var deletions = 0
        while deletions < count {
            for event in try await stream.answer().events where event.type == .delete {
                await lifetimes.vanished(String(decoding: event.kv.key, as: UTF8.self))
                deletions += 1
            }
        }
    }

    @Test("10,000 leases end on time with their keys while others are renewed and puts answered")
    func leases() async throws {
        let cluster = try ProcessCluster(size: 3)
        try cluster.startAll()
        try await cluster.waitUntilServing()
        var clients: [RawClient] = []
        for port in cluster.clientPorts { clients.append(try await RawClient.connect(port: port)) }
        var kept: [Int64] = []
        for number in 0..<50 {
            let lease = try await clients[0].grantLease(seconds: Self.seconds)
            try await clients[0].put("kept/\(number)", bytes: [1], lease: lease)
            kept.append(lease)
        }
        let renewals = Task { [kept, client = clients[1]] in
            try await Self.renew(kept, by: client)
        }
        let stop = StopFlag()
        let probes = Task { [client = clients[2]] in
            try await client.probe(until: stop)
        }
        let lifetimes = Lifetimes()
        let stream = try await clients[0].watch("mortal/", isPrefix: true)
        let deletions = Task {
            try await Self.collectDeletions(stream, count: Self.leases, into: lifetimes)
        }
        try await concurrently(0..<Self.leases, width: 128) { [clients] number in
            let client = clients[number % 3]
            let key = "mortal/\(number)"
            await lifetimes.ask(key)
            let lease = try await client.grantLease(seconds: Self.seconds)
            try await client.put(key, bytes: [1], lease: lease)
        }
        let patience = Task {
            try await Task.sleep(for: .seconds(Self.seconds + 10))
            deletions.cancel()
        }
        try await deletions.value
        patience.cancel()
        stop.set()
        let probed = try await probes.value
        let measured = await lifetimes.lifetimes
        #expect(measured.count == Self.leases)
        #expect(try #require(measured.min()) >= .seconds(Self.seconds))
        let longest = try #require(measured.max())
        #expect(longest < .seconds(Self.seconds + 4), "a key lived for \(longest)")
        #expect(probed.slowest < .seconds(1), "of \(probed.count) puts one took \(probed.slowest)")
        #expect(probed.count > 100)
        for client in clients {
            #expect(try await client.count(prefix: "mortal/") == 0)
            #expect(try await client.count(prefix: "kept/") == 50)
            #expect(try await client.leaseCount() == 50)
        }
        renewals.cancel()
        _ = await renewals.result
        for client in clients { await client.connection.close() }
    }
}
