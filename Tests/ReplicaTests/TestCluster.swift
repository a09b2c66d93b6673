import DurableLog
import EtcdWire
import KVCore
import RaftCore
import Replica
import TestSupport

/// A cluster of production replicas on simulated disks and links, in one thread and virtual time.
final class TestCluster {
    /// A noncopyable value can't be reached through an optional; a reference can.
    final class Running {
        var replica: Replica

        init(_ replica: consuming Replica) { self.replica = replica }
    }

    final class Node {
        let identity: DirectoryIdentity
        var disk = MemoryDisk()
        var running: Running?
        var boot: UInt64 = 0
        var stopped: ReplicaFailure?
        var leader: MemberID?

        init(identity: DirectoryIdentity) { self.identity = identity }

        var isRunning: Bool { running != nil && stopped == nil }
        var status: MemberStatus? { running?.replica.status }
    }

    private enum Happening {
        case event(node: Int, boot: UInt64, ReplicaEvent)
        case disk(node: Int, boot: UInt64, DiskOperation)
        case snapshot(node: Int, boot: UInt64, SnapshotJob)
        case stream(from: Int, to: Int, boot: UInt64, file: String, term: Term)
    }

    var random: Seeded
    var now: Microseconds = 1_000
    var nodes: [Node] = []
    var settings: ReplicaSettings
    /// Probability, in percent, that a frame is lost.
    var lossPercent = 0
    /// Pairs that can't talk, by position.
    var cut: Set<[Int]> = []
    private var queue: [(time: Microseconds, order: Int, happening: Happening)] = []
    private var order = 0
    private var diskFreeAt: [Microseconds]
    private(set) var responses: [RequestID: Result<[UInt8], RequestFailure>] = [:]
    private(set) var watchMessages: [WatchStreamID: [[UInt8]]] = [:]
    private var nextRequest: RequestID = 1
    var effectCount = 0
    /// Frames sent so far, by the positions of sender and receiver, lost ones too.
    private(set) var frameCounts: [[Int]: Int] = [:]
    /// Sees every frame that is sent: sender, receiver, bytes.
    var tap: ((Int, Int, [UInt8]) -> Void)?
    /// How long a snapshot is on its way.
    var streamMicroseconds: Microseconds = 5_000
    private(set) var streamCount = 0
    /// Ranges that were too large to be answered at once.
    private(set) var largeRangeCount = 0
    /// When each call was answered.
    private(set) var answeredAt: [RequestID: Microseconds] = [:]

    init(size: Int, seed: UInt64, settings: ReplicaSettings = TestCluster.fastSettings) throws {
        random = Seeded(seed: seed)
        self.settings = settings
        diskFreeAt = Array(repeating: 0, count: size)
        let record = MembershipRecord(
            members: (1...size).map {
                .init(id: MemberID($0), peerURLs: ["http://n\($0)"], role: .voter)
            }, removedIDs: [])
        for position in 0..<size {
            let node = Node(
                identity: DirectoryIdentity(
                    clusterID: 99, memberID: MemberID(position + 1),
                    directoryID: DirectoryID(high: 7, low: UInt64(position))))
            try RecoveredReplica.initialize(
                &node.disk, identity: node.identity, membership: record, settings: settings.log)
            nodes.append(node)
        }
        for position in 0..<size { try start(position) }
    }

    /// Small segments and snapshots, so that every path is taken.
    static var fastSettings: ReplicaSettings {
        var settings = ReplicaSettings()
        settings.log.segmentByteCount = 64 << 10
        settings.log.maxBatchPayloadBytes = 8 << 10
        settings.raft.maxMessageBytes = 4 << 10
        settings.snapshotEntries = 60
        settings.retainedEntries = 20
        return settings
    }

    // MARK: - Members

    func start(_ position: Int) throws {
        let node = nodes[position]
        node.boot += 1
        node.stopped = nil
        let recovered = try RecoveredReplica.open(
            &node.disk, identity: node.identity, limits: settings.store)
        let id = node.identity.memberID
        node.running = Running(
            Replica(
                recovered: recovered, settings: settings,
                attributes: MemberAttributes(
                    id: id, name: "n\(id)", clientURLs: ["http://c\(id)"],
                    directoryID: Array(repeating: UInt8(position), count: 16)),
                boot: node.boot << 8 | id, seed: random.next(), now: now))
        deliver(.start, to: position)
        for peer in nodes.indices where peer != position && nodes[peer].running != nil {
            deliver(.peerConnected(nodes[peer].identity.memberID), to: position)
            deliver(.peerConnected(id), to: peer)
        }
    }

    /// SIGKILL and loss of power in one.
    func crash(_ position: Int) {
        let node = nodes[position]
        node.running = nil
        node.disk.crash(random: &random)
        for peer in nodes.indices where nodes[peer].running != nil {
            deliver(.peerProcessGone(node.identity.memberID), to: peer)
        }
    }

    func deliver(_ event: ReplicaEvent, to position: Int) {
        let node = nodes[position]
        guard node.running != nil, node.stopped == nil else { return }
        var effects: [ReplicaEffect] = []
        node.running!.replica.handle(event, now: now, into: &effects)
        effectCount += effects.count
        for effect in effects { carryOut(effect, of: position) }
    }

