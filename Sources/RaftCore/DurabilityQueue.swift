/// Which part of the log is on disk while writes are under way.
///
/// A race this exists for (asynchronous ABA): 1. entry 5 of term 2 is written under token 1;
/// 2. a leader of term 3 has it truncated and replaced under token 2; 3. a leader of term 4 brings
/// the term-2 entry back under token 3; 4. token 1 completes. The log in memory holds the very
/// entry that token 1 wrote, yet after a crash the disk may show term 3's. So a truncation lowers
/// what every write under way may claim, and no comparison of terms is needed.
struct DurabilityQueue: Equatable, Sendable {
    private struct Write: Equatable, Sendable {
        var token: UInt64
        var lastIndex: LogIndex
    }
    private var writes: [Write] = []
    private(set) var nextToken: UInt64 = 1
    /// Everything up to here is on disk and isn't about to be truncated.
    private(set) var durableIndex: LogIndex
    /// Everything up to here was handed to the disk.
    private(set) var handedIndex: LogIndex
    private(set) var completedToken: UInt64 = 0
    /// The write that carries the newest term and vote.
    private var hardStateToken: UInt64 = 0

    /// The token of the write that recovery itself makes.
    static let recoveryToken: UInt64 = 1

    /// A log that ends at `lastIndex`, of which the part behind `durableIndex`, and the newest term
    /// and vote, are being written once more.
    init(durableIndex: LogIndex, lastIndex: LogIndex) {
        self.durableIndex = durableIndex
        self.handedIndex = durableIndex
        let token = begin(lastIndex: lastIndex, carriesHardState: true)
        precondition(token == Self.recoveryToken, "recovery makes the first write")
    }

    var isIdle: Bool { writes.isEmpty }
    var isHardStateDurable: Bool { hardStateToken <= completedToken }

    /// Notes that the log now ends at `index`. True if the disk must be told.
    mutating func truncate(to index: LogIndex) -> Bool {
        for position in writes.indices {
            writes[position].lastIndex = min(writes[position].lastIndex, index)
        }
        durableIndex = min(durableIndex, index)
        guard index < handedIndex else { return false }
        handedIndex = index
        return true
    }

    /// Notes that a snapshot replaces the whole log.
    mutating func reset(to index: LogIndex) {
        for position in writes.indices { writes[position].lastIndex = 0 }
        durableIndex = 0
        handedIndex = index
    }

    /// Registers a write that takes the log up to `lastIndex` and returns its token.
    mutating func begin(lastIndex: LogIndex, carriesHardState: Bool) -> UInt64 {
        let token = nextToken
        nextToken += 1
        handedIndex = lastIndex
        if carriesHardState { hardStateToken = token }
        writes.append(Write(token: token, lastIndex: lastIndex))
        return token
    }

    /// Notes that a write and all before it completed.
    mutating func complete(token: UInt64) {
        precondition(token < nextToken, "a write completed that was never begun")
        guard token > completedToken else { return }
        completedToken = token
        let done = writes.prefix { $0.token <= token }
        for write in done { durableIndex = max(durableIndex, write.lastIndex) }
        writes.removeFirst(done.count)
    }
}
