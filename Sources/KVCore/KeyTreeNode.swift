/// A node of a ``KeyTree``, of either kind.
///
/// A node is changed only by the tree whose epoch it carries; taking a view raises the tree's
/// epoch, so whatever a view can reach never changes again. The slots are raw memory because a
/// lookup must not touch reference counts: the memory belongs to the node alone, slots
/// `0..<count` are initialised and own one reference each, and `deinit` gives them back.
class TreeNode {
    /// The tree's epoch when this node was made.
    let epoch: UInt64
    /// Slots in use.
    final var count = 0

    init(epoch: UInt64) {
        self.epoch = epoch
    }
}

/// A node that holds versions in the order of the tree.
final class LeafNode: TreeNode {
    /// Slots of a leaf.
    static let capacity = 64

    let slots: UnsafeMutablePointer<Unmanaged<VersionStorage>>

    override init(epoch: UInt64) {
        slots = .allocate(capacity: LeafNode.capacity)
        super.init(epoch: epoch)
    }

    deinit {
        for index in 0..<count { slots[index].release() }
        slots.deallocate()
    }

    /// A copy that a tree of this epoch may change.
    func copy(epoch: UInt64) -> LeafNode {
        let node = LeafNode(epoch: epoch)
        for index in 0..<count { node.slots[index] = slots[index].retain() }
        node.count = count
        return node
    }

    /// Puts `version` in front of slot `index`.
    func insert(_ version: VersionStorage, at index: Int) {
        precondition(count < LeafNode.capacity && index <= count)
        (slots + index + 1).update(from: slots + index, count: count - index)
        slots[index] = Unmanaged.passRetained(version)
        count += 1
    }

    /// Puts `version` in the place of slot `index` and returns what was there.
    func replace(at index: Int, with version: VersionStorage) -> VersionStorage {
        precondition(index < count)
        let old = slots[index].takeRetainedValue()
        slots[index] = Unmanaged.passRetained(version)
        return old
    }

    /// Takes slot `index` out.
    func remove(at index: Int) -> VersionStorage {
        precondition(index < count)
        let old = slots[index].takeRetainedValue()
        (slots + index).update(from: slots + index + 1, count: count - index - 1)
        count -= 1
        return old
    }

    /// Moves the slots from `index` on into an empty leaf.
    func moveTail(from index: Int, to other: LeafNode) {
        precondition(index <= count && other.count == 0)
        other.slots.update(from: slots + index, count: count - index)
        other.count = count - index
        count = index
    }

    /// Moves every slot of `other`, which this tree may change too, behind the own ones.
    func append(movingFrom other: LeafNode) {
        precondition(count + other.count <= LeafNode.capacity)
        (slots + count).update(from: other.slots, count: other.count)
        count += other.count
        other.count = 0
    }
}

/// The fixed part of a separator.
struct SeparatorHeader {
    /// The leading component of the order, see ``TreeOrder``.
    let lead: Int64
    let length: Int
}

/// The smallest position of a child: entries below it are further left.
final class Separator: ManagedBuffer<SeparatorHeader, UInt8> {
    /// The shortest separator that is above `left` and not above `right`.
    ///
    /// Short separators keep inner nodes in the cache and pin no version.
    static func between<Order: TreeOrder>(
        _ left: VersionStorage, _ right: VersionStorage, order: Order.Type
    ) -> Separator {
        let lead = Order.lead(of: right)
        if Order.lead(of: left) != lead {
            return make(lead: lead, bytes: UnsafeRawBufferPointer(start: nil, count: 0))
        }
        return left.withKey { leftKey in
            right.withKey { rightKey in
                var common = 0
                while common < leftKey.count && leftKey[common] == rightKey[common] { common += 1 }
                return make(lead: lead, bytes: .init(rebasing: rightKey[..<(common + 1)]))
            }
        }
    }

    private static func make(lead: Int64, bytes: UnsafeRawBufferPointer) -> Separator {
        let buffer = Separator.create(minimumCapacity: bytes.count) { _ in
            SeparatorHeader(lead: lead, length: bytes.count)
        }
        buffer.withUnsafeMutablePointerToElements { elements in
            if let base = bytes.baseAddress {
                UnsafeMutableRawPointer(elements).copyMemory(from: base, byteCount: bytes.count)
            }
        }
        // `create` on a subclass of ManagedBuffer returns an instance of that subclass.
        return unsafeDowncast(buffer, to: Separator.self)
    }

