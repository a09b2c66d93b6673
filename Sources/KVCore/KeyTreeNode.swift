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
///
/// A version's key is far away in memory: to find one of a million by halving means to wait for six
/// of them. So a leaf knows a byte of each key's hash, all in one line of the cache, and looks only
/// at those keys whose byte is right.
final class LeafNode: TreeNode {
    /// Slots of a leaf.
    static let capacity = 64
    private static let cacheLineBytes = 64

    let slots: UnsafeMutablePointer<Unmanaged<VersionStorage>>
    /// The ``KeyTag`` of each slot's key, where the allocation begins. All are initialised, those
    /// from `count` on with whatever.
    private let tags: UnsafeMutablePointer<UInt8>

    override init(epoch: UInt64) {
        // Side by side, the tags in one line of the cache.
        let capacity = LeafNode.capacity
        let room = UnsafeMutableRawPointer.allocate(
            byteCount: capacity + capacity * MemoryLayout<Unmanaged<VersionStorage>>.stride,
            alignment: LeafNode.cacheLineBytes)
        tags = room.initializeMemory(as: UInt8.self, repeating: 0, count: capacity)
        slots = (room + capacity).bindMemory(to: Unmanaged.self, capacity: capacity)
        super.init(epoch: epoch)
    }

    deinit {
        prefetchReferenceCounts()
        for index in 0..<count { slots[index].release() }
        UnsafeMutableRawPointer(tags).deallocate()
    }

    /// A copy that a tree of this epoch may change.
    func copy(epoch: UInt64) -> LeafNode {
        let node = LeafNode(epoch: epoch)
        prefetchReferenceCounts()
        for index in 0..<count { node.slots[index] = slots[index].retain() }
        node.tags.update(from: tags, count: count)
        node.count = count
        return node
    }

    /// Asks for all versions at once, before they are visited to count a reference more or less:
    /// the processor doesn't look ahead of a counted reference.
    private func prefetchReferenceCounts() {
        for index in 0..<count { slots[index].prefetchReferenceCount() }
    }

    /// Puts `version` in front of slot `index`.
    func insert(_ version: VersionStorage, at index: Int) {
        precondition(count < LeafNode.capacity && index <= count)
        move(count - index, to: index + 1, from: self, at: index)
        slots[index] = Unmanaged.passRetained(version)
        tags[index] = version.withKey(KeyTag.of)
        count += 1
    }

    /// Puts `version`, whose key is the same, in the place of slot `index` and returns what was
    /// there.
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
        move(count - index - 1, to: index, from: self, at: index + 1)
        count -= 1
        return old
    }

    /// Moves the slots from `index` on into an empty leaf.
    func moveTail(from index: Int, to other: LeafNode) {
        precondition(index <= count && other.count == 0)
        other.move(count - index, to: 0, from: self, at: index)
        other.count = count - index
        count = index
    }

    /// Moves every slot of `other`, which this tree may change too, behind the own ones.
    func append(movingFrom other: LeafNode) {
        precondition(count + other.count <= LeafNode.capacity)
        move(other.count, to: count, from: other, at: 0)
        count += other.count
        other.count = 0
    }

    /// Moves so many slots of `source`, which may be this leaf, with all that is known of them.
    private func move(_ moved: Int, to index: Int, from source: LeafNode, at start: Int) {
        (slots + index).update(from: source.slots + start, count: moved)
        (tags + index).update(from: source.tags + start, count: moved)
    }

    /// The first slot whose key has this tag and for which `isWanted` is true.
    @inline(__always)
    func firstSlot(tagged tag: UInt8, where isWanted: (VersionStorage) -> Bool) -> Int? {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let pattern = ones &* UInt64(tag)
        var base = 0
        while base < count {
            // `tags` has `capacity` bytes, a multiple of eight, and begins at a line of the cache.
            let word = UnsafeRawPointer(tags).load(fromByteOffset: base, as: UInt64.self)
            // The high bit of each byte that is as wanted, and perhaps of some above such a byte.
            let difference = word.littleEndian ^ pattern
            var hits = (difference &- ones) & ~difference & (ones &* 0x80)
            while hits != 0 {
                let index = base &+ hits.trailingZeroBitCount / 8
                // This leaf owns a reference to each slot below `count`.
                if index < count, slots[index]._withUnsafeGuaranteedRef(isWanted) { return index }
                hits &= hits &- 1
            }
            base &+= 8
        }
        return nil
    }
}

