/// What a ``KeyTree`` sorts by before it sorts by key.
protocol TreeOrder {
    /// The leading component of a version's position.
    static func lead(of version: VersionStorage) -> Int64
}

/// Sorted by key alone.
enum KeyOrder: TreeOrder {
    @inline(__always)
    static func lead(of version: VersionStorage) -> Int64 { 0 }
}

/// Sorted by lease, then by key: the keys of a lease stand side by side.
enum LeaseOrder: TreeOrder {
    @inline(__always)
    static func lead(of version: VersionStorage) -> Int64 { version.lease }
}

/// A place in the order of a ``KeyTree``.
struct TreePosition {
    let lead: Int64
    /// Borrowed for the duration of the call the position is passed to.
    let bytes: UnsafeRawBufferPointer

    /// Eight bytes of the key behind so many, zeroes where it ends, or with nil the lead: in the
    /// order of the positions, as far as these begin alike and their heads differ.
    @inline(__always)
    func head(behind commonKeyBytes: Int?) -> UInt64 {
        guard let commonKeyBytes else { return UInt64(bitPattern: lead) ^ 1 << 63 }
        return bigEndianWord(of: bytes, at: commonKeyBytes)
    }
}

/// An ordered set of versions, at most one per position, with views that cost nothing to take.
///
/// A B+tree whose nodes carry the epoch that made them: a node of the tree's own epoch is changed
/// in place, any other is copied first. Taking a view raises the epoch. There is no test of
/// reference counts, so nothing outside can make a put copy nodes.
struct KeyTree<Order: TreeOrder> {
    private(set) var root: TreeNode
    /// With `InnerNode.childrenAreLeaves` it tells each node's kind, from where the node is made on:
    /// every downcast in this file follows one of the two.
    private(set) var rootIsLeaf = true
    private(set) var epoch: UInt64 = 1
    /// Entries in the tree.
    private(set) var count = 0
    /// Nodes copied since the tree was made, for tests and metrics.
    private(set) var nodeCopies = 0
    /// Levels of nodes.
    private(set) var height = 1
    /// Changes so far, so that no ``Place`` is used behind one.
    private var generation = 0

    /// Where a position stands in the tree, or would stand; good until the tree's next change.
    struct Place {
        fileprivate let leaf: Unmanaged<LeafNode>
        fileprivate let index: Int
        fileprivate let isTaken: Bool
        fileprivate let generation: Int
    }

    init() {
        root = LeafNode(epoch: 1)
    }

    /// What a reader of this very state needs; the tree goes on without touching it.
    mutating func takeView() -> TreeView<Order> {
        epoch += 1
        generation += 1
        return TreeView(root: root, rootIsLeaf: rootIsLeaf)
    }

    /// A reader of the present state, which must not outlive the tree's next change.
    var reader: TreeView<Order> { TreeView(root: root, rootIsLeaf: rootIsLeaf) }

    /// The entry at this position.
    func find(lead: Int64 = 0, _ bytes: UnsafeRawBufferPointer) -> VersionStorage? {
        reader.find(TreePosition(lead: lead, bytes: bytes))
    }

    /// Calls `body` with the entry at this position, which must not outlive the call.
    func withVersion<Result>(
        lead: Int64 = 0, _ bytes: UnsafeRawBufferPointer, _ body: (VersionStorage?) -> Result
    ) -> Result {
        let (leaf, index, isTaken) = reader.locate(TreePosition(lead: lead, bytes: bytes))
        guard isTaken else { return body(nil) }
        // The tree holds the leaf, and the leaf the version.
        return leaf._withUnsafeGuaranteedRef { $0.slots[index]._withUnsafeGuaranteedRef(body) }
    }

    /// Where a position is. To put something there later takes no second search.
    func locate(lead: Int64 = 0, _ bytes: UnsafeRawBufferPointer) -> Place {
        let (leaf, index, isTaken) = reader.locate(TreePosition(lead: lead, bytes: bytes))
        return Place(leaf: leaf, index: index, isTaken: isTaken, generation: generation)
    }

