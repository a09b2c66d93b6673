import DurableLog
import KVCore
import RaftCore

/// What a harness may look at. Nothing here changes a replica, and all but `stateBytes` is cheap
/// enough to be looked at after each event.
extension Replica {
    /// The member's term.
    package var term: Term { core.term }
    /// Whom it voted for in this term.
    package var vote: MemberID? { core.vote }
    /// Its role.
    package var role: Raft.Role { core.role }
    /// Whether it leads.
    package var isLeader: Bool { core.isLeader }
    /// The leader of its term, when known.
    package var leader: MemberID? { core.leader }
    /// Everything up to here is on its disk, as it believes.
    package var durableIndex: LogIndex { core.durableIndex }
    /// How far each peer's durable log agrees with this leader's.
    package var peerMatches: [(member: MemberID, match: LogIndex)] { core.peerMatches }
    /// What it knows to be committed.
    package var commitIndex: LogIndex { core.commitIndex }
    /// What it has applied.
    package var appliedIndex: LogIndex { store.appliedIndex }
    /// Its last log entry.
    package var lastIndex: LogIndex { core.lastIndex }
    /// What its newest snapshot covers.
    package var snapshotIndex: LogIndex { core.snapshot.position.index }
    /// The position of an entry, nil outside the log.
    package func position(at index: LogIndex) -> LogPosition? { core.position(at: index) }
    /// The configuration in force.
    package var configuration: Configuration { core.configuration }
    /// Index of the entry that brought it.
    package var configurationIndex: LogIndex { core.configurationIndex }
    /// Number of configurations in the log behind an index.
    package func configurations(behind index: LogIndex) -> Int {
        core.configurations(behind: index)
    }
    /// Rolling hash over everything applied.
    package var stateHash: UInt64 { store.stateHash }
    /// Revision of the map.
    package var revision: Int64 { store.revision }
    /// Members that were removed; their ids are never used again.
    package var removedMemberIDs: [MemberID] { store.removedMemberIDs }
    /// Whether the cluster knows this member's name and client URLs.
    package var hasAnnouncedItself: Bool {
        store.members.contains {
            $0.id == id && $0.name == attributes.name && $0.clientURLs == attributes.clientURLs
        }
    }
    /// Calls that wait here.
    package var waitingCalls: Int { writes.count + reads.count + leaseCalls.count }

    /// The whole map as a snapshot would hold it: equal on two members that applied the same.
    package mutating func stateBytes() -> [UInt8] {
        var encoder = SnapshotEncoder(store.takeView())
        var bytes: [UInt8] = []
        while let part = encoder.next(maxBytes: 1 << 20) { bytes += part }
        return bytes
    }
}

extension RecoveredReplica {
    /// Term and vote as read back.
    package var recordedVote: RecordedVote { log.vote }
    /// The log as read back: its base and the positions behind it.
    package var logPositions: [LogPosition] { Self.chainPositions(log, metadata) }
    /// What the log says is committed.
    package var recordedCommitIndex: LogIndex { log.commitIndex }
    /// The configuration that the member will go by.
    package var configuration: Configuration {
        let newest = log.entries.reversed().lazy.compactMap { entry in
            (try? PeerCodec.configuration(in: entry.bytes)) ?? nil
        }.first
        return newest ?? membership.configuration
    }
}
