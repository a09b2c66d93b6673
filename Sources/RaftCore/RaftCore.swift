//  RaftCore: consensus as a value.
//
//  `Raft` is the Raft algorithm of Ongaro's thesis ("Consensus: Bridging Theory and Practice",
//  2014) as a state machine without I/O: no clock, no randomness but a seeded stream, no threads.
//  Events go in through `step`, `propose` and `read`; `flush` hands out what they led to. A shell
//  (`Replica`, then a server or a simulator) carries the effects out and reports back.
//
//  What it promises
//  - Election safety, log matching, leader completeness (thesis 3.4–3.6), also across membership
//    changes of one server at a time (chapter 4).
//  - A message that must not be sent before something is on disk exists only inside the `Persist`
//    effect that puts it there. The leader's own log write is not awaited before it sends: its disk
//    is one more match index (thesis 10.2.1).
//  - Entries form a hash chain; a follower whose chain differs from its leader's at the same
//    (index, term) is told so instead of silently carrying a different history.
//
//  What it doesn't do
//  - It never sees entry bytes, only their size and digest. `Replica` owns the bytes.
//  - Reads are never served from a leader lease: fast failover by evidence (see
//    `Raft+Election.swift`) would make leases unsafe. They use numbered ReadIndex rounds.
//  - Joint consensus is not implemented; one server changes at a time.
//
//  Time is a count of microseconds on the member's monotonic clock; only differences matter.

/// A member's identity: unique in the cluster's whole history, never reused, never zero.
public typealias MemberID = UInt64
/// A Raft term (thesis 3.3). Zero is before the first election.
public typealias Term = UInt64
/// A position in the replicated log. The first entry has index 1.
public typealias LogIndex = UInt64
/// A point or span on the member's monotonic clock, in microseconds.
public typealias Microseconds = UInt64

/// What distinguishes one prefix of the log from every other.
public struct LogPosition: Equatable, Hashable, Sendable {
    /// Index of the last entry of the prefix.
    public var index: LogIndex
    /// Term of that entry.
    public var term: Term
    /// Hash over every entry up to it: h(previous chain, index, term, digest of the bytes).
    public var chain: UInt64

    /// Creates a position.
    public init(index: LogIndex, term: Term, chain: UInt64) {
        self.index = index
        self.term = term
        self.chain = chain
    }

    /// The position before the first entry.
    public static let zero = LogPosition(index: 0, term: 0, chain: 0)
}

/// The part of a member's state that must survive a crash besides its log (thesis 3.8).
public struct HardState: Equatable, Sendable {
    /// The latest term the member has seen.
    public var term: Term
    /// Whom it voted for in that term.
    public var vote: MemberID?

    /// Creates a hard state.
    public init(term: Term, vote: MemberID?) {
        self.term = term
        self.vote = vote
    }
}

/// A prefix of the log that a snapshot replaces, with the configuration in force at its end.
public struct SnapshotMark: Equatable, Sendable {
    /// Where the prefix ends.
    public var position: LogPosition
    /// The cluster's configuration at that point (thesis 5.1: it is part of the snapshot).
    public var configuration: Configuration

    /// Creates a mark.
    public init(position: LogPosition, configuration: Configuration) {
        self.position = position
        self.configuration = configuration
    }
}

/// How a member behaves in time and how much it keeps in flight.
public struct RaftSettings: Equatable, Sendable {
    /// How often a leader makes itself heard.
    public var heartbeatIntervalMicroseconds: Microseconds = 100_000
    /// How long a follower waits for its leader; the actual wait is drawn from [1, 2) times this.
    public var electionTimeoutMicroseconds: Microseconds = 1_000_000
    /// Append messages that may be unacknowledged towards one peer. Few: what comes meanwhile
    /// gathers, and one message for many entries costs everybody less than one for each (64
    /// connections with a put each: 87 µs of CPU a put with 256, 73 with 4). Not one: towards a distant
    /// peer an entry would wait for a whole round trip before it leaves.
    public var maxInflightMessages = 4
    /// Entry bytes that may be unacknowledged towards one peer.
    public var maxInflightBytes = 8 << 20
    /// Entry bytes in one append message; a single larger entry still travels alone.
    public var maxMessageBytes = 512 << 10
    /// Entries in one append message.
    public var maxMessageEntries = 4_096
    /// Proposed but uncommitted entry bytes beyond which a leader refuses proposals.
    public var maxUncommittedBytes = 64 << 20
    /// Read batches that may wait for a round; more are refused.
    public var maxPendingReads = 4_096
    /// Reads in a second from which on only as many voters are asked as complete a quorum.
    public var manyReadsPerSecond = 8_000
    /// How long reads wait for these before everyone is asked.
    public var readPatienceMicroseconds: Microseconds = 10_000
    /// Size of the bytes of a no-op entry, which the leader appends without being asked.
    public var noOpByteCount: UInt32 = 0
    /// Digest of those bytes.
    public var noOpDigest: UInt64 = 0

    /// The defaults, which are etcd's where etcd has them.
    public init() {}
}
