import DurableLog
import EtcdWire
import KVCore
import RaftCore

/// A client's unary call.
public struct ClientRequest: Sendable {
    /// The calls that reach the replica.
    public enum Kind: Sendable {
        /// KV.Range.
        case range
        /// KV.Put.
        case put
        /// KV.DeleteRange.
        case deleteRange
        /// KV.Txn.
        case txn
        /// KV.Compact.
        case compact
        /// Lease.LeaseGrant.
        case leaseGrant
        /// Lease.LeaseRevoke.
        case leaseRevoke
        /// One message of Lease.LeaseKeepAlive.
        case leaseKeepAlive
        /// Lease.LeaseTimeToLive.
        case leaseTimeToLive
        /// Lease.LeaseLeases.
        case leaseLeases
        /// Cluster.MemberList.
        case memberList
        /// Maintenance.HashKV.
        case hashKV
        /// Replaces the membership: the body is a `MembershipRecord` that differs from the present
        /// one by one voter at most. Only the leader takes it; the answer is an empty message.
        case changeMembership
        /// Waits until the member has applied all that was committed when the call came; the
        /// answer is an empty message. For health checks.
        case barrier
    }
    /// Names the call in the answer.
    public var id: RequestID
    /// Which call.
    public var kind: Kind
    /// The request message.
    public var body: [UInt8]
    /// How long the client waits for the answer, counted from the event; nil if it didn't say.
    public var timeoutMicroseconds: Microseconds?

    /// Creates a request.
    public init(
        id: RequestID, kind: Kind, body: [UInt8], timeoutMicroseconds: Microseconds? = nil
    ) {
        self.id = id
        self.kind = kind
        self.body = body
        self.timeoutMicroseconds = timeoutMicroseconds
    }
}

/// Why a call failed.
public struct RequestFailure: Error, Equatable, Sendable {
    /// Code and text as etcd has them.
    public var error: EtcdError
    /// What an operator wants to know beyond that; empty when the text says it all.
    public var detail: String

    /// Creates a failure.
    public init(_ error: EtcdError, detail: String = "") {
        self.error = error
        self.detail = detail
    }
}

/// What the shell tells a replica.
public enum ReplicaEvent: Sendable {
    /// The shell is ready to carry out effects.
    case start
    /// `nextDeadline` has come.
    case timer
    /// Clients called; all requests that were complete at once make one batch.
    case requests([ClientRequest])
    /// A client no longer waits for the answer.
    case cancelled(RequestID)
    /// A message on a watch stream.
    case watch(WatchStreamID, [UInt8])
    /// The stream's client is slow: hold its events back.
    case watchPaused(WatchStreamID)
    /// The stream's client has caught up with what was sent.
    case watchResumed(WatchStreamID)
    /// The stream ended.
    case watchClosed(WatchStreamID)
    /// A frame arrived on the main link to a peer.
    case peerFrame(MemberID, [UInt8])
    /// The main link to a peer is up.
    case peerConnected(MemberID)
    /// The main link to a peer broke.
    case peerDisconnected(MemberID)
    /// The main link broke and a reconnect was refused at once: the process is gone.
    case peerProcessGone(MemberID)
    /// A disk operation ended.
    case diskCompleted(DiskCompletion)
    /// A snapshot of this member's state was written, or could not be.
    case snapshotWritten(SnapshotOutcome)
    /// A snapshot was streamed to a peer, or could not be.
    case snapshotSent(to: MemberID, succeeded: Bool)
    /// A snapshot was received from a leader of this term; its file is durable under its name.
    case snapshotReceived(LoadedSnapshot, from: MemberID, term: Term)
    /// Hand leadership to this member, or to the best one.
    case transferLeadership(to: MemberID?)
}

/// The response message to a call.
public struct Answer: Sendable {
    /// The call.
    public let request: RequestID
    /// The message.
    public let message: [UInt8]
}

/// What a replica wants done. The rare ones with much in them are indirect: there is an array of
/// effects for every turn, and each place in it is as large as the largest.
public enum ReplicaEffect: Sendable {
    /// Answer calls. Those that one event answers come together, behind its other effects.
    case respond([Answer])
    /// Answer a call with a range that is too large to be read at once: read it in steps, from this
    /// view and later ones (`view()`), on any thread.
    indirect case readRange(RequestID, LargeRange, StoreView)
    /// Answer a call with an error.
    case fail(RequestID, RequestFailure)
    /// Send a frame over the main link; drop it if the link is down.
    case sendPeer(to: MemberID, frame: [UInt8])
    /// The peer sent what no member sends: close the link.
    case peerFault(MemberID, PeerFault)
    /// Carry out disk calls and report `diskCompleted`.
    case disk(DiskOperation)
    /// Send a message on a watch stream.
    case watchResponse(WatchStreamID, message: [UInt8])
    /// The watch stream's client broke the protocol: end the stream.
    case watchFailed(WatchStreamID, EtcdError)
    /// Write a snapshot in the background and report `snapshotWritten`.
    indirect case writeSnapshot(SnapshotJob)
    /// Stream a snapshot file to a peer and report `snapshotSent`.
    case sendSnapshot(to: MemberID, file: String, term: Term)
    /// Another member leads, or none is known to.
    case leaderChanged(leader: MemberID?, term: Term)
    /// The members, or what they say of themselves, changed.
    case membersChanged
    /// The member can't go on.
    case stop(ReplicaFailure)
}

/// Why a member can't go on.
public enum ReplicaFailure: Error, Equatable, Sendable, CustomStringConvertible {
    /// The log failed or is damaged.
    case log(LogError)
    /// The leader's log tells another history.
    case diverged(index: LogIndex, leader: MemberID)
    /// A committed entry can't be understood.
    case unreadableEntry(index: LogIndex, reason: String)

    /// The cause and the remedy.
    public var description: String {
        switch self {
        case .log(let error): error.description
        case .diverged(let index, let leader):
            """
            entry \(index) differs from the one that leader \(String(leader, radix: 16)) has under \
            the same term; remove this member from the cluster and add it again with an empty \
            data directory
            """
        case .unreadableEntry(let index, let reason):
            """
            entry \(index) can't be applied: \(reason); start a version that knows it, the same \
            that its leader runs
            """
        }
    }
}

/// What a member says about itself.
public struct MemberStatus: Sendable {
    /// The cluster.
    public var clusterID: UInt64
    /// The member.
    public var id: MemberID
    /// The leader it follows, itself included.
    public var leader: MemberID?
    /// Its term.
    public var term: Term
    /// Whether it leads.
    public var isLeader: Bool
    /// Whether it leads and is handing leadership over.
    public var isTransferring: Bool
    /// Whether it has no vote.
    public var isLearner: Bool
    /// Its last log entry.
    public var lastIndex: LogIndex
    /// What it knows to be committed.
    public var commitIndex: LogIndex
    /// What it has applied.
    public var appliedIndex: LogIndex
    /// The revision of its map.
    public var revision: Int64
    /// Logical size of its map.
    public var logicalBytes: UInt64
    /// Logical size at which writes are refused.
    public var quotaBytes: UInt64
    /// Rolling hash over everything applied.
    public var stateHash: UInt64
    /// The members it knows.
    public var members: [ClusterMember]

    /// The header of an answer that is made from this.
    public var responseHeader: ResponseHeader {
        ResponseHeader(clusterID: clusterID, memberID: id, revision: revision, raftTerm: term)
    }
}
