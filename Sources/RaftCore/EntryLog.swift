/// What consensus knows about an entry: everything but its bytes.
public struct EntryMetadata: Equatable, Sendable {
    /// Term in which a leader created the entry.
    public var term: Term
    /// Digest of its bytes.
    public var digest: UInt64
    /// Number of its bytes.
    public var byteCount: UInt32

    /// Creates the metadata of an entry.
    public init(term: Term, digest: UInt64, byteCount: UInt32) {
        self.term = term
        self.digest = digest
        self.byteCount = byteCount
    }
}

/// Extends the hash chain by one entry.
///
/// Multiply-and-fold over 64 bits: made to notice divergence, not to withstand an adversary.
public func chainHash(_ previous: UInt64, index: LogIndex, entry: EntryMetadata) -> UInt64 {
    func fold(_ a: UInt64, _ b: UInt64) -> UInt64 {
        let product = (a ^ 0x9E37_79B9_7F4A_7C15).multipliedFullWidth(by: b ^ 0xD6E8_FEB8_6659_FD93)
        return product.high ^ product.low
    }
    let place = fold(index &+ 0x2545_F491_4F6C_DD1D, entry.term &+ UInt64(entry.byteCount) << 32)
    return fold(fold(previous, place), entry.digest)
}

/// The metadata of the log behind its base, with the hash chain and the configurations in it.
struct EntryLog: Equatable, Sendable {
    private struct Slot: Equatable, Sendable {
        var entry: EntryMetadata
        var chain: UInt64
    }

    /// The last entry that is no longer here.
    private(set) var base: LogPosition
    private var slots: [Slot] = []
    /// Ascending by index; the first is the one in force at the base.
    private(set) var configurations: [ConfigurationEntry]

    init(base: LogPosition, configuration: Configuration) {
        self.base = base
        self.configurations = [ConfigurationEntry(index: base.index, configuration: configuration)]
    }

    var firstIndex: LogIndex { base.index + 1 }
    var lastIndex: LogIndex { base.index + LogIndex(slots.count) }
    var lastTerm: Term { slots.last?.entry.term ?? base.term }
    var lastPosition: LogPosition { position(at: lastIndex)! }
    var configuration: Configuration { configurations.last!.configuration }
    var configurationIndex: LogIndex { configurations.last!.index }

    /// The configuration in force at an index at or behind the base.
    func configuration(at index: LogIndex) -> Configuration {
        (configurations.last { $0.index <= index } ?? configurations[0]).configuration
    }

    func term(at index: LogIndex) -> Term? { position(at: index)?.term }

    func position(at index: LogIndex) -> LogPosition? {
        if index == base.index { return base }
        guard index > base.index, index <= lastIndex else { return nil }
        let slot = slots[Int(index - firstIndex)]
        return LogPosition(index: index, term: slot.entry.term, chain: slot.chain)
    }

    func entry(at index: LogIndex) -> EntryMetadata { slots[Int(index - firstIndex)].entry }

    func byteCount(at index: LogIndex) -> Int {
        Int(slots[Int(index - firstIndex)].entry.byteCount)
    }

    func entries(_ range: ClosedRange<LogIndex>) -> [EntryMetadata] {
        slots[Int(range.lowerBound - firstIndex)...Int(range.upperBound - firstIndex)].map(\.entry)
    }

    func configurations(in range: ClosedRange<LogIndex>) -> [ConfigurationEntry] {
        guard configurationIndex >= range.lowerBound else { return [] }
        return configurations.filter { range.contains($0.index) }
    }

    mutating func append(_ entry: EntryMetadata, configuration: Configuration? = nil) {
        let previous = slots.last
        precondition(entry.term >= (previous?.entry.term ?? base.term), "terms only grow in a log")
        let index = lastIndex + 1
        let chain = chainHash(previous?.chain ?? base.chain, index: index, entry: entry)
        slots.append(Slot(entry: entry, chain: chain))
        if let configuration {
            configurations.append(
                ConfigurationEntry(index: index, configuration: configuration))
        }
    }

    /// Drops every entry behind `index`, and with it the configurations they brought.
    mutating func truncate(to index: LogIndex) {
        precondition(index >= base.index && index <= lastIndex, "truncation outside the log")
        slots.removeLast(Int(lastIndex - index))
        while configurations.count > 1, configurationIndex > index { configurations.removeLast() }
    }

    /// Forgets the entries up to and including `index`.
    mutating func compact(through index: LogIndex) {
        guard index > base.index else { return }
        let newBase = position(at: index)!
        let inForce = configurations.last { $0.index <= index }!
        configurations.removeAll { $0.index <= index }
        configurations.insert(inForce, at: 0)
        slots.removeFirst(Int(index - base.index))
        base = newBase
    }

    /// The largest index at or before `index` whose term is at most `term`: where a leader and a
    /// follower that differ may still agree (thesis 5.3's conflict optimisation).
    func lastIndex(notAfter index: LogIndex, termAtMost term: Term) -> LogIndex {
        var candidate = min(index, lastIndex)
        while candidate > base.index, self.term(at: candidate)! > term { candidate -= 1 }
        return candidate
    }

    /// Whether a log that ends at (`lastIndex`, `lastTerm`) holds all this one could have
    /// committed (thesis 3.6.1). Terms come first.
    func isCovered(byLastIndex otherIndex: LogIndex, lastTerm otherTerm: Term) -> Bool {
        otherTerm > lastTerm || (otherTerm == lastTerm && otherIndex >= lastIndex)
    }
}
