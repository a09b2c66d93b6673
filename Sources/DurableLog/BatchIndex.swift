/// A batch on disk and the entries of it that still count.
struct BatchLocation: Equatable, Sendable {
    var segment: UInt64
    var offset: Int
    var byteCount: Int
    var entries: ClosedRange<UInt64>
}

/// Which batch holds which entry. Ascending by entry; a truncation drops what it makes void.
struct BatchIndex {
    private var batches: [BatchLocation] = []
    private var segments: [UInt64] = []

    mutating func noteSegment(_ number: UInt64) {
        if segments.last != number { segments.append(number) }
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
        let kept = batches.firstIndex { $0.entries.upperBound > index } ?? batches.count
        batches.removeFirst(kept)
        let firstNeeded = min(batches.first?.segment ?? current, current)
        let removable = segments.filter { $0 < firstNeeded }
        segments.removeAll { $0 < firstNeeded }
        return removable
    }
}
