import DurableLog
import EtcdWire
import KVCore
import RaftCore
import Replica
import TestSupport

/// Runs one production replica: its disk works at once, its frames are collected.
struct ReplicaDriver: ~Copyable {
    private var replica: Replica
    private(set) var disk: MemoryDisk
    private(set) var now: Microseconds
    private(set) var failure: ReplicaFailure?
    private(set) var answers: [RequestID: [Result<[UInt8], RequestFailure>]] = [:]
    private(set) var watchMessages: [[UInt8]] = []
    private(set) var watchFailures = 0
    /// Frames sent since they were last taken.
    private(set) var sent: [(to: MemberID, frame: [UInt8])] = []
    private(set) var faults: [PeerFault] = []

    static let startMicroseconds: Microseconds = 1_000

    /// Small segments and snapshots, so that every path is taken.
    static var smallSettings: ReplicaSettings {
        var settings = ReplicaSettings()
        settings.log = LogImage.settings
        settings.raft.maxMessageBytes = 4 << 10
        settings.snapshotEntries = 40
        settings.retainedEntries = 10
        return settings
    }

    init(_ recovered: RecoveredReplica, disk: MemoryDisk, settings: ReplicaSettings) {
        self.disk = disk
        now = Self.startMicroseconds
        let id = recovered.identity.memberID
        replica = Replica(
            recovered: recovered, settings: settings,
            attributes: MemberAttributes(
                id: id, name: "n\(id)", clientURLs: ["http://c\(id)"],
                directoryID: [UInt8](repeating: UInt8(id), count: 16)),
            boot: 5, seed: id, now: now)
    }

    var status: MemberStatus { replica.status }

    mutating func handle(_ event: ReplicaEvent) {
        guard failure == nil else { return }
        var effects: [ReplicaEffect] = []
        replica.handle(event, now: now, into: &effects)
        carryOut(effects)
    }

    /// Lets time go on to the next deadline, if that is within an hour.
    mutating func fireTimer() {
        let next = max(now, replica.nextDeadline)
        guard next < now + 3_600_000_000 else { return }
        now = next
        handle(.timer)
    }

    mutating func takeSent() -> [(to: MemberID, frame: [UInt8])] {
        defer { sent = [] }
        return sent
    }

    /// The state as a snapshot's content.
    mutating func encodedState() -> SnapshotOutcome {
        replica.snapshotJob().run(on: &disk)
    }

    private mutating func carryOut(_ effects: [ReplicaEffect]) {
        for effect in effects {
            switch effect {
            case .respond(let answered):
                for answer in answered {
                    answers[answer.request, default: []].append(.success(answer.message))
                }
            case .readRange(let id, let range, let view):
                answers[id, default: []].append(read(range, on: view))
            case .fail(let id, let failure): answers[id, default: []].append(.failure(failure))
            case .sendPeer(let to, let frame): sent.append((to, frame))
            case .peerFault(_, let fault): faults.append(fault)
            case .disk(let operation): handle(.diskCompleted(operation.perform(on: &disk)))
            case .watchResponse(_, let message): watchMessages.append(message)
            case .watchFailed: watchFailures += 1
            case .writeSnapshot(let job): handle(.snapshotWritten(job.run(on: &disk)))
            case .sendSnapshot(let to, _, _): handle(.snapshotSent(to: to, succeeded: false))
            case .leaderChanged, .membersChanged: break
            case .stop(let reason): failure = failure ?? reason
            }
        }
    }
    private func read(_ range: LargeRange, on view: StoreView) -> Result<[UInt8], RequestFailure> {
        var readers = RangeReaders()
        readers.start(1, range, on: view)
        var message: [UInt8] = []
        do throws(EtcdError) {
            while let step = try readers.step(1, visits: 2, bytes: 64) {
                if case .bytes(let bytes, _) = step { message += bytes }
            }
            return .success(message)
        } catch {
            return .failure(RequestFailure(error))
        }
    }
}
