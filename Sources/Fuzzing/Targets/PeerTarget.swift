import DurableLog
import KVCore
import RaftCore
import Replica
import TestSupport

/// Frames from the other two members of a cluster. The first byte of an input chooses what the
/// member is; each part behind it is a frame behind its sender, or an event of the link or clock.
public struct PeerTarget: FuzzTarget {
    /// See `FuzzTarget`.
    public let name = "peers"
    /// See `FuzzTarget`.
    public let summary = """
        frames from other members, checksum and hello passed: a fault, a typed stop or an answer \
        that a member reads; terms and commits never go back, and the disk stays readable
        """

    /// A target for frames from peers.
    public init() {}

    /// What the member is when the frames come.
    private enum Scene: UInt8, CaseIterable {
        case fresh
        case follower
        case leader
        case candidate
    }

    static let membership = MembershipRecord(
        members: (1...3).map { .init(id: $0, peerURLs: ["http://n\($0)"], role: .voter) },
        removedIDs: [])

    /// See `FuzzTarget`.
    public func seeds() -> [[UInt8]] {
        let traffic = PeerTraffic.recorded
        return Scene.allCases.flatMap { scene in
            [
                [scene.rawValue] + Parts.join(traffic.prefix(6)),
                [scene.rawValue] + Parts.join(traffic.dropFirst(6).prefix(14)),
                [scene.rawValue] + Parts.join(traffic.suffix(12)),
            ]
        } + PeerTraffic.rare.map { [Scene.leader.rawValue] + Parts.join([$0]) }
    }

    /// See `FuzzTarget`.
    public func mutate(_ input: [UInt8], _ mutator: inout Mutator) -> [UInt8] {
        var scene = input.first ?? 0
        if mutator.once(in: 6) { scene = UInt8(mutator.below(Scene.allCases.count)) }
        var frames = Parts.split(input.dropFirst())
        let donor = mutator.other()
        mutator.rearrange(&frames, from: Parts.split(donor.dropFirst())) { frame, mutator in
            Self.change(&frame, &mutator)
        }
        return [scene] + Parts.join(frames.prefix(40)).prefixArray(30_000)
    }

    private static func change(_ frame: inout [UInt8], _ mutator: inout Mutator) {
        switch mutator.below(8) {
        case 0 where !frame.isEmpty: frame[0] = UInt8(mutator.below(8))
        case 1, 2,
            3 where frame.count >= 10:
            // A field of eight bytes, mostly with a number that is near enough to matter.
            let places = [2, 10, 18, 26, 34, 42].filter { $0 + 8 <= frame.count }
            guard !places.isEmpty else { break }
            let place = places[mutator.below(places.count)]
            var number: [UInt8] = []
            number.put(mutator.once(in: 3) ? mutator.number() : UInt64(mutator.below(12)))
            frame.replaceSubrange(place..<(place + 8), with: number)
        case 4 where frame.count > 70:
            var entry = Array(frame.dropFirst(66))
            EntryTarget.change(&entry, &mutator)
            frame = frame.prefixArray(62)
            frame.put(UInt32(entry.count))
            frame += entry
        default: frame = mutator.damage(frame)
        }
    }

    /// See `FuzzTarget`.
    public func run(_ input: [UInt8]) throws(PropertyBreach) -> Behaviour {
        guard let first = input.first,
            let scene = Scene(rawValue: first % UInt8(Scene.allCases.count))
        else { return Behaviour(isAccepted: false) }
        var trace = BehaviourTrace()
        trace.note("\(scene)")
        var driver = try Self.member(scene)
        var watch = MemberWatch(driver.status)
        for part in Parts.split(input.dropFirst()) where !part.isEmpty {
            let frame = Array(part.dropFirst())
            let peer: MemberID = part[0] & 1 == 0 ? 2 : 3
            switch part[0] % 8 {
            case 0...4:
                try Self.checkCodec(frame, from: peer)
                driver.handle(.peerFrame(peer, frame))
            case 5: driver.fireTimer()
            case 6: driver.handle(.peerConnected(peer))
            default: driver.handle(.peerProcessGone(peer))
            }
            // At the end of all numbers a member can't count on.
            guard driver.status.term < 1 << 62 else { return Behaviour(isAccepted: false, trace) }
            guard driver.failure == nil else { break }
            try watch.take(driver.status)
            for (to, frame) in driver.takeSent() { try Self.checkSent(frame, to: to, &trace) }
        }
        for fault in driver.faults { trace.note(fault.reason.filter { !$0.isNumber }) }
        if let failure = driver.failure { trace.note(try Self.kind(failure)) }
        try Self.checkDisk(driver.disk, watch.last)
        return Behaviour(isAccepted: driver.faults.isEmpty && driver.failure == nil, trace)
    }

