/// Values by a time or an index, the least first; equals in the order of the values.
struct MinHeap<Value: Comparable> {
    struct Item {
        var key: UInt64
        var value: Value
    }
    private var items: [Item] = []

    var count: Int { items.count }

    var first: Item? { items.first }

    /// O(1) if keys come in ascending order, as deadlines nearly do.
    mutating func push(_ key: UInt64, _ value: Value) {
        items.append(Item(key: key, value: value))
        var child = items.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard precedes(child, parent) else { break }
            items.swapAt(child, parent)
            child = parent
        }
    }

    @discardableResult
    mutating func popFirst() -> Item? {
        guard !items.isEmpty else { return nil }
        items.swapAt(0, items.count - 1)
        let first = items.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in (2 * parent + 1)...(2 * parent + 2)
            where child < items.count && precedes(child, least) {
                least = child
            }
            if least == parent { return first }
            items.swapAt(parent, least)
            parent = least
        }
    }

    /// Drops what is no longer wanted; O(n).
    mutating func removeAll(where isUnwanted: (Item) -> Bool) {
        let kept = items.filter { !isUnwanted($0) }
        items.removeAll(keepingCapacity: true)
        for item in kept { push(item.key, item.value) }
    }

    private func precedes(_ a: Int, _ b: Int) -> Bool {
        (items[a].key, items[a].value) < (items[b].key, items[b].value)
    }
}
