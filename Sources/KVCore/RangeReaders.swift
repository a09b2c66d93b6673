import EtcdWire

/// The large ranges that a member is reading, and the views it reads them from.
///
/// All read from the newest view there is, so that old states of the map don't pile up behind slow
/// clients. A range that a compaction overtakes is finished from the last view before it, if that
/// takes no longer than `heldSweeps`: as in etcd, a compaction doesn't end reads under way. A value,
/// to be used by one thread; the shell decides which, and that thread also lets go of the views.
public struct RangeReaders: Sendable {
    /// Key-values that ranges in an order of their own may refer to, all ranges together.
    public static let maxSortedKeys = 4 << 20
    /// Sweeps that a view from before a compaction survives.
    public static let heldSweeps = 10

    private struct Reader {
        let id: UInt64
        var range: LargeRange
        /// The last view before a compaction above the range's revision.
        var held: StoreView?
        var sweepsHeld = 0
    }

    // In the order of their beginning. There are few, and a step costs far more than finding one.
    private var readers: [Reader] = []
    private var newest: StoreView?
    private let maxSortedKeys: Int

    /// None yet.
    public init(maxSortedKeys: Int = RangeReaders.maxSortedKeys) {
        self.maxSortedKeys = maxSortedKeys
    }

    /// Ranges being read.
    public var count: Int { readers.count }

    /// Views that are kept.
    package var viewCount: Int { (newest == nil ? 0 : 1) + readers.count { $0.held != nil } }

    /// Takes a range up. The view is at least as new as the range and as every view before.
    public mutating func start(_ id: UInt64, _ range: LargeRange, on view: StoreView) {
        use(view)
        readers.append(Reader(id: id, range: range))
    }

    /// From now on everything is read from this view.
    public mutating func use(_ view: StoreView) {
        for index in readers.indices
        where readers[index].held == nil && readers[index].range.needsView
            && readers[index].range.revision < view.compactedRevision
        {
            readers[index].held = newest
        }
        newest = view
    }

    /// Goes on with a range by about so many keys and bytes. Nil when it isn't being read any more;
    /// a failed range isn't, nor is one behind its last bytes.
    public mutating func step(
        _ id: UInt64, visits: Int, bytes: Int
    ) throws(EtcdError) -> LargeRange.Step? {
        guard let index = readers.firstIndex(where: { $0.id == id }) else { return nil }
        do throws(EtcdError) {
            let view = readers[index].held ?? newest
            // Without one the map was let go of while the client was slow, and nobody brought a
            // newer one.
            if view == nil, readers[index].range.needsView { throw .compacted }
            let step = try readers[index].range.step(on: view, visits: visits, bytes: bytes)
            if !readers[index].range.needsView { readers[index].held = nil }
            if readers.reduce(0, { $0 + $1.range.heldKeys }) > maxSortedKeys {
                throw .tooManyRequests
            }
            if case .bytes(_, isLast: true) = step { end(id) }
            return step
        } catch {
            end(id)
            throw error
        }
    }

    /// The range is given up.
    public mutating func end(_ id: UInt64) {
        readers.removeAll { $0.id == id }
        if readers.isEmpty { newest = nil }
    }

    /// To be called about once a second. `isIdle` when nothing was read since the last time, but for
    /// slow clients: then the newest view goes too, and the next step needs `use` before it.
    public mutating func sweep(isIdle: Bool) {
        if isIdle { newest = nil }
        for index in readers.indices where readers[index].held != nil {
            readers[index].sweepsHeld += 1
            if readers[index].sweepsHeld > Self.heldSweeps { readers[index].held = nil }
        }
    }
}
