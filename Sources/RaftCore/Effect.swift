/// What the shell shall do. Effects of one flush are carried out in order; a `persist` may run
/// while later ones do.
public enum Effect: Equatable, Sendable {
    /// Put records on disk and report `persisted` with the token.
    case persist(Persist)
    /// Hand a message to the network. Loss, delay, repetition and reordering are tolerated.
    case send(Message)
    /// Every entry up to here is committed: apply them.
    case commit(through: LogIndex)
    /// A read batch may be answered once the member has applied this index.
    case readReady(context: UInt64, index: LogIndex)
    /// A read batch can't be answered now; ask again when a leader is known.
    case readFailed(context: UInt64)
    /// Bring back the bytes of these entries for an append to the peer, then report `logRead`.
    case readLog(for: MemberID, range: ClosedRange<LogIndex>)
    /// The peer is behind the log: stream the newest snapshot, then report `snapshotSent`.
    case sendSnapshot(to: MemberID)
    /// Replace the applied state by the snapshot that was just received.
    case restoreSnapshot(SnapshotMark)
    /// This member leads; its first entry is a no-op at this index.
    case becameLeader(term: Term, noOpIndex: LogIndex)
    /// Another member leads, or nobody is known to.
    case following(leader: MemberID?, term: Term)
    /// The leader's log holds another history under the same index and term: stop.
    case diverged(index: LogIndex, leader: MemberID)
    /// The member sent what none that keeps to the protocol sends; nothing came of it.
    case peerFault(MemberID, reason: String)
}

/// One atomic, ordered write to the member's log stream.
///
/// The records take effect in the order of the fields. Persists complete in the order of tokens.
public struct Persist: Equatable, Sendable {
    /// Names this write in the `persisted` event.
    public var token: UInt64
    /// Replaces the whole log by a snapshot that is already durable in its own file.
    public var reset: SnapshotMark?
    /// Drops the entries behind this index that earlier writes put there.
    public var truncation: LogIndex?
    /// Appends these entries.
    public var entries: ClosedRange<LogIndex>?
    /// Records term and vote.
    public var hardState: HardState?
    /// Messages that may leave only when all of the above is on disk.
    public var thenSend: [Message]

    /// Whether the write only waits for earlier ones.
    public var isBarrier: Bool {
        reset == nil && truncation == nil && entries == nil && hardState == nil
    }
}

/// What the shell tells a member.
public enum Event: Equatable, Sendable {
    /// Time has passed; due deadlines act.
    case timer
    /// A message arrived.
    case receive(Message)
    /// The write with this token, and every one before it, is on disk.
    case persisted(token: UInt64)
    /// The bytes asked for by `readLog` are at hand until the next flush.
    case logRead(for: MemberID, range: ClosedRange<LogIndex>)
    /// The link to a peer is up; what was in flight before is lost.
    case peerConnected(MemberID)
    /// The link to a peer is down.
    case peerDisconnected(MemberID)
    /// The leader's process is gone: its link broke and a reconnect was refused.
    case leaderProcessGone(leader: MemberID, term: Term)
    /// A streamed snapshot ended, well or badly.
    case snapshotSent(to: MemberID, succeeded: Bool)
    /// A snapshot from this leader is complete and durable in its own file.
    case snapshotReceived(SnapshotMark, from: MemberID, term: Term)
    /// A snapshot of the member's own state is durable.
    case snapshotWritten(SnapshotMark)
    /// Hand leadership to this voter, or to the best one (thesis 3.10).
    case transferLeadership(to: MemberID?)
    /// Whether somebody here waits for commits (a forwarded write, a watcher).
    case commitInterest(Bool)
}
