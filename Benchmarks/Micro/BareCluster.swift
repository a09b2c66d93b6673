import DurableLog
import KVCore
import RaftCore
import Replica
import TestSupport

typealias ClientRequestKind = ClientRequest.Kind

/// Three production replicas in one thread, on links that lose nothing and disks that do nothing:
/// what is counted is the replicas' own.
final class BareCluster {
    private final class Member {
        var replica: Replica
        init(_ replica: consuming Replica) { self.replica = replica }
    }

    private var members: [Member] = []
    private var inbox: [(member: Int, event: ReplicaEvent)] = []
    private var effects: [ReplicaEffect] = []
    private var now: Microseconds = 1_000
    private var nextRequest: RequestID = 1
    private var answered = 0
    private var leader: MemberID?
    private var failure: String?

    private static let size = 3

    init() throws {
        let record = MembershipRecord(
            members: (1...Self.size).map {
                .init(id: MemberID($0), peerURLs: ["http://n\($0)"], role: .voter)
            }, removedIDs: [])
        var settings = ReplicaSettings()
        // Snapshots are work of their own, not of a put.
        settings.snapshotEntries = .max
        for id in 1...Self.size {
            var disk = MemoryDisk()
            let identity = DirectoryIdentity(
                clusterID: 1, memberID: MemberID(id),
                directoryID: DirectoryID(high: 1, low: UInt64(id)))
            try RecoveredReplica.initialize(
                &disk, identity: identity, membership: record, settings: settings.log)
            let recovered = try RecoveredReplica.open(
                &disk, identity: identity, limits: settings.store)
            members.append(
                Member(
                    Replica(
                        recovered: recovered, settings: settings,
                        attributes: MemberAttributes(
                            id: MemberID(id), name: "n\(id)", clientURLs: [],
                            directoryID: Array(repeating: UInt8(id), count: 16)),
                        boot: UInt64(id), seed: UInt64(id), now: now)))
        }
        for member in members.indices {
            inbox.append((member, .start))
            for peer in members.indices where peer != member {
                inbox.append((member, .peerConnected(MemberID(peer + 1))))
            }
        }
        try settle()
        while leader == nil { try passTime() }
        // Until every member has announced itself.
        for _ in 0..<100 { try passTime() }
    }

    /// Makes the same call a number of times, all in one batch, and waits for the answers.
    func call(_ kind: ClientRequestKind, _ body: [UInt8], times: Int) throws {
        guard let leader else { throw Failure(reason: "there is no leader") }
        var batch: [ClientRequest] = []
        batch.reserveCapacity(times)
        for _ in 0..<times {
            batch.append(ClientRequest(id: nextRequest, kind: kind, body: body))
            nextRequest += 1
        }
        answered = 0
        inbox.append((Int(leader) - 1, .requests(batch)))
        try settle()
        guard answered == times else {
            throw Failure(reason: "\(answered) of \(times) calls were answered")
        }
    }

    struct Failure: Error { let reason: String }

    private func passTime() throws {
        now = members.map { $0.replica.nextDeadline }.reduce(.max, min)
        for member in members.indices where members[member].replica.nextDeadline <= now {
            inbox.append((member, .timer))
        }
        try settle()
    }

    private func settle() throws {
        var next = 0
        while next < inbox.count {
            let (member, event) = inbox[next]
            next += 1
            members[member].replica.handle(event, now: now, into: &effects)
            for effect in effects { carryOut(effect, of: member) }
            effects.removeAll(keepingCapacity: true)
        }
        inbox.removeAll(keepingCapacity: true)
        if let failure { throw Failure(reason: failure) }
    }

    private func carryOut(_ effect: ReplicaEffect, of member: Int) {
        switch effect {
        case .respond(let answers): answered += answers.count
        case .fail(_, let reason): failure = "\(reason)"
        case .sendPeer(let peer, let frame):
            inbox.append((Int(peer) - 1, .peerFrame(MemberID(member + 1), frame)))
        case .disk(let operation):
            let completion = DiskCompletion(operation: operation.id, result: .success([]))
            inbox.append((member, .diskCompleted(completion)))
        case .leaderChanged(let id, _): leader = id ?? leader
        default: break
        }
    }
}
