import DurableLog
import EtcdMessages
import EtcdWire
import KVCore
import RaftCore
import Replica
import TestSupport

/// Calls of clients to a member that leads alone. Each part of an input is a call: its first byte
/// chooses the kind, the rest is the message.
public struct CallTarget: FuzzTarget {
    /// See `FuzzTarget`.
    public let name = "calls"
    /// See `FuzzTarget`.
    public let summary = """
        client calls and watch streams to a running member: each call is answered once, with a \
        message that its type reads, the member goes on, and starts again from what it wrote
        """

    /// A target for calls.
    public init() {}

    private static let kinds: [ClientRequest.Kind] = [
        .range, .put, .deleteRange, .txn, .compact, .leaseGrant, .leaseRevoke, .leaseKeepAlive,
        .leaseTimeToLive, .leaseLeases, .memberList, .hashKV, .barrier,
    ]
    /// Behind the last call: messages on one of two watch streams.
    private static let watchKind = kinds.count

    /// See `FuzzTarget`.
    public func seeds() -> [[UInt8]] {
        let places = [0, 1, 2, 3, 4, 5, 6, 7, 8, Self.watchKind]
        let calls = RequestSeeds.all.map { seed in
            [UInt8(places[Int(seed[0])])] + seed.dropFirst()
        }
        return [Parts.join(calls), Parts.join(calls.reversed())]
            + calls.map { Parts.join([calls[2], $0, [10], [11], $0]) }
    }

    /// See `FuzzTarget`.
    public func mutate(_ input: [UInt8], _ mutator: inout Mutator) -> [UInt8] {
        var calls = Parts.split(input[...])
        let donor = mutator.other()
        mutator.rearrange(&calls, from: Parts.split(donor[...])) { call, mutator in
            var kind = call.first ?? 0
            if mutator.once(in: 12) { kind = UInt8(mutator.below(Self.kinds.count + 2)) }
            call = [kind] + ProtobufTree.mutate(Array(call.dropFirst()), &mutator)
        }
        return Parts.join(calls.prefix(30)).prefixArray(30_000)
    }

    /// See `FuzzTarget`.
    public func run(_ input: [UInt8]) throws(PropertyBreach) -> Behaviour {
        var trace = BehaviourTrace()
        var driver = Self.leader()
        let calls = Parts.split(input[...]).filter { !$0.isEmpty }
        for (number, call) in calls.enumerated() {
            let kind = Int(call[0]) % (Self.kinds.count + 2)
            let body = Array(call.dropFirst())
            if kind < Self.kinds.count {
                driver.handle(
                    .requests([
                        ClientRequest(id: UInt64(number), kind: Self.kinds[kind], body: body)
                    ]))
            } else {
                driver.handle(.watch(UInt64(kind - Self.watchKind), body))
            }
            if number % 4 == 3 { driver.fireTimer() }
        }
        // Longer than any call waits.
        let end = driver.now + 10_000_000
        while driver.now < end, driver.failure == nil { driver.fireTimer() }
        try Self.checkRunning(driver.failure)
        var isAccepted = false
        for (number, call) in calls.enumerated() {
            let kind = Int(call[0]) % (Self.kinds.count + 2)
            guard kind < Self.kinds.count else { continue }
            let answers = driver.answers[UInt64(number)] ?? []
            trace.note("\(Self.kinds[kind]) " + (try Self.judge(answers, Self.kinds[kind])))
            if case .success? = answers.first { isAccepted = true }
        }
        for message in driver.watchMessages {
            try Answers.check(message, as: Etcdserverpb_WatchResponse.self)
            trace.note("watch \(message.count.leadingZeroBitCount)")
        }
        if driver.watchFailures > 0 { trace.note("watch failed") }
        try Self.restart(&driver)
        return Behaviour(isAccepted: isAccepted, trace)
    }

    static func checkRunning(_ failure: ReplicaFailure?) throws(PropertyBreach) {
        try require(failure == nil, "no call stops a member", failure?.description ?? "")
    }

    private static var settings: ReplicaSettings {
        var settings = ReplicaDriver.smallSettings
        settings.store = StoreLimits(quotaBytes: 60_000)
        settings.snapshotEntries = 12
        settings.retainedEntries = 3
        return settings
    }