    private func carryOut(_ effect: ReplicaEffect, of position: Int) {
        let node = nodes[position]
        switch effect {
        case .respond(let answers):
            for answer in answers {
                responses[answer.request] = .success(answer.message)
                answeredAt[answer.request] = now
            }
        case .readRange(let request, let range, let view):
            largeRangeCount += 1
            responses[request] = read(range, on: view)
            answeredAt[request] = now
        case .fail(let request, let failure):
            responses[request] = .failure(failure)
            answeredAt[request] = now
        case .sendPeer(let to, let frame): send(frame, from: position, to: Int(to) - 1)
        case .peerFault(_, let fault): fatalError("a peer fault: \(fault)")
        case .disk(let operation):
            // The operations of a member take their turn.
            let start = max(now, diskFreeAt[position])
            diskFreeAt[position] = start + .random(in: 50...800, using: &random)
            schedule(.disk(node: position, boot: node.boot, operation), at: diskFreeAt[position])
        case .watchResponse(let stream, let message):
            watchMessages[stream, default: []].append(message)
        case .watchFailed(_, let error): fatalError("a watch failed: \(error)")
        case .writeSnapshot(let job):
            schedule(.snapshot(node: position, boot: node.boot, job), at: now + 3_000)
        case .sendSnapshot(let to, let file, let term):
            streamCount += 1
            schedule(
                .stream(from: position, to: Int(to) - 1, boot: node.boot, file: file, term: term),
                at: now + streamMicroseconds)
        case .leaderChanged(let leader, _): node.leader = leader
        case .membersChanged: break
        case .stop(let failure): node.stopped = failure
        }
    }

    private func read(_ range: LargeRange, on view: StoreView) -> Result<[UInt8], RequestFailure> {
        var readers = RangeReaders()
        readers.start(1, range, on: view)
        var message: [UInt8] = []
        do throws(EtcdError) {
            while let step = try readers.step(1, visits: 1_000, bytes: 1_000) {
                if case .bytes(let bytes, _) = step { message += bytes }
            }
            return .success(message)
        } catch {
            return .failure(RequestFailure(error))
        }
    }

    private func send(_ frame: [UInt8], from: Int, to: Int) {
        frameCounts[[from, to], default: 0] += 1
        tap?(from, to, frame)
        guard !cut.contains([from, to]), Int.random(in: 0..<100, using: &random) >= lossPercent
        else { return }
        schedule(
            .event(
                node: to, boot: nodes[to].boot,
                .peerFrame(nodes[from].identity.memberID, frame)),
            at: now + .random(in: 100...2_000, using: &random))
    }

    private func schedule(_ happening: Happening, at time: Microseconds) {
        order += 1
        var place = queue.count
        while place > 0, queue[place - 1].time > time { place -= 1 }
        queue.insert((time, order, happening), at: place)
    }

    // MARK: - Time

    /// Runs for a while.
    func run(microseconds: Microseconds) {
        let end = now + microseconds
        while true {
            let nextTimer = nodes.indices.compactMap { position -> (Microseconds, Int)? in
                guard nodes[position].isRunning else { return nil }
                return (max(now, nodes[position].running!.replica.nextDeadline), position)
            }.min { $0 < $1 }
            let nextHappening = queue.first?.time ?? .max
            let next = min(nextTimer?.0 ?? .max, nextHappening)
            guard next <= end else { break }
            now = max(now, next)
            if nextHappening <= next {
                happen(queue.removeFirst().happening)
            } else if let nextTimer {
                deliver(.timer, to: nextTimer.1)
            }
        }
        now = end
    }

    private func happen(_ happening: Happening) {
        switch happening {
        case .event(let position, let boot, let event):
            if nodes[position].boot == boot { deliver(event, to: position) }
        case .disk(let position, let boot, let operation):
            guard nodes[position].boot == boot, nodes[position].running != nil else { return }
            let completion = operation.perform(on: &nodes[position].disk)
            deliver(.diskCompleted(completion), to: position)
        case .snapshot(let position, let boot, let job):
            guard nodes[position].boot == boot, nodes[position].running != nil else { return }
            deliver(.snapshotWritten(job.run(on: &nodes[position].disk)), to: position)
        case .stream(let from, let to, let boot, let file, let term):
            guard nodes[from].boot == boot, nodes[from].running != nil else { return }
            stream(from: from, to: to, file: file, term: term)
        }
    }

    private func stream(from: Int, to: Int, file: String, term: Term) {
        let target = nodes[to]
        var succeeded = false
        if target.running != nil, !cut.contains([from, to]),
            let size = try? nodes[from].disk.byteCount(of: file),
            let bytes = try? nodes[from].disk.read(file, offset: 0, byteCount: size)
        {
            do {
                let aside = SnapshotName.incoming
                try target.disk.remove(aside)
                try target.disk.write(aside, offset: 0, bytes: bytes)
                try target.disk.sync(aside)
                try target.disk.rename(aside, to: file)
                try target.disk.syncDirectory()
                let loaded = try LoadedSnapshot.load(
                    file, from: &target.disk, clusterID: 99, limits: settings.store)
                succeeded = true
                deliver(
                    .snapshotReceived(
                        loaded, from: nodes[from].identity.memberID, term: term), to: to)
            } catch {
                fatalError("a snapshot could not be taken over: \(error)")
            }
        }
        deliver(
            .snapshotSent(to: target.identity.memberID, succeeded: succeeded), to: from)
    }

