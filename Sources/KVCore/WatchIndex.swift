/// Watchers that wait for the next change, found by the key that changes.
///
/// Exact keys are looked up in a dictionary, ranges in an interval tree: finding the watchers of a
/// change costs a logarithm and the matches, however many others there are.
struct WatchIndex {
    private var exact: [UInt64: [Group]] = [:]
    private var ranges = IntervalTree()

    /// The watchers of one and the same key or range.
    struct Group {
        let range: KeyRange
        var watchers: [Watcher] = []

        /// Adds a watcher and notes its place in it.
        mutating func add(_ watcher: Watcher) {
            watcher.slot = watchers.count
            watchers.append(watcher)
        }

        /// Fills the watcher's place with the last one.
        mutating func remove(_ watcher: Watcher) {
            let slot = watcher.slot
            precondition(watchers[slot] === watcher)
            let last = watchers.removeLast()
            if last !== watcher {
                watchers[slot] = last
                last.slot = slot
            }
        }
    }

    private static func hash(_ key: UnsafeRawBufferPointer) -> UInt64 {
        var hasher = RollingHash()
        hasher.combine(key)
        return hasher.value
    }

    private static func hash(_ range: KeyRange) -> UInt64 {
        range.start.withUnsafeBytes { hash($0) }
    }

    mutating func insert(_ watcher: Watcher) {
        guard watcher.range.isSingle else {
            ranges.insert(watcher)
            return
        }
        let key = watcher.range.start
        var groups = exact.removeValue(forKey: WatchIndex.hash(watcher.range)) ?? []
        if let index = groups.firstIndex(where: { $0.range.start == key }) {
            groups[index].add(watcher)
        } else {
            var group = Group(range: watcher.range)
            group.add(watcher)
            groups.append(group)
        }
        exact[WatchIndex.hash(watcher.range)] = groups
    }

    mutating func remove(_ watcher: Watcher) {
        guard watcher.range.isSingle else {
            ranges.remove(watcher)
            return
        }
        let hash = WatchIndex.hash(watcher.range)
        guard var groups = exact.removeValue(forKey: hash),
            let index = groups.firstIndex(where: { $0.range.start == watcher.range.start })
        else { preconditionFailure("the watcher is in the index") }
        groups[index].remove(watcher)
        if groups[index].watchers.isEmpty { groups.remove(at: index) }
        if !groups.isEmpty { exact[hash] = groups }
    }

    /// Visits the watchers of a key.
    func visit(_ key: UnsafeRawBufferPointer, _ body: (Watcher) -> Void) {
        if let groups = exact[WatchIndex.hash(key)] {
            for group in groups where group.range.contains(key) { group.watchers.forEach(body) }
        }
        ranges.visit(key, body)
    }
}

/// Key ranges with their watchers: a treap by start and end whose nodes know the farthest end below
/// them. Priorities come from a counter, so the shape is a function of the calls.
private struct IntervalTree {
    private struct Node {
        var group: WatchIndex.Group
        let priority: UInt64
        /// Node that reaches farthest among this one and those below it.
        var farthest: Int
        var left = -1
        var right = -1
    }

    private var nodes: [Node] = []
    private var free: [Int] = []
    private var root = -1
    private var counter: UInt64 = 0

    // MARK: Order

    private static func compareEnds(_ left: KeyRange, _ right: KeyRange) -> Int {
        switch (left.bound, right.bound) {
        case (.unbounded, .unbounded): return 0
        case (.unbounded, _): return 1
        case (_, .unbounded): return -1
        case (.before(let left), .before(let right)): return compareBytes(left, right)
        case (.single, _), (_, .single): preconditionFailure("single keys have their own index")
        }
    }

    private static func compare(_ left: KeyRange, _ right: KeyRange) -> Int {
        let order = compareBytes(left.start, right.start)
        return order != 0 ? order : compareEnds(left, right)
    }