    /// A frame that can be read is written back as it was.
    static func checkCodec(
        _ frame: [UInt8], from peer: MemberID,
        encode: (PeerMessage) -> [UInt8] = PeerCodec.encode
    ) throws(PropertyBreach) {
        guard let message = try? PeerCodec.decode(frame, from: peer, to: 1) else { return }
        let written = encode(message)
        guard let again = try? PeerCodec.decode(written, from: peer, to: 1) else {
            throw PropertyBreach("a frame that was written can be read")
        }
        try require(again == message, "a frame that was written reads back the same")
    }

    static func checkSent(
        _ frame: [UInt8], to: MemberID, _ trace: inout BehaviourTrace
    ) throws(PropertyBreach) {
        do throws(PeerFault) {
            switch try PeerCodec.decode(frame, from: 1, to: to) {
            case .raft(let message, _):
                trace.note("sends " + String("\(message.body)".prefix { $0 != "(" }))
            case .forward: trace.note("sends forward")
            case .forwardRefused: trace.note("sends forwardRefused")
            case .leaseCall: trace.note("sends leaseCall")
            case .leaseAnswer: trace.note("sends leaseAnswer")
            }
        } catch {
            throw PropertyBreach("other members can read what is sent", seen: error.reason)
        }
    }

    static func kind(_ failure: ReplicaFailure) throws(PropertyBreach) -> String {
        switch failure {
        case .diverged: return "diverged"
        case .unreadableEntry: return "unreadable entry"
        case .log(let error): throw PropertyBreach("no frame damages the log", seen: "\(error)")
        }
    }

    /// Whatever was accepted from a peer, the member can be started again.
    static func checkDisk(
        _ disk: MemoryDisk, _ last: MemberStatus
    ) throws(PropertyBreach) {
        var disk = disk
        let recovered: RecoveredReplica
        do throws(LogError) {
            recovered = try RecoveredReplica.open(
                &disk, identity: LogImage.identity, limits: StoreLimits())
        } catch {
            throw PropertyBreach("the disk stays readable", seen: "\(error)")
        }
        let driver = ReplicaDriver(recovered, disk: disk, settings: ReplicaDriver.smallSettings)
        try require(
            driver.status.term >= last.term && driver.status.lastIndex >= last.commitIndex,
            "terms and committed entries are on disk",
            "term \(driver.status.term) of \(last.term)")
    }

    // MARK: The member

    static func member(_ scene: UInt8) throws(PropertyBreach) -> ReplicaDriver {
        try member(Scene(rawValue: scene % UInt8(Scene.allCases.count)) ?? .fresh)
    }

    private static func member(_ scene: Scene) throws(PropertyBreach) -> ReplicaDriver {
        var disk = MemoryDisk()
        try? RecoveredReplica.initialize(
            &disk, identity: LogImage.identity, membership: membership, settings: LogImage.settings)
        guard
            let recovered = try? RecoveredReplica.open(
                &disk, identity: LogImage.identity, limits: StoreLimits())
        else { throw PropertyBreach("a fresh directory can be opened") }
        var driver = ReplicaDriver(recovered, disk: disk, settings: ReplicaDriver.smallSettings)
        driver.handle(.start)
        driver.handle(.peerConnected(2))
        driver.handle(.peerConnected(3))
        switch scene {
        case .fresh: break
        case .follower: PeerTraffic.follow(&driver)
        case .leader: PeerTraffic.elect(&driver)
        case .candidate: driver.fireTimer()
        }
        _ = driver.takeSent()
        return driver
    }
}

/// What must never go back while a member runs.
struct MemberWatch {
    private(set) var last: MemberStatus

    init(_ status: MemberStatus) { last = status }

    mutating func take(_ status: MemberStatus) throws(PropertyBreach) {
        try require(status.term >= last.term, "a term never decreases")
        try require(status.commitIndex >= last.commitIndex, "a commit is never taken back")
        try require(status.appliedIndex >= last.appliedIndex, "nothing is unapplied")
        try require(
            status.appliedIndex <= status.commitIndex && status.commitIndex <= status.lastIndex,
            "what is applied is committed, what is committed is there",
            "\(status.appliedIndex), \(status.commitIndex), \(status.lastIndex)")
        last = status
    }
}

