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
