import EtcdWire
import Synchronization

/// How far down the chains of versions a view may go, and whether it is still in use.
final class ViewFloor: Sendable {
    /// The compacted revision when the view was taken: the view follows `previous` of newer
    /// versions only.
    let compactedRevision: Int64
    let isReleased = Atomic<Bool>(false)

    init(compactedRevision: Int64) {
        self.compactedRevision = compactedRevision
    }
}

/// Releases its floor with the last copy of the view.
final class ViewLifetime: Sendable {
    let floor: ViewFloor

    init(_ floor: ViewFloor) {
        self.floor = floor
    }

    deinit {
        // Releasing: all the view's reads come before the owner sees it and trims.
        floor.isReleased.store(true, ordering: .releasing)
    }
}

/// The store as it was at one moment, readable on any thread while the store goes on.
///
/// Taking one costs nothing; keeping it holds back trimming and the memory of what has changed
/// since, so its holder bounds its age.
public struct StoreView: Sendable {
    /// The revision of the newest change in the view.
    public let revision: Int64
    /// Reads below this revision are refused.
    public let compactedRevision: Int64
    /// The log index of the newest entry in the view.
    public let appliedIndex: UInt64
    /// The term of the newest entry in the view.
    public let appliedTerm: UInt64
    /// The store's rolling hash at that moment.
    public let stateHash: UInt64
    /// The members at that moment, by ascending id.
    public var members: [ClusterMember] { membership.members }

    let tree: TreeView<KeyOrder>
    let leases: LeaseTable
    let membership: MemberTable
    let lifetime: ViewLifetime

    var reader: RangeReader {
        RangeReader(tree: tree, revision: revision, compactedRevision: compactedRevision)
    }

    /// Answers a range on the view's state.
    public func range(_ request: RangeRequest) throws(EtcdError) -> RangeOutcome {
        try Validation.check(request)
        // Without this the lifetime may end at its last use, which is before the reads.
        defer { withExtendedLifetime(lifetime) {} }
        return try reader.range(request)
    }

    /// A hash of everything visible at `revision` and above the last compaction (0: the view's).
    public func hashKV(revision requested: Int64) throws(EtcdError) -> HashKVResult {
        defer { withExtendedLifetime(lifetime) {} }
        return try reader.hashKV(revision: requested)
    }

    /// A range to be read in chunks.
    ///
    /// Only for key order without revision filters, the only kind whose answer can begin before
    /// the scan has ended; nil for any other.
    public func chunkedRange(_ request: RangeRequest) throws(EtcdError) -> ChunkedRange? {
        try Validation.check(request)
        guard RangeOptions(request).isStreamable else { return nil }
        return ChunkedRange(
            view: self, request: request, target: try reader.readRevision(request.revision))
    }
}

/// A range read piece by piece from a view.
public struct ChunkedRange: Sendable {
    /// Keys visited in one step at most, whatever their size.
    public static let visitLimit = 8_192

    private let view: StoreView
    private let request: RangeRequest
    private let target: Int64
    private var position: ArraySlice<UInt8>
    private var given: Int64 = 0
    private var count: Int64 = 0
    private var isFinished = false

    init(view: StoreView, request: RangeRequest, target: Int64) {
        self.view = view
        self.request = request
        self.target = target
        position = request.key
    }

    /// One piece of the answer.
    public struct Chunk: Sendable {
        /// The key-values; `count` and `more` count only in the last chunk.
        public let outcome: RangeOutcome
        /// Whether the answer ends here.
        public let isLast: Bool
    }

    /// The next piece with about `maxBytes` of keys and values, nil after the last. It may be empty
    /// where the range has been given out to its limit and is only counted on.
    public mutating func next(maxBytes: Int) -> Chunk? {
        guard !isFinished else { return nil }
        defer { withExtendedLifetime(view.lifetime) {} }
        var range = KeyRange(key: position, rangeEnd: request.rangeEnd)
        if given == 0 && count == 0 { range.start = request.key }
        let isSingle = range.isSingle
        let limit = request.countOnly ? 0 : (request.limit > 0 ? request.limit : Int64.max)
        var versions: [KeyVersion] = []
        var bytes = 0
        var visited = 0
        var resume: VersionStorage?
        view.tree.scan(range) { head in
            if bytes >= maxBytes || visited >= ChunkedRange.visitLimit {
                resume = head
                return false
            }
            visited += 1
            guard let version = head.version(at: target), !version.isTombstone else { return true }
            count += 1
            if given < limit {
                given += 1
                bytes += version.keyLength + (request.keysOnly ? 0 : version.valueLength)
                versions.append(KeyVersion(version))
            }
            return true
        }
        if let resume, !isSingle {
            position = resume.withKey { [UInt8]($0) }[...]
        } else {
            isFinished = true
        }
        let more = isFinished && !request.countOnly && count > given
        return Chunk(
            outcome: RangeOutcome(
                versions: versions, more: more, count: isFinished ? count : 0,
                keysOnly: request.keysOnly, revision: view.revision),
            isLast: isFinished)
    }
}

extension Store {
    /// The present state, for a reader on another thread. Costs O(1) now, and one copy of each
    /// tree node that later changes touch first.
    public mutating func takeView() -> StoreView {
        viewFloors.removeAll { $0.isReleased.load(ordering: .acquiring) }
        let floor = ViewFloor(compactedRevision: compactedRevision)
        viewFloors.append(floor)
        return StoreView(
            revision: revision, compactedRevision: compactedRevision, appliedIndex: appliedIndex,
            appliedTerm: appliedTerm, stateHash: stateHash, tree: tree.takeView(), leases: leases,
            membership: membership, lifetime: ViewLifetime(floor))
    }

    /// How far a trimming step came.
    public enum CompactStepResult: Equatable, Sendable {
        /// Nothing below the compacted revision is left.
        case finished
        /// The budget is used up; call again.
        case more
        /// An older view still needs the rest; call again after it is released.
        case heldByView
    }

    /// Trims at most `budget` changes that a compaction has made unreachable.
    ///
    /// Reads below the compacted revision are refused from the moment the compaction applies, so
    /// when and how far this runs shows in memory only.
    public mutating func compactStep(budget: Int) -> CompactStepResult {
        viewFloors.removeAll { $0.isReleased.load(ordering: .acquiring) }
        // A view follows `previous` only of versions newer than its floor, and below `target` only
        // versions older than every floor are cut: they never touch the same field.
        let target = viewFloors.reduce(compactedRevision) { min($0, $1.compactedRevision) }
        var remaining = budget
        while history.start < history.end {
            guard history[history.start].version.modRevision < target else { break }
            guard remaining > 0 else { return .more }
            remaining -= 1
            let version = history.removeFirst()
            _ = version.takePrevious()
            guard version.isTombstone else { continue }
            if version.withKey({ tree.find($0) }) === version {
                tree.remove(positionOf: version)
            }
        }
        return target < compactedRevision ? .heldByView : .finished
    }
}