    /// Calls `body` with the entry at a place, which must not outlive the call.
    func withVersion<Result>(at place: Place, _ body: (VersionStorage?) -> Result) -> Result {
        precondition(place.generation == generation, "the tree has changed")
        guard place.isTaken else { return body(nil) }
        // The tree holds the leaf, which it hasn't changed since, and the leaf the version.
        return place.leaf._withUnsafeGuaranteedRef {
            $0.slots[place.index]._withUnsafeGuaranteedRef(body)
        }
    }

    /// Puts `version` at the place of its position and returns what it replaced there.
    @discardableResult
    mutating func put(_ version: VersionStorage, at place: Place) -> VersionStorage? {
        precondition(place.generation == generation, "the tree has changed")
        var replaced: VersionStorage?
        // As in `withVersion(at:)`. A leaf of this epoch has parents of this epoch: it may be changed
        // without a way down to it.
        let isDone = place.leaf._withUnsafeGuaranteedRef { leaf in
            guard leaf.epoch == epoch else { return false }
            if place.isTaken {
                replaced = leaf.replace(at: place.index, with: version)
            } else if leaf.count < LeafNode.capacity {
                leaf.insert(version, at: place.index)
            } else {
                return false
            }
            return true
        }
        guard isDone else { return upsert(version) }
        generation += 1
        if !place.isTaken { count += 1 }
        return replaced
    }

    /// Puts `version` at its position and returns what it replaced there.
    @discardableResult
    mutating func upsert(_ version: VersionStorage) -> VersionStorage? {
        generation += 1
        root = writable(root, isLeaf: rootIsLeaf)
        var replaced: VersionStorage?
        let split = version.withKey { key in
            let position = TreePosition(lead: Order.lead(of: version), bytes: key)
            return upsert(version, at: position, in: root, isLeaf: rootIsLeaf, &replaced)
        }
        if let split {
            let newRoot = InnerNode(epoch: epoch, childrenAreLeaves: rootIsLeaf)
            newRoot.start(with: root)
            newRoot.insert(split.right, separator: split.separator, after: 0)
            root = newRoot
            rootIsLeaf = false
            height += 1
        }
        if replaced == nil { count += 1 }
        return replaced
    }

    /// Takes the entry at the position of `version` out.
    @discardableResult
    mutating func remove(positionOf version: VersionStorage) -> VersionStorage? {
        generation += 1
        root = writable(root, isLeaf: rootIsLeaf)
        let removed = version.withKey { key in
            remove(
                at: TreePosition(lead: Order.lead(of: version), bytes: key), in: root,
                isLeaf: rootIsLeaf)
        }
        if removed != nil { count -= 1 }
        while !rootIsLeaf && root.count == 1 {
            let inner = unsafeDowncast(root, to: InnerNode.self)
            root = inner.children[0].takeUnretainedValue()
            rootIsLeaf = inner.childrenAreLeaves
            height -= 1
        }
        return removed
    }

    /// The same node if this tree may change it, else a copy it may change.
    private mutating func writable(_ node: TreeNode, isLeaf: Bool) -> TreeNode {
        if node.epoch == epoch { return node }
        nodeCopies += 1
        // `isLeaf` is the kind the parent recorded when the node was linked.
        return isLeaf
            ? unsafeDowncast(node, to: LeafNode.self).copy(epoch: epoch)
            : unsafeDowncast(node, to: InnerNode.self).copy(epoch: epoch)
    }

    /// Child `index` of a node this tree may change, made changeable too.
    private mutating func writableChild(_ node: InnerNode, _ index: Int) -> TreeNode {
        let child = node.children[index].takeUnretainedValue()
        if child.epoch == epoch { return child }
        let copy = writable(child, isLeaf: node.childrenAreLeaves)
        node.replaceChild(at: index, with: copy)
        return copy
    }

