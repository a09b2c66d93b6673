/// Reads that wait for proof that their leader still led after they arrived (thesis 6.4).
///
/// Round (term, n) covers the reads received before n was sent. Appends and heartbeats carry the
/// newest n and their answers echo it; once a quorum of voters echoed n or more, no other leader
/// can have committed anything before those reads arrived. Numbers start anew in each term,
/// and answers of another term are dropped before they get here.
struct ReadRounds: Equatable, Sendable {
    struct Read: Equatable, Sendable {
        var context: UInt64
        /// The member that asked; this one itself or a follower that forwarded.
        var origin: MemberID
        /// How many clients' reads it stands for.
        var calls: Int
        var index: LogIndex
        /// When it got here.
        var receivedAt: Microseconds
    }
    private struct Waiting: Equatable, Sendable {
        var round: UInt64
        var read: Read
    }

    /// The newest round sent.
    private(set) var current: UInt64 = 0
    /// Clients' reads that came since the last heartbeat.
    private(set) var callsSinceHeartbeat = 0
    /// Reads no round covers yet.
    private(set) var unsent: [Read] = []
    private var waiting: [Waiting] = []

    var count: Int { unsent.count + waiting.count }

    mutating func add(_ read: Read) {
        unsent.append(read)
        callsSinceHeartbeat += read.calls
    }

    /// Opens a round over all reads that have none; nil when there are none.
    mutating func begin() -> UInt64? {
        guard !unsent.isEmpty else { return nil }
        current += 1
        for read in unsent { waiting.append(Waiting(round: current, read: read)) }
        unsent.removeAll(keepingCapacity: true)
        return current
    }

    /// Opens a round without reads, so that the answers to a heartbeat can be told from others.
    mutating func beginHeartbeat() {
        current += 1
        callsSinceHeartbeat = 0
    }

    /// Since when the oldest read waits that a round covers.
    var oldestSince: Microseconds? { waiting.first?.read.receivedAt }

    /// Takes out the reads whose round is confirmed.
    mutating func confirm(through round: UInt64) -> [Read] {
        let done = waiting.prefix { $0.round <= round }.map(\.read)
        waiting.removeFirst(done.count)
        return done
    }

    /// Takes out every read: leadership ended.
    mutating func removeAll() -> [Read] {
        let all = waiting.map(\.read) + unsent
        self = ReadRounds()
        return all
    }
}