    /// Where `position` stands relative to this separator: negative if below it.
    @inline(__always)
    func order(of position: TreePosition) -> Int {
        withUnsafeMutablePointers { header, elements in
            let lead = header.pointee.lead
            if position.lead != lead { return position.lead < lead ? -1 : 1 }
            let bytes = UnsafeRawBufferPointer(start: elements, count: header.pointee.length)
            return compareBytes(position.bytes, bytes)
        }
    }
}

/// A node that holds children; `separators[i]` is the smallest position of `children[i + 1]`.
final class InnerNode: TreeNode {
    /// Children of an inner node.
    static let capacity = 64

    let children: UnsafeMutablePointer<Unmanaged<TreeNode>>
    let separators: UnsafeMutablePointer<Unmanaged<Separator>>
    /// Whether the children are leaves.
    let childrenAreLeaves: Bool

    init(epoch: UInt64, childrenAreLeaves: Bool) {
        children = .allocate(capacity: InnerNode.capacity)
        separators = .allocate(capacity: InnerNode.capacity)
        self.childrenAreLeaves = childrenAreLeaves
        super.init(epoch: epoch)
    }

    deinit {
        for index in 0..<count { children[index].release() }
        for index in 0..<max(0, count - 1) { separators[index].release() }
        children.deallocate()
        separators.deallocate()
    }

    /// A copy that a tree of this epoch may change.
    func copy(epoch: UInt64) -> InnerNode {
        let node = InnerNode(epoch: epoch, childrenAreLeaves: childrenAreLeaves)
        for index in 0..<count { node.children[index] = children[index].retain() }
        for index in 0..<max(0, count - 1) { node.separators[index] = separators[index].retain() }
        node.count = count
        return node
    }

    /// Adds the first child.
    func start(with child: TreeNode) {
        precondition(count == 0)
        children[0] = Unmanaged.passRetained(child)
        count = 1
    }

    /// Puts `child`, whose smallest position is `separator`, behind child `index`.
    func insert(_ child: TreeNode, separator: Separator, after index: Int) {
        precondition(count < InnerNode.capacity && index < count)
        (children + index + 2).update(from: children + index + 1, count: count - index - 1)
        (separators + index + 1).update(from: separators + index, count: count - index - 1)
        children[index + 1] = Unmanaged.passRetained(child)
        separators[index] = Unmanaged.passRetained(separator)
        count += 1
    }

    /// Puts `child` in the place of child `index`.
    func replaceChild(at index: Int, with child: TreeNode) {
        precondition(index < count)
        children[index].release()
        children[index] = Unmanaged.passRetained(child)
    }

    /// Takes child `index` > 0 and the separator in front of it out.
    func removeChild(at index: Int) {
        precondition(index > 0 && index < count)
        children[index].release()
        separators[index - 1].release()
        (children + index).update(from: children + index + 1, count: count - index - 1)
        (separators + index - 1).update(from: separators + index, count: count - index - 1)
        count -= 1
    }

    /// Moves the children from `index` > 0 on into an empty node and returns the separator that
    /// stood in front of them.
    func moveTail(from index: Int, to other: InnerNode) -> Separator {
        precondition(index > 0 && index < count && other.count == 0)
        other.children.update(from: children + index, count: count - index)
        other.separators.update(from: separators + index, count: count - index - 1)
        other.count = count - index
        count = index
        return separators[index - 1].takeRetainedValue()
    }

    /// Moves every child of `other`, which this tree may change too, behind the own ones.
    func append(movingFrom other: InnerNode, separator: Separator) {
        precondition(count + other.count <= InnerNode.capacity && count > 0 && other.count > 0)
        separators[count - 1] = Unmanaged.passRetained(separator)
        (children + count).update(from: other.children, count: other.count)
        (separators + count).update(from: other.separators, count: other.count - 1)
        count += other.count
        other.count = 0
    }

    /// The index of the child in which `position` belongs.
    @inline(__always)
    func childIndex(of position: TreePosition) -> Int {
        var low = 0
        var high = count - 1
        while low < high {
            let middle = (low + high) / 2
            // This node owns a reference to each separator below `count - 1`.
            let order = separators[middle]._withUnsafeGuaranteedRef { $0.order(of: position) }
            if order < 0 { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
