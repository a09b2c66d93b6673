/// A batch on disk and the entries of it that still count.
struct BatchLocation: Equatable, Sendable {
    var segment: UInt64
    var offset: Int
    var byteCount: Int
    var entries: ClosedRange<UInt64>
}

/// Which batch holds which entry, ascending by entry, and which segments are still needed.
///
/// The batches follow what was appended: a truncation or a reset drops what it makes void at once.
/// The segments follow what was written: until a truncation or a reset is on disk, a restart finds
/// what stood there before it, and needs all of it.
struct BatchIndex {
    private struct Segment {
        var number: UInt64
        /// The highest entry written to it, whether or not it was truncated later; 0 if a restart
        /// needs none of them.
        var highestEntry: UInt64
    }
    private var batches: [BatchLocation] = []
    private var segments: [Segment] = []

    /// A batch was written to a segment.
    ///
    /// - Parameter highestEntry: of the batch; 0 if it has none.
    mutating func noteWrite(segment number: UInt64, highestEntry: UInt64) {
        if let last = segments.last, last.number == number {
            segments[segments.count - 1].highestEntry = max(last.highestEntry, highestEntry)
        } else {
            segments.append(Segment(number: number, highestEntry: highestEntry))
        }
    }

    /// A reset was written: once it is on disk, nothing before it is needed.
    mutating func noteWrittenReset() {
        for position in segments.indices { segments[position].highestEntry = 0 }
    }

    mutating func add(_ location: BatchLocation) {
        truncate(to: location.entries.lowerBound - 1)
        batches.append(location)
    }

    mutating func truncate(to index: UInt64) {
        while let last = batches.last, last.entries.upperBound > index {
            if last.entries.lowerBound > index {
                batches.removeLast()
            } else {
                batches[batches.count - 1].entries = last.entries.lowerBound...index
            }
        }
    }

    mutating func removeAll() { batches.removeAll() }

    /// The batches that together hold a range, or nil if some of it is no longer there.
    func covering(_ range: ClosedRange<UInt64>) -> [BatchLocation]? {
        var low = 0
        var high = batches.count
        while low < high {
            let middle = (low + high) / 2
            if batches[middle].entries.upperBound < range.lowerBound {
                low = middle + 1
            } else {
                high = middle
            }
        }
        var found: [BatchLocation] = []
        var next = range.lowerBound
        while next <= range.upperBound {
            guard low < batches.count, batches[low].entries.contains(next) else { return nil }
            found.append(batches[low])
            next = batches[low].entries.upperBound + 1
            low += 1
        }
        return found
    }

    /// Forgets entries up to `index` and takes out the segments that hold nothing else.
    mutating func removeSegments(through index: UInt64, keeping current: UInt64) -> [UInt64] {
        batches.removeFirst(
            batches.firstIndex { $0.entries.upperBound > index } ?? batches.count)
        let kept =
            segments.firstIndex { $0.number >= current || $0.highestEntry > index }
            ?? segments.count
        let removable = segments[..<kept].map(\.number)
        segments.removeFirst(kept)
        return removable
    }
}
