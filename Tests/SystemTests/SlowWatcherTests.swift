import EtcdWire
import HTTP2
import NIOCore
import Testing

/// Clients that open a watch and then don't read.
@Suite("Slow watchers", .serialized)
struct SlowWatcherTests {
    private static let puts = 2_500
    private static let valueBytes = 100_000
    private static let streamsInCrowd = 300
    private static let putsInCrowd = 24
    private static let valueBytesInCrowd = 50_000
    /// Far below the 250 MB of events, far above what the allocator does by itself.
    private static let allowedBytes = 64 << 20
    /// What many stalled streams may cost together; their own bounds add up to twice as much.
    private static let allowedBytesInCrowd = 150 << 20

    /// Each value says in its first bytes which one it is.
    private static func value(_ number: Int) -> [UInt8] {
        let text = Array("\(number) ".utf8)
        return text + [UInt8](repeating: UInt8(ascii: "x"), count: valueBytes - text.count)
    }

    private static func load(_ client: RawClient) async throws {
        try await concurrently(0..<puts, width: 16) { number in
            try await client.put("big", bytes: value(number))
        }
    }

    private static func lone() async throws -> (ProcessCluster, RawClient) {
        let cluster = try ProcessCluster(size: 1)
        try cluster.startAll()
        try await cluster.waitUntilServing()
        return (cluster, try await RawClient.connect(port: cluster.clientPorts[0]))
    }

    /// Reads until the event of a revision; every revision from `first` on must come, in order.
    private static func read(
        _ stream: GRPCClientStream, from first: Int64, through last: Int64
    ) async throws -> Set<String> {
        var next = first
        var values: Set<String> = []
        while next <= last {
            let answer = try await stream.answer()
            try #require(!answer.canceled, "\(answer.cancelReason)")
            for event in answer.events {
                try #require(event.kv.modRevision == next)
                #expect(event.kv.value.count == valueBytes)
                values.insert(String(decoding: event.kv.value.prefix { $0 != 32 }, as: UTF8.self))
                next += 1
            }
        }
        return values
    }

    @Test("cost a member no memory, and get everything in order once they read")
    func slow() async throws {
        let withoutWatchers: Int
        do {
            let (cluster, client) = try await Self.lone()
            try await Self.load(client)
            withoutWatchers = try cluster.residentBytes(0)
            await client.connection.close()
        }
        let (cluster, client) = try await Self.lone()
        let port = cluster.clientPorts[0]
        // One stops taking messages, so that its stream's window fills; of the other two the whole
        // sockets fill.
        let patientClient = try await RawClient.connect(port: port)
        let stalledClient = try await RawClient.connect(port: port)
        let lateClient = try await RawClient.connect(port: port)
        let patient = try await patientClient.watch("big")
        let stalled = try await stalledClient.watch("big")
        let late = try await lateClient.watch("big")
        for channel in [stalledClient.connection.channel, lateClient.connection.channel] {
            try await channel.setOption(.autoRead, value: false).get()
        }
        let first = try await client.put("other", bytes: []) + 1
        try await Self.load(client)
        let last = first + Int64(Self.puts) - 1
        let withWatchers = try cluster.residentBytes(0)
        #expect(
            withWatchers < withoutWatchers + Self.allowedBytes,
            "\(withWatchers >> 20) MiB with slow watchers, \(withoutWatchers >> 20) MiB without")

        let everything = Set((0..<Self.puts).map { "\($0)" })
        #expect(try await Self.read(patient, from: first, through: last) == everything)
        try await stalledClient.connection.channel.setOption(.autoRead, value: true).get()
        #expect(try await Self.read(stalled, from: first, through: last) == everything)
        #expect(try cluster.residentBytes(0) < withoutWatchers + 2 * Self.allowedBytes)

        try await client.compact(revision: last)
        try await lateClient.connection.channel.setOption(.autoRead, value: true).get()
        try await Self.expectCancellation(late, from: first, compacted: last)
        for client in [client, patientClient, stalledClient, lateClient] {
            await client.connection.close()
        }
    }

    @Test("hold little when they are many, and lose nothing")
    func crowd() async throws {
        let (cluster, client) = try await Self.lone()
        var connections: [RawClient] = []
        var streams: [GRPCClientStream] = []
        for _ in 0..<3 {
            let connection = try await RawClient.connect(port: cluster.clientPorts[0])
            for _ in 0..<Self.streamsInCrowd / 3 {
                streams.append(try await connection.watch("big"))
            }
            try await connection.connection.channel.setOption(.autoRead, value: false).get()
            connections.append(connection)
        }
        let before = try cluster.residentBytes(0)
        let value = [UInt8](repeating: 7, count: Self.valueBytesInCrowd)
        var last: Int64 = 0
        for _ in 0..<Self.putsInCrowd { last = try await client.put("big", bytes: value) }
        let after = try cluster.residentBytes(0)
        #expect(
            after < before + Self.allowedBytesInCrowd,
            "\(after >> 20) MiB with stalled streams, \(before >> 20) MiB before")
        for connection in connections {
            try await connection.connection.channel.setOption(.autoRead, value: true).get()
        }
        let first = last - Int64(Self.putsInCrowd) + 1
        try await concurrently(0..<streams.count, width: streams.count) { [streams, last] number in
            var next = first
            while next <= last {
                let answer = try await streams[number].answer()
                try #require(!answer.canceled, "\(answer.cancelReason)")
                for event in answer.events {
                    try #require(event.kv.modRevision == next)
                    next += 1
                }
            }
        }
        for connection in connections + [client] { await connection.connection.close() }
    }

    /// What was on its way comes without a gap, then the watch says that the rest is compacted.
    private static func expectCancellation(
        _ stream: GRPCClientStream, from first: Int64, compacted: Int64
    ) async throws {
        var next = first
        while true {
            let answer = try await stream.answer()
            if answer.canceled {
                #expect(answer.compactRevision == compacted)
                #expect(next < compacted)
                return
            }
            for event in answer.events {
                try #require(event.kv.modRevision == next)
                next += 1
            }
            try #require(next <= compacted, "everything came: this watch was never held back")
        }
    }
}