    /// A member of a cluster of one, which leads.
    private static func leader() -> ReplicaDriver {
        var disk = MemoryDisk()
        try? RecoveredReplica.initialize(
            &disk, identity: LogImage.identity, membership: LogSeeds.membership,
            settings: LogImage.settings)
        guard
            let recovered = try? RecoveredReplica.open(
                &disk, identity: LogImage.identity, limits: settings.store)
        else { preconditionFailure("a fresh directory can be opened") }
        var driver = ReplicaDriver(recovered, disk: disk, settings: settings)
        driver.handle(.start)
        while !driver.status.isLeader { driver.fireTimer() }
        return driver
    }

    /// The kind of an answer.
    static func judge(
        _ answers: [Result<[UInt8], RequestFailure>], _ kind: ClientRequest.Kind
    ) throws(PropertyBreach) -> String {
        try require(answers.count == 1, "a call is answered once", "\(answers.count) answers")
        switch answers[0] {
        case .failure(let failure):
            try require(
                failure.error.code != .ok && !failure.error.message.isEmpty,
                "a failure has a code and a text")
            return String(failure.error.message.prefix(60))
        case .success(let message):
            switch kind {
            case .range: try Answers.check(message, as: Etcdserverpb_RangeResponse.self)
            case .put: try Answers.check(message, as: Etcdserverpb_PutResponse.self)
            case .deleteRange: try Answers.check(message, as: Etcdserverpb_DeleteRangeResponse.self)
            case .txn: try Answers.check(message, as: Etcdserverpb_TxnResponse.self)
            case .compact: try Answers.check(message, as: Etcdserverpb_CompactionResponse.self)
            case .leaseGrant: try Answers.check(message, as: Etcdserverpb_LeaseGrantResponse.self)
            case .leaseRevoke: try Answers.check(message, as: Etcdserverpb_LeaseRevokeResponse.self)
            case .leaseKeepAlive:
                try Answers.check(message, as: Etcdserverpb_LeaseKeepAliveResponse.self)
            case .leaseTimeToLive:
                try Answers.check(message, as: Etcdserverpb_LeaseTimeToLiveResponse.self)
            case .leaseLeases: try Answers.check(message, as: Etcdserverpb_LeaseLeasesResponse.self)
            case .memberList: try Answers.check(message, as: Etcdserverpb_MemberListResponse.self)
            case .hashKV: try Answers.check(message, as: Etcdserverpb_HashKVResponse.self)
            case .barrier, .changeMembership:
                try require(message.isEmpty, "a barrier's answer is empty")
            }
            return "answered"
        }
    }

    /// What the member wrote leads to the same keys, leases and revision.
    private static func restart(_ driver: inout ReplicaDriver) throws(PropertyBreach) {
        var disk = driver.disk
        let recovered: RecoveredReplica
        do throws(LogError) {
            recovered = try RecoveredReplica.open(
                &disk, identity: LogImage.identity, limits: settings.store)
        } catch {
            throw PropertyBreach("a member starts from what it wrote", seen: "\(error)")
        }
        var again = ReplicaDriver(recovered, disk: disk, settings: settings)
        again.handle(.start)
        while !again.status.isLeader { again.fireTimer() }
        try require(again.status.term > driver.status.term, "a term never decreases")
        try checkRestarted(summary(&again), summary(&driver))
    }

    static func checkRestarted(_ again: [String], _ before: [String]) throws(PropertyBreach) {
        try require(
            again == before, "a member starts with what it had", "\(again) instead of \(before)")
    }

    /// The state but for what members say of themselves, which they may say again.
    private static func summary(_ driver: inout ReplicaDriver) -> [String] {
        let id: RequestID = 1 << 20
        driver.handle(.requests([ClientRequest(id: id, kind: .hashKV, body: [])]))
        let status = driver.status
        guard case .success(let message)? = driver.answers[id]?.first,
            let hash = try? Etcdserverpb_HashKVResponse(serializedBytes: message)
        else { return [] }
        return ["\(status.revision)", "\(status.logicalBytes)", "\(hash.hash)"]
    }
}
