/// Every change since the last compaction, in the order it happened.
///
/// Append-only chunks of references: watches replay them, compaction trims from the front. A key's
/// own versions hang on the tree by `VersionStorage.previous`, so there is no array per key.
struct History {
    /// A change and what a compaction that covers it gives back.
    struct Change {
        let version: VersionStorage
        /// Logical bytes that all changes up to this one, since the store was made or restored,
        /// have superseded. Cumulative, so a compaction adjusts the quota without a walk.
        let reclaimedThrough: UInt64
    }

    /// A fixed number of consecutive changes.
    private final class Chunk {
        static let capacity = 1024
        // No access lasts longer than one statement here, so that none can overlap another; to check
        // that at run time took 80 instructions each.
        @exclusivity(unchecked) var changes: ContiguousArray<Change> = []

        init(reserving count: Int) {
            changes.reserveCapacity(count)
        }
    }

    private var chunks: [Chunk] = []
    /// The number of the first change still here; numbers never go back.
    private(set) var start = 0
    /// One more than the number of the newest change.
    private(set) var end = 0
    private var firstChunkNumber = 0

    /// Adds a change that supersedes `reclaiming` logical bytes.
    mutating func append(_ version: consuming VersionStorage, reclaiming: UInt64) {
        reclaimedInAll += reclaiming
        if end == firstChunkNumber + chunks.count * Chunk.capacity {
            chunks.append(Chunk(reserving: chunks.isEmpty ? 16 : Chunk.capacity))
        }
        chunks[chunks.count - 1].changes.append(
            Change(version: consume version, reclaimedThrough: reclaimedInAll))
        end += 1
    }

    /// `reclaimedThrough` of the newest change.
    private var reclaimedInAll: UInt64 = 0
    /// `reclaimedThrough` of the newest change trimmed away.
    private var dropped: UInt64 = 0

    /// The change with this number, which must be in `start..<end`.
    subscript(number: Int) -> Change {
        precondition(number >= start && number < end)
        let offset = number - firstChunkNumber
        return chunks[offset / Chunk.capacity].changes[offset % Chunk.capacity]
    }

    /// The number of the first change at or after `revision`.
    func firstNumber(atOrAfter revision: Int64) -> Int {
        var low = start
        var high = end
        while low < high {
            let middle = (low + high) / 2
            if self[middle].version.modRevision < revision {
                low = middle + 1
            } else {
                high = middle
            }
        }
        return low
    }

    /// Logical bytes superseded by changes up to and including `revision`.
    func reclaimed(through revision: Int64) -> UInt64 {
        let number = firstNumber(atOrAfter: revision + 1)
        return number > start ? self[number - 1].reclaimedThrough : dropped
    }

    /// Forgets the oldest change and returns its version.
    mutating func removeFirst() -> VersionStorage {
        let change = self[start]
        dropped = change.reclaimedThrough
        start += 1
        if start - firstChunkNumber == Chunk.capacity {
            // A memmove of references once per chunk.
            chunks.removeFirst()
            firstChunkNumber = start
        }
        return change.version
    }
}