    private struct Split {
        let right: TreeNode
        let separator: Separator
    }

    private mutating func upsert(
        _ version: VersionStorage, at position: TreePosition, in node: TreeNode, isLeaf: Bool,
        _ replaced: inout VersionStorage?
    ) -> Split? {
        if isLeaf {
            return upsert(
                version, at: position, inLeaf: unsafeDowncast(node, to: LeafNode.self), &replaced)
        }
        let inner = unsafeDowncast(node, to: InnerNode.self)
        let index = inner.childIndex(of: position)
        let child = writableChild(inner, index)
        guard
            let split = upsert(
                version, at: position, in: child, isLeaf: inner.childrenAreLeaves, &replaced)
        else { return nil }
        guard inner.count == InnerNode.capacity else {
            inner.insert(split.right, separator: split.separator, after: index)
            return nil
        }
        // Ascending inserts leave full nodes behind them instead of half-full ones.
        let middle = index == inner.count - 1 ? inner.count - 1 : inner.count / 2
        let right = InnerNode(epoch: epoch, childrenAreLeaves: inner.childrenAreLeaves)
        let separator = inner.moveTail(from: middle, to: right)
        if index < middle {
            inner.insert(split.right, separator: split.separator, after: index)
        } else {
            right.insert(split.right, separator: split.separator, after: index - middle)
        }
        return Split(right: right, separator: separator)
    }

    private mutating func upsert(
        _ version: VersionStorage, at position: TreePosition, inLeaf leaf: LeafNode,
        _ replaced: inout VersionStorage?
    ) -> Split? {
        let (index, found) = TreeView<Order>.search(leaf, position)
        if found {
            replaced = leaf.replace(at: index, with: version)
            return nil
        }
        guard leaf.count == LeafNode.capacity else {
            leaf.insert(version, at: index)
            return nil
        }
        let middle = index == leaf.count ? leaf.count : leaf.count / 2
        let right = LeafNode(epoch: epoch)
        leaf.moveTail(from: middle, to: right)
        if index < middle {
            leaf.insert(version, at: index)
        } else {
            right.insert(version, at: index - middle)
        }
        return Split(
            right: right,
            separator: Separator.between(
                leaf.slots[leaf.count - 1].takeUnretainedValue(),
                right.slots[0].takeUnretainedValue(), order: Order.self))
    }

    private mutating func remove(
        at position: TreePosition, in node: TreeNode, isLeaf: Bool
    ) -> VersionStorage? {
        if isLeaf {
            let leaf = unsafeDowncast(node, to: LeafNode.self)
            let (index, found) = TreeView<Order>.search(leaf, position)
            return found ? leaf.remove(at: index) : nil
        }
        let inner = unsafeDowncast(node, to: InnerNode.self)
        let index = inner.childIndex(of: position)
        let child = writableChild(inner, index)
        guard let removed = remove(at: position, in: child, isLeaf: inner.childrenAreLeaves) else {
            return nil
        }
        mergeIfSparse(inner, index)
        return removed
    }

    /// Joins a child that has become a quarter full with a neighbour if both fit into three
    /// quarters, so that neither the next put nor the next removal undoes it.
    private mutating func mergeIfSparse(_ inner: InnerNode, _ index: Int) {
        let capacity = inner.childrenAreLeaves ? LeafNode.capacity : InnerNode.capacity
        // `inner` owns a reference to each child in `0..<count`, and isn't changed while they are asked.
        let own = inner.children[index]._withUnsafeGuaranteedRef { $0.count }
        guard own <= capacity / 4, inner.count > 1 else { return }
        let leftIndex = index == 0 ? 0 : index - 1
        let leftCount = inner.children[leftIndex]._withUnsafeGuaranteedRef { $0.count }
        let rightCount = inner.children[leftIndex + 1]._withUnsafeGuaranteedRef { $0.count }
        guard own == 0 || leftCount + rightCount <= capacity * 3 / 4 else { return }
        let left = writableChild(inner, leftIndex)
        let right = writableChild(inner, leftIndex + 1)
        if inner.childrenAreLeaves {
            unsafeDowncast(left, to: LeafNode.self)
                .append(movingFrom: unsafeDowncast(right, to: LeafNode.self))
        } else {
            unsafeDowncast(left, to: InnerNode.self).append(
                movingFrom: unsafeDowncast(right, to: InnerNode.self),
                separator: inner.separators[leftIndex].takeUnretainedValue())
        }
        inner.removeChild(at: leftIndex + 1)
    }
}