    // MARK: - Clients

    func call(
        _ kind: ClientRequest.Kind, _ body: [UInt8], timeout: Microseconds? = nil, on position: Int
    ) -> RequestID {
        nextRequest += 1
        let request = ClientRequest(
            id: nextRequest, kind: kind, body: body, timeoutMicroseconds: timeout)
        deliver(.requests([request]), to: position)
        return nextRequest
    }

    func put(
        _ key: String, _ value: String, lease: Int64 = 0, timeout: Microseconds? = nil,
        on position: Int
    ) -> RequestID {
        var request = PutRequest()
        request.key = Array(key.utf8)[...]
        request.value = Array(value.utf8)[...]
        request.lease = lease
        var body: [UInt8] = []
        request.encode(into: &body)
        return call(.put, body, timeout: timeout, on: position)
    }

    func get(_ key: String, timeout: Microseconds? = nil, on position: Int) -> RequestID {
        var request = RangeRequest()
        request.key = Array(key.utf8)[...]
        var body: [UInt8] = []
        request.encode(into: &body)
        return call(.range, body, timeout: timeout, on: position)
    }

    /// Grants a lease and returns its id, once that is done.
    func grant(seconds: Int64, on position: Int) throws -> Int64 {
        var grant = LeaseGrantRequest()
        grant.ttl = seconds
        var body: [UInt8] = []
        grant.encode(into: &body)
        let request = call(.leaseGrant, body, on: position)
        run(microseconds: 50_000)
        return Self.integer(2, in: try responses[request]!.get())!
    }

    func leaseCall(
        _ kind: ClientRequest.Kind, _ lease: Int64, timeout: Microseconds? = nil, on position: Int
    ) -> RequestID {
        var request = LeaseKeepAliveRequest()
        request.id = lease
        var body: [UInt8] = []
        request.encode(into: &body)
        return call(kind, body, timeout: timeout, on: position)
    }

    /// A number among a message's fields.
    static func integer(_ field: UInt32, in message: [UInt8]) -> Int64? {
        var reader = WireReader(message[...])
        while let tag = try? reader.nextTag() {
            if tag.fieldNumber == field { return try? reader.readInt64(tag) }
            try? reader.skip(tag)
        }
        return nil
    }

    func watch(_ key: String, from revision: Int64 = 0, stream: WatchStreamID, on position: Int) {
        var create = WatchCreateRequest()
        create.key = Array(key.utf8)[...]
        create.rangeEnd = [0]
        create.startRevision = revision
        var inner: [UInt8] = []
        create.encode(into: &inner)
        var body: [UInt8] = []
        WireWriter.appendBytes(1, inner[...], to: &body)
        deliver(.watch(stream, body), to: position)
    }

    /// The keys of all events a stream got, in order.
    func watchedKeys(_ stream: WatchStreamID) -> [String] {
        (watchMessages[stream] ?? []).flatMap { message -> [String] in
            var keys: [String] = []
            var reader = WireReader(message[...])
            while let tag = try? reader.nextTag() {
                guard tag.fieldNumber == 11, let event = try? reader.readBytes(tag) else {
                    try? reader.skip(tag)
                    continue
                }
                keys.append(Self.key(inEvent: event))
            }
            return keys
        }
    }

    private static func key(inEvent event: ArraySlice<UInt8>) -> String {
        var reader = WireReader(event)
        while let tag = try? reader.nextTag() {
            if tag.fieldNumber == 2, let pair = try? reader.readBytes(tag) {
                var inner = WireReader(pair)
                while let field = try? inner.nextTag() {
                    if field.fieldNumber == 1, let key = try? inner.readBytes(field) {
                        return String(decoding: key, as: UTF8.self)
                    }
                    try? inner.skip(field)
                }
            }
            try? reader.skip(tag)
        }
        return ""
    }

    /// The single value in a range response; nil when there is none.
    static func value(in message: [UInt8]) -> String? {
        guard var reader = Optional(WireReader(message[...])) else { return nil }
        while let tag = try? reader.nextTag() {
            guard tag.fieldNumber == 2, let pair = try? reader.readBytes(tag) else {
                try? reader.skip(tag)
                continue
            }
            var inner = WireReader(pair)
            while let field = try? inner.nextTag() {
                if field.fieldNumber == 5, let bytes = try? inner.readBytes(field) {
                    return String(decoding: bytes, as: UTF8.self)
                }
                try? inner.skip(field)
            }
        }
        return nil
    }

    var leaderPosition: Int? {
        nodes.indices.first { nodes[$0].status?.isLeader ?? false }
    }

    func succeeded(_ request: RequestID) -> Bool {
        if case .success? = responses[request] { return true }
        return false
    }
}