/// A byte of a key's hash.
enum KeyTag {
    @inline(__always)
    static func of(_ key: UnsafeRawBufferPointer) -> UInt8 {
        // Keys often differ in a digit only: each word's bits are spread by an odd factor (2⁶⁴
        // divided by the golden ratio) and folded, for in a product the high bits know of all others.
        var hash = UInt64(truncatingIfNeeded: key.count)
        var offset = 0
        while offset < key.count {
            hash = (hash ^ bigEndianWord(of: key, at: offset)) &* 0x9e37_79b9_7f4a_7c15
            hash ^= hash >> 32
            offset &+= 8
        }
        return UInt8(truncatingIfNeeded: hash >> 24)
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

    /// So many bytes of the key it shares with another separator; nil if their leads differ.
    func commonKeyBytes(with other: Separator) -> Int? {
        withParts { lead, key in
            other.withParts { otherLead, otherKey in
                guard lead == otherLead else { return nil }
                let shorter = min(key.count, otherKey.count)
                var common = 0
                while common < shorter && key[common] == otherKey[common] { common += 1 }
                return common
            }
        }
    }

    /// The head of this separator, see `InnerNode.heads`.
    func head(behind commonKeyBytes: Int?) -> UInt64 {
        withParts { TreePosition(lead: $0, bytes: $1).head(behind: commonKeyBytes) }
    }

    /// Where `position` stands relative to this separator: negative if below it.
    @inline(__always)
    func order(of position: TreePosition) -> Int {
        withParts { lead, key in
            if position.lead != lead { return position.lead < lead ? -1 : 1 }
            return compareBytes(position.bytes, key)
        }
    }

    /// Where `position` stands relative to all separators that begin as this one does: negative if
    /// below them, zero if it begins so too.
    @inline(__always)
    func order(of position: TreePosition, upTo commonKeyBytes: Int) -> Int {
        withParts { lead, key in
            if position.lead != lead { return position.lead < lead ? -1 : 1 }
            return compareBytes(
                .init(rebasing: position.bytes.prefix(commonKeyBytes)),
                .init(rebasing: key.prefix(commonKeyBytes)))
        }
    }

    /// Calls `body` with the lead and the key's bytes, which are valid during the call.
    @inline(__always)
    private func withParts<Result>(_ body: (Int64, UnsafeRawBufferPointer) -> Result) -> Result {
        withUnsafeMutablePointers { header, elements in
            // `make` wrote as many bytes as the header says.
            body(
                header.pointee.lead,
                UnsafeRawBufferPointer(start: elements, count: header.pointee.length))
        }
    }
}

/// A node that holds children; `separators[i]` is the smallest position of `children[i + 1]`.
///
/// To look at a separator is a trip to memory of its own. What distinguishes most of them are a few
/// bytes behind those that all begin with: these stand side by side in `heads`.
final class InnerNode: TreeNode {
    /// Children of an inner node.
    static let capacity = 64

    let children: UnsafeMutablePointer<Unmanaged<TreeNode>>
    let separators: UnsafeMutablePointer<Unmanaged<Separator>>
    /// The ``TreePosition/head(behind:)`` of each separator.
    private let heads: UnsafeMutablePointer<UInt64>
    /// So many bytes of the key are the same in all separators; nil if not even their lead is.
    private var commonKeyBytes: Int?
    /// Whether the children are leaves.
    let childrenAreLeaves: Bool

    init(epoch: UInt64, childrenAreLeaves: Bool) {
        children = .allocate(capacity: InnerNode.capacity)
        separators = .allocate(capacity: InnerNode.capacity)
        heads = .allocate(capacity: InnerNode.capacity)
        self.childrenAreLeaves = childrenAreLeaves
        super.init(epoch: epoch)
    }

    deinit {
        for index in 0..<count { children[index].release() }
        for index in 0..<max(0, count - 1) { separators[index].release() }
        children.deallocate()
        separators.deallocate()
        heads.deallocate()
    }

    /// A copy that a tree of this epoch may change.
    func copy(epoch: UInt64) -> InnerNode {
        let node = InnerNode(epoch: epoch, childrenAreLeaves: childrenAreLeaves)
        for index in 0..<count { node.children[index] = children[index].retain() }
        for index in 0..<max(0, count - 1) { node.separators[index] = separators[index].retain() }
        node.heads.update(from: heads, count: max(0, count - 1))
        node.commonKeyBytes = commonKeyBytes
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
        noteHeads()
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
        noteHeads()
    }

    /// Moves the children from `index` > 0 on into an empty node and returns the separator that
    /// stood in front of them.
    func moveTail(from index: Int, to other: InnerNode) -> Separator {
        precondition(index > 0 && index < count && other.count == 0)
        other.children.update(from: children + index, count: count - index)
        other.separators.update(from: separators + index, count: count - index - 1)
        other.count = count - index
        count = index
        noteHeads()
        other.noteHeads()
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
        noteHeads()
    }

    /// Writes the heads of all separators anew: what they have in common may be something else now.
    private func noteHeads() {
        let separators = UnsafeBufferPointer(start: separators, count: count - 1)
        guard let first = separators.first, let last = separators.last else { return }
        // They are in order: what the outermost begin with, all do.
        commonKeyBytes = first._withUnsafeGuaranteedRef { first in
            last._withUnsafeGuaranteedRef { first.commonKeyBytes(with: $0) }
        }
        for (index, separator) in separators.enumerated() {
            heads[index] = separator._withUnsafeGuaranteedRef { $0.head(behind: commonKeyBytes) }
        }
    }

    /// The index of the child in which `position` belongs.
    @inline(__always)
    func childIndex(of position: TreePosition) -> Int {
        var low = 0
        var high = count - 1
        guard low < high else { return low }
        // This node owns a reference to each separator below `count - 1`, here and further down.
        if let commonKeyBytes {
            let order = separators[0]._withUnsafeGuaranteedRef {
                $0.order(of: position, upTo: commonKeyBytes)
            }
            if order != 0 { return order < 0 ? low : high }
        }
        let head = position.head(behind: commonKeyBytes)
        while low < high {
            let middle = (low + high) / 2
            let isBelow =
                head == heads[middle]
                ? separators[middle]._withUnsafeGuaranteedRef { $0.order(of: position) } < 0
                : head < heads[middle]
            if isBelow { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
