import RaftCore

/// The bytes of the newest entries, in memory.
///
/// Entries that aren't applied yet always stay; applied ones stay, for followers that are a little
/// behind, up to a bound.
struct EntryTail {
    private var entries: [[UInt8]] = []
    private var head = 0
    private(set) var firstIndex: LogIndex
    private var byteCount = 0

    /// Bytes of applied entries that are kept at most.
    private let maxAppliedBytes: Int

    init(firstIndex: LogIndex, maxAppliedBytes: Int) {
        self.firstIndex = firstIndex
        self.maxAppliedBytes = maxAppliedBytes
    }

    var lastIndex: LogIndex { firstIndex + LogIndex(entries.count - head) - 1 }

    subscript(index: LogIndex) -> [UInt8]? {
        guard index >= firstIndex, index <= lastIndex else { return nil }
        return entries[head + Int(index - firstIndex)]
    }

    mutating func append(_ bytes: [UInt8], at index: LogIndex) {
        precondition(index == lastIndex + 1, "the tail has no gaps")
        entries.append(bytes)
        byteCount += bytes.count
    }

    mutating func truncate(to index: LogIndex) {
        while lastIndex > index, entries.count > head {
            byteCount -= entries.removeLast().count
        }
        if lastIndex > index { reset(firstIndex: index + 1) }
    }

    mutating func reset(firstIndex index: LogIndex) {
        self = EntryTail(firstIndex: index, maxAppliedBytes: maxAppliedBytes)
    }

    /// Lets applied entries go beyond the bound.
    mutating func trim(applied: LogIndex) {
        while byteCount > maxAppliedBytes, firstIndex <= applied, head < entries.count {
            byteCount -= entries[head].count
            entries[head] = []
            head += 1
            firstIndex += 1
        }
        if head > 1_024, head > entries.count / 2 {
            entries.removeFirst(head)
            head = 0
        }
    }
}
