/// What a leader knows of one peer's log.
struct Progress: Equatable, Sendable {
    enum Mode: Equatable, Sendable {
        /// Where the logs agree is unknown: one message at a time.
        case probe(awaitingAnswer: Bool)
        /// Known to agree up to `match`; appends are pipelined.
        case replicate
        /// Entry bytes are being read back from disk.
        case reading(ClosedRange<LogIndex>)
        /// A snapshot that ends here is on its way.
        case snapshot(LogIndex)
    }

    var mode: Mode = .probe(awaitingAnswer: false)
    /// The peer's durable log agrees with ours up to here. Never decreases within a term.
    private(set) var match: LogIndex = 0
    /// First entry not yet sent.
    var next: LogIndex
    var inflight = InflightWindow()
    /// When the peer last answered in this term.
    var lastContact: Microseconds
    /// The newest read round it echoed.
    var acknowledgedRound: UInt64 = 0
    /// The commit index last told to it.
    var sentCommit: LogIndex = 0
    /// Whether somebody at the peer waits for commits.
    var wantsCommits = false
    var isConnected = true

    init(next: LogIndex, now: Microseconds) {
        self.next = next
        self.lastContact = now
    }

    /// Notes that the peer holds everything up to `index`. False if that was known already.
    mutating func advanceMatch(to index: LogIndex) -> Bool {
        inflight.acknowledge(through: index)
        next = max(next, index + 1)
        guard index > match else { return false }
        match = index
        return true
    }

    /// Asks where the logs agree, from what is known of the peer. Of one that hasn't answered in this
    /// term nothing is: asking goes on where it was. From the start of the log it would bring the peer
    /// all that it has already, or a snapshot.
    mutating func becomeProbe() {
        if case .snapshot(let pending) = mode {
            next = max(match, pending) + 1
        } else if match > 0 {
            next = match + 1
        }
        mode = .probe(awaitingAnswer: false)
        inflight.removeAll()
    }

    mutating func becomeReplicate() {
        mode = .replicate
        next = match + 1
        inflight.removeAll()
    }

    mutating func becomeSnapshot(_ index: LogIndex) {
        mode = .snapshot(index)
        inflight.removeAll()
    }
}

/// The appends a peer hasn't acknowledged, bounded in number and bytes.
struct InflightWindow: Equatable, Sendable {
    private struct Item: Equatable, Sendable {
        var lastIndex: LogIndex
        var byteCount: Int
    }
    private var items: [Item] = []
    private var head = 0
    private(set) var byteCount = 0

    var count: Int { items.count - head }
    var isEmpty: Bool { count == 0 }

    func isFull(_ settings: RaftSettings) -> Bool {
        count >= settings.maxInflightMessages || byteCount >= settings.maxInflightBytes
    }

    mutating func add(lastIndex: LogIndex, byteCount bytes: Int) {
        items.append(Item(lastIndex: lastIndex, byteCount: bytes))
        byteCount += bytes
    }

    mutating func acknowledge(through index: LogIndex) {
        while head < items.count, items[head].lastIndex <= index {
            byteCount -= items[head].byteCount
            head += 1
        }
        if head == items.count {
            items.removeAll(keepingCapacity: true)
            head = 0
        } else if head > 512 {
            items.removeFirst(head)
            head = 0
        }
    }

    mutating func removeAll() {
        items.removeAll(keepingCapacity: true)
        head = 0
        byteCount = 0
    }
}