/// Frames that members really send one another.
enum PeerTraffic {
    /// Each behind a byte that names its sender.
    static let recorded: [[UInt8]] = {
        var frames: [[UInt8]] = []
        var leader = member(2)
        var follower = member(1)
        leader.handle(.start)
        follower.handle(.start)
        for (peer, other) in [(MemberID(1), MemberID(2)), (3, 3)] {
            leader.handle(.peerConnected(peer))
            follower.handle(.peerConnected(other))
        }
        leader.fireTimer()
        for round in 0..<30 {
            for (to, frame) in leader.takeSent() where to == 1 {
                frames.append([0] + frame)
                follower.handle(.peerFrame(2, frame))
            }
            for (to, frame) in follower.takeSent() where to == 2 {
                frames.append([2] + frame)
                leader.handle(.peerFrame(1, frame))
            }
            if round % 3 == 2 {
                leader.handle(.requests([call(round, .put)]))
                follower.handle(.requests([call(round + 100, round % 2 == 0 ? .put : .range)]))
            }
            if round % 8 == 7 { leader.fireTimer() }
        }
        return frames
    }()

    /// Messages that seldom come up.
    static let rare: [[UInt8]] = {
        let bodies: [Message.Body] = [
            .timeoutNow, .readIndexRequest(context: 5), .readIndexResponse(context: 5, index: 3),
            .voteRequest(.init(lastIndex: 9, lastTerm: 9, isTransfer: true)),
            .preVoteResponse(granted: false),
            .appendResponse(
                .init(
                    outcome: .rejected(previous: 1, hintIndex: 0, hintTerm: 0), round: 1,
                    wantsCommits: true)),
        ]
        return bodies.map { body in
            let message = Message(from: 2, to: 1, term: 2, body: body)
            return [0] + PeerCodec.encode(.raft(message, entryBytes: []))
        } + [[0] + PeerCodec.encode(.forwardRefused(sequences: [1, 2]))]
    }()

    private static func call(_ number: Int, _ kind: ClientRequest.Kind) -> ClientRequest {
        let body =
            kind == .put
            ? RequestSeeds.encoded(RequestSeeds.put("k\(number)", "v"))
            : RequestSeeds.encoded(RequestSeeds.sortedRange)
        return ClientRequest(id: UInt64(number), kind: kind, body: body)
    }

    private static func member(_ id: MemberID) -> ReplicaDriver {
        var disk = MemoryDisk()
        let identity = DirectoryIdentity(
            clusterID: 7, memberID: id, directoryID: LogImage.identity.directoryID)
        try? RecoveredReplica.initialize(
            &disk, identity: identity, membership: PeerTarget.membership,
            settings: LogImage.settings)
        guard
            let recovered = try? RecoveredReplica.open(
                &disk, identity: identity, limits: StoreLimits())
        else { preconditionFailure("a fresh directory can be opened") }
        return ReplicaDriver(recovered, disk: disk, settings: ReplicaDriver.smallSettings)
    }

    /// Makes member 1 a follower with entries.
    static func follow(_ driver: inout ReplicaDriver) {
        for frame in recorded where frame[0] == 0 {
            driver.handle(.peerFrame(2, Array(frame.dropFirst())))
        }
    }

    /// Makes member 1 a leader with entries of which some are committed.
    static func elect(_ driver: inout ReplicaDriver) {
        for _ in 0..<4 where !driver.status.isLeader {
            driver.fireTimer()
            let term = driver.status.term
            for (body, bodyTerm) in [
                (Message.Body.preVoteResponse(granted: true), term + 1),
                (.voteResponse(granted: true), term + 1),
            ] {
                let message = Message(from: 2, to: 1, term: bodyTerm, body: body)
                driver.handle(.peerFrame(2, PeerCodec.encode(.raft(message, entryBytes: []))))
            }
        }
        for number in 1...4 {
            driver.handle(.requests([call(number, .put)]))
            let matched = Message.AppendResponse(
                outcome: .matched(UInt64(number)), round: 0, wantsCommits: true)
            let message = Message(
                from: 2, to: 1, term: driver.status.term, body: .appendResponse(matched))
            driver.handle(.peerFrame(2, PeerCodec.encode(.raft(message, entryBytes: []))))
        }
    }
}