extension KeyTree {
    /// Builds a tree from entries that come in order, without searching.
    struct Builder {
        /// Entries per leaf: full enough to be small, with room for the puts that follow.
        static var fill: Int { LeafNode.capacity * 7 / 8 }

        private var leaves: [LeafNode] = []
        private var count = 0

        /// Adds an entry, which must stand behind the last one.
        mutating func append(_ version: VersionStorage) {
            if leaves.isEmpty || leaves[leaves.count - 1].count == Builder.fill {
                leaves.append(LeafNode(epoch: 1))
            }
            let leaf = leaves[leaves.count - 1]
            leaf.insert(version, at: leaf.count)
            count += 1
        }

        /// The last entry added.
        var last: VersionStorage? {
            guard let leaf = leaves.last else { return nil }
            return leaf.slots[leaf.count - 1].takeUnretainedValue()
        }

        /// The tree of all entries added.
        consuming func finish() -> KeyTree {
            var tree = KeyTree()
            guard !leaves.isEmpty else { return tree }
            var nodes: [TreeNode] = leaves
            var separators: [Separator] = []
            for index in 1..<max(1, leaves.count) {
                let left = leaves[index - 1]
                separators.append(
                    Separator.between(
                        left.slots[left.count - 1].takeUnretainedValue(),
                        leaves[index].slots[0].takeUnretainedValue(), order: Order.self))
            }
            var areLeaves = true
            var height = 1
            while nodes.count > 1 {
                var parents: [TreeNode] = []
                var parentSeparators: [Separator] = []
                var current: InnerNode?
                for (index, node) in nodes.enumerated() {
                    if let parent = current, parent.count < Builder.fill {
                        parent.insert(
                            node, separator: separators[index - 1], after: parent.count - 1)
                        continue
                    }
                    let parent = InnerNode(epoch: 1, childrenAreLeaves: areLeaves)
                    parent.start(with: node)
                    if index > 0 { parentSeparators.append(separators[index - 1]) }
                    parents.append(parent)
                    current = parent
                }
                nodes = parents
                separators = parentSeparators
                areLeaves = false
                height += 1
            }
            tree.root = nodes[0]
            tree.rootIsLeaf = areLeaves
            tree.height = height
            tree.count = count
            return tree
        }
    }
}

/// A reader of one state of a ``KeyTree``.
///
/// One that came from `takeView` may be used on any thread, since the nodes it reaches are of an
/// epoch the tree has left and never change again; hence `@unchecked Sendable`. One that came from
/// `reader` stays inside the call that made it.
struct TreeView<Order: TreeOrder>: @unchecked Sendable {
    let root: TreeNode
    let rootIsLeaf: Bool

    /// The first slot not below `position`, and whether it is exactly there.
    @inline(__always)
    static func search(_ leaf: LeafNode, _ position: TreePosition) -> (index: Int, found: Bool) {
        var low = 0
        var high = leaf.count
        while low < high {
            let middle = (low + high) / 2
            // The leaf owns a reference to each slot below `count`, and the caller holds the leaf.
            let order = leaf.slots[middle]._withUnsafeGuaranteedRef { version in
                let lead = Order.lead(of: version)
                if lead != position.lead { return lead < position.lead ? -1 : 1 }
                return version.withKey { compareBytes($0, position.bytes) }
            }
            if order == 0 { return (middle, true) }
            if order < 0 { low = middle + 1 } else { high = middle }
        }
        return (low, false)
    }