    private func end(of index: Int, isAbove key: UnsafeRawBufferPointer) -> Bool {
        switch nodes[index].group.range.bound {
        case .unbounded: return true
        case .before(let end): return end.withUnsafeBytes { compareBytes(key, $0) } < 0
        case .single: preconditionFailure("single keys have their own index")
        }
    }

    private mutating func update(_ index: Int) {
        var farthest = index
        for child in [nodes[index].left, nodes[index].right] where child >= 0 {
            let candidate = nodes[child].farthest
            if IntervalTree.compareEnds(
                nodes[farthest].group.range, nodes[candidate].group.range) < 0
            {
                farthest = candidate
            }
        }
        nodes[index].farthest = farthest
    }

    // MARK: Changes

    mutating func insert(_ watcher: Watcher) {
        root = insert(watcher, at: root)
    }

    private mutating func insert(_ watcher: Watcher, at index: Int) -> Int {
        guard index >= 0 else { return makeNode(watcher) }
        let order = IntervalTree.compare(watcher.range, nodes[index].group.range)
        if order == 0 {
            nodes[index].group.add(watcher)
            return index
        }
        var top = index
        if order < 0 {
            let child = insert(watcher, at: nodes[index].left)
            nodes[index].left = child
            if nodes[child].priority > nodes[index].priority {
                nodes[index].left = nodes[child].right
                nodes[child].right = index
                update(index)
                top = child
            }
        } else {
            let child = insert(watcher, at: nodes[index].right)
            nodes[index].right = child
            if nodes[child].priority > nodes[index].priority {
                nodes[index].right = nodes[child].left
                nodes[child].left = index
                update(index)
                top = child
            }
        }
        update(top)
        return top
    }

    private mutating func makeNode(_ watcher: Watcher) -> Int {
        counter += 1
        var hasher = RollingHash()
        hasher.combine(counter)
        var group = WatchIndex.Group(range: watcher.range)
        group.add(watcher)
        let index = free.popLast() ?? nodes.count
        let node = Node(group: group, priority: hasher.value, farthest: index)
        if index == nodes.count { nodes.append(node) } else { nodes[index] = node }
        return index
    }

    mutating func remove(_ watcher: Watcher) {
        root = remove(watcher, at: root)
    }

    private mutating func remove(_ watcher: Watcher, at index: Int) -> Int {
        precondition(index >= 0, "the watcher is in the index")
        let order = IntervalTree.compare(watcher.range, nodes[index].group.range)
        if order == 0 {
            nodes[index].group.remove(watcher)
            guard nodes[index].group.watchers.isEmpty else { return index }
            free.append(index)
            return merge(nodes[index].left, nodes[index].right)
        }
        if order < 0 {
            nodes[index].left = remove(watcher, at: nodes[index].left)
        } else {
            nodes[index].right = remove(watcher, at: nodes[index].right)
        }
        update(index)
        return index
    }

    private mutating func merge(_ left: Int, _ right: Int) -> Int {
        if left < 0 { return right }
        if right < 0 { return left }
        if nodes[left].priority > nodes[right].priority {
            nodes[left].right = merge(nodes[left].right, right)
            update(left)
            return left
        }
        nodes[right].left = merge(left, nodes[right].left)
        update(right)
        return right
    }

    // MARK: Lookup

    func visit(_ key: UnsafeRawBufferPointer, _ body: (Watcher) -> Void) {
        visit(root, key, body)
    }

    private func visit(_ index: Int, _ key: UnsafeRawBufferPointer, _ body: (Watcher) -> Void) {
        guard index >= 0, end(of: nodes[index].farthest, isAbove: key) else { return }
        visit(nodes[index].left, key, body)
        let startsAtOrBelow = nodes[index].group.range.start.withUnsafeBytes {
            compareBytes($0, key) <= 0
        }
        guard startsAtOrBelow else { return }
        if end(of: index, isAbove: key) { nodes[index].group.watchers.forEach(body) }
        visit(nodes[index].right, key, body)
    }
}
