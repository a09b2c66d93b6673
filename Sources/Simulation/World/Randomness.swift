import RaftCore

/// Draws from a seeded stream. The arithmetic is our own, so that a seed means the same everywhere.
extension RandomStream {
    /// A stream of its own for a subsystem: what one draws doesn't shift the others.
    func forked(_ label: UInt64) -> RandomStream {
        var source = self
        return RandomStream(seed: source.next() ^ (label &* 0x9FB2_1C65_1E98_DF25))
    }

    /// True `permille` times in a thousand.
    mutating func chance(_ permille: UInt64) -> Bool {
        permille > 0 && next(in: 0..<1_000) < permille
    }

    /// A number in a closed range.
    mutating func draw(_ range: ClosedRange<UInt64>) -> UInt64 {
        next(in: range.lowerBound..<range.upperBound + 1)
    }

    /// A number in a closed range.
    mutating func draw(_ range: ClosedRange<Int>) -> Int {
        Int(draw(UInt64(range.lowerBound)...UInt64(range.upperBound)))
    }

    /// A position below `count`.
    mutating func index(_ count: Int) -> Int { Int(next(in: 0..<UInt64(count))) }

    /// One of the elements; nil when there are none.
    mutating func pick<Element>(_ elements: [Element]) -> Element? {
        elements.isEmpty ? nil : elements[index(elements.count)]
    }

    /// The elements in another order.
    mutating func shuffled<Element>(_ elements: [Element]) -> [Element] {
        var result = elements
        for position in result.indices.dropFirst().reversed() {
            result.swapAt(position, index(position + 1))
        }
        return result
    }
}