    /// The entry at this position.
    func find(_ position: TreePosition) -> VersionStorage? {
        let (leaf, index, isTaken) = locate(position)
        // The view holds the leaf.
        return isTaken
            ? leaf._withUnsafeGuaranteedRef { $0.slots[index].takeUnretainedValue() } : nil
    }

    /// The leaf in which this position belongs, the first slot not below it, and whether it is
    /// exactly there.
    @inline(__always)
    fileprivate func locate(
        _ position: TreePosition
    ) -> (leaf: Unmanaged<LeafNode>, index: Int, isTaken: Bool) {
        // Unmanaged all the way down: the root keeps every node alive, and counting references
        // on a path would cost more than comparing keys.
        var node = Unmanaged.passUnretained(root)
        var isLeaf = rootIsLeaf
        while !isLeaf {
            node._withUnsafeGuaranteedRef { current in
                let inner = unsafeDowncast(current, to: InnerNode.self)
                isLeaf = inner.childrenAreLeaves
                node = inner.children[inner.childIndex(of: position)]
            }
        }
        return node._withUnsafeGuaranteedRef { current in
            let leaf = unsafeDowncast(current, to: LeafNode.self)
            let taken = leaf.firstSlot(tagged: KeyTag.of(position.bytes)) { version in
                Order.lead(of: version) == position.lead
                    && version.withKey { compareBytes($0, position.bytes) } == 0
            }
            if let taken { return (.passUnretained(leaf), taken, true) }
            let (index, found) = TreeView.search(leaf, position)
            precondition(!found, "a tag is of another key")
            return (.passUnretained(leaf), index, false)
        }
    }

    /// Visits the entries not below `position` in order until `visit` returns false.
    func scan(from position: TreePosition, visit: (VersionStorage) -> Bool) {
        _ = scan(root, isLeaf: rootIsLeaf, from: position, visit)
    }

    /// So many versions ahead a scan asks for their memory: with 2 and with 8 it is no quicker.
    private static var versionsAhead: Int { 4 }

    private func scan(
        _ node: TreeNode, isLeaf: Bool, from position: TreePosition?,
        _ visit: (VersionStorage) -> Bool
    ) -> Bool {
        if isLeaf {
            let leaf = unsafeDowncast(node, to: LeafNode.self)
            var index = position.map { TreeView.search(leaf, $0).index } ?? 0
            while index < leaf.count {
                if index + Self.versionsAhead < leaf.count {
                    leaf.slots[index + Self.versionsAhead].prefetch()
                }
                // As in `search`; `visit` can't change a tree that a view is read from.
                if !leaf.slots[index]._withUnsafeGuaranteedRef(visit) { return false }
                index += 1
            }
            return true
        }
        let inner = unsafeDowncast(node, to: InnerNode.self)
        let first = position.map { inner.childIndex(of: $0) } ?? 0
        for index in first..<inner.count {
            let child = inner.children[index].takeUnretainedValue()
            let start = index == first ? position : nil
            if !scan(child, isLeaf: inner.childrenAreLeaves, from: start, visit) { return false }
        }
        return true
    }

    /// Visits the entries with these bytes' range in order until `visit` returns false.
    func scan(lead: Int64 = 0, _ range: KeyRange, visit: (VersionStorage) -> Bool) {
        range.start.withUnsafeBytes { start in
            let position = TreePosition(lead: lead, bytes: start)
            switch range.bound {
            case .single:
                if let version = find(position) { _ = visit(version) }
            case .unbounded:
                scan(from: position) { Order.lead(of: $0) == lead && visit($0) }
            case .before(let end):
                end.withUnsafeBytes { end in
                    scan(from: position) { version in
                        Order.lead(of: version) == lead
                            && version.withKey { compareBytes($0, end) } < 0 && visit(version)
                    }
                }
            }
        }
    }
}
