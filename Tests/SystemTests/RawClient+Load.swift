import EtcdMessages
import EtcdWire
import HTTP2
import Synchronization

/// Ends a load between two calls. Cancelling its task would give up the call on its way.
final class StopFlag: Sendable {
    private let flag = Atomic<Bool>(false)
    var isSet: Bool { flag.load(ordering: .relaxed) }
    func set() { flag.store(true, ordering: .relaxed) }
}

/// A message of a watch stream, as far as these tests look at it.
typealias WatchAnswer = Etcdserverpb_WatchResponse

extension RawClient {
    /// Puts bytes, with a lease or without; returns the revision.
    @discardableResult
    func put(_ key: String, bytes: [UInt8], lease: Int64 = 0) async throws -> Int64 {
        var request = PutRequest()
        request.key = Array(key.utf8)[...]
        request.value = bytes[...]
        request.lease = lease
        var message: [UInt8] = []
        request.encode(into: &message)
        let answer = try await call(.put, message)
        return try Etcdserverpb_PutResponse(serializedBytes: answer).header.revision
    }

    /// Puts one after the other until told to stop; returns how long the slowest took, and how many.
    func probe(until stop: StopFlag) async throws -> (slowest: Duration, count: Int) {
        var slowest = Duration.zero
        var count = 0
        while !stop.isSet {
            let start = ContinuousClock.now
            try await put("probe", bytes: [1])
            slowest = max(slowest, .now - start)
            count += 1
            // A look at how long a call takes, not a load.
            try await Task.sleep(for: .milliseconds(10))
        }
        return (slowest, count)
    }

    /// Grants a lease; returns its id.
    func grantLease(seconds: Int64) async throws -> Int64 {
        var message: [UInt8] = []
        var request = LeaseGrantRequest()
        request.ttl = seconds
        request.encode(into: &message)
        let answer = try await call(.leaseGrant, message)
        return try Etcdserverpb_LeaseGrantResponse(serializedBytes: answer).id
    }

    /// How many leases the cluster knows.
    func leaseCount() async throws -> Int {
        let answer = try await call(.leaseLeases, [])
        return try Etcdserverpb_LeaseLeasesResponse(serializedBytes: answer).leases.count
    }

    /// How many keys begin with a prefix, linearizable.
    func count(prefix: String) async throws -> Int64 {
        var request = RangeRequest()
        request.key = Array(prefix.utf8)[...]
        request.rangeEnd = Self.end(ofPrefix: prefix)
        request.countOnly = true
        var message: [UInt8] = []
        request.encode(into: &message)
        let answer = try await call(.range, message)
        return try Etcdserverpb_RangeResponse(serializedBytes: answer).count
    }

    /// Lets go of the history below a revision.
    func compact(revision: Int64) async throws {
        var request = CompactionRequest()
        request.revision = revision
        var message: [UInt8] = []
        request.encode(into: &message)
        _ = try await call(.compact, message)
    }

    /// The member's hash over keys, values and history up to a revision.
    func hash(revision: Int64) async throws -> UInt32 {
        var request = Etcdserverpb_HashKVRequest()
        request.revision = revision
        let answer = try await call(.hashKV, try request.serializedBytes())
        return try Etcdserverpb_HashKVResponse(serializedBytes: answer).hash
    }

    /// Opens a watch stream with so many watches of one key, or of all keys with a prefix, and
    /// waits until they exist.
    func watch(_ key: String, isPrefix: Bool = false, count: Int = 1) async throws
        -> GRPCClientStream
    {
        let stream = connection.openStream(GRPCRequest(path: RPCMethod.watch.path))
        var create = WatchCreateRequest()
        create.key = Array(key.utf8)[...]
        if isPrefix { create.rangeEnd = Self.end(ofPrefix: key) }
        var message: [UInt8] = []
        WatchRequest.create(create).encode(into: &message)
        for _ in 0..<count { try await stream.send(message) }
        var created = 0
        while created < count {
            guard let bytes = try await stream.receive() else { throw StreamEnded() }
            if try WatchAnswer(serializedBytes: bytes).created { created += 1 }
        }
        return stream
    }
}

/// The server ended a stream that the test still needed.
struct StreamEnded: Error {}

extension GRPCClientStream {
    /// The next message of a watch stream.
    func answer() async throws -> WatchAnswer {
        guard let bytes = try await receive() else { throw StreamEnded() }
        return try WatchAnswer(serializedBytes: bytes)
    }

    /// Asks for a message that comes behind every event delivered so far.
    func requestProgress() async throws {
        var message: [UInt8] = []
        WatchRequest.progress.encode(into: &message)
        try await send(message)
    }
}

/// Runs a piece of work for each number, so many at a time; the first error ends it.
func concurrently(
    _ numbers: Range<Int>, width: Int, _ work: @escaping @Sendable (Int) async throws -> Void
) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
        for lane in 0..<min(width, numbers.count) {
            group.addTask {
                for number in stride(
                    from: numbers.lowerBound + lane, to: numbers.upperBound, by: width)
                { try await work(number) }
            }
        }
        try await group.waitForAll()
    }
}
