import RaftCore

/// When leases end, by this leader's monotonic clock. Runs on a leader only.
///
/// A new leader can't know how long ago the old one renewed a lease, so it grants each what the
/// log says is left and an election timeout on top: a failover extends a lease by a bounded time.
struct LeaseClock {
    private struct Item {
        var deadline: Microseconds
        var isExpiring = false
        /// Remaining time is recorded in the log and must be cleared before a renewal counts.
        var hasCheckpoint: Bool
    }
    private struct Due: Comparable {
        var deadline: Microseconds
        var lease: Int64
        static func < (a: Due, b: Due) -> Bool {
            (a.deadline, a.lease) < (b.deadline, b.lease)
        }
    }

    private(set) var isRunning = false
    private var items: [Int64: Item] = [:]
    /// A binary heap; entries whose deadline moved are dropped when they come up.
    private var heap: [Due] = []
    private(set) var nextCheckpoint: Microseconds = .max

    /// How often remaining times are recorded.
    private var checkpointMicroseconds: Microseconds = 0

    /// Nothing is taken as due before this.
    private var pausedUntil: Microseconds = 0

    var nextDeadline: Microseconds {
        guard isRunning else { return .max }
        return max(pausedUntil, min(heap.first?.deadline ?? .max, nextCheckpoint))
    }

    /// Lets due leases wait: their expiry couldn't be proposed.
    mutating func pause(until time: Microseconds) { pausedUntil = time }

    mutating func start(now: Microseconds, checkpointEvery interval: Microseconds) {
        self = LeaseClock()
        isRunning = true
        checkpointMicroseconds = interval
        nextCheckpoint = now + interval
    }

    mutating func stop() { self = LeaseClock() }

    mutating func set(_ lease: Int64, deadline: Microseconds, hasCheckpoint: Bool) {
        guard isRunning else { return }
        items[lease] = Item(deadline: deadline, hasCheckpoint: hasCheckpoint)
        push(Due(deadline: deadline, lease: lease))
    }

    mutating func remove(_ lease: Int64) { items[lease] = nil }

    /// Renewal: false while an expiry is under way, whose outcome decides.
    mutating func renew(_ lease: Int64, deadline: Microseconds) -> Bool {
        guard let item = items[lease], !item.isExpiring else { return false }
        if deadline > item.deadline {
            items[lease]!.deadline = deadline
            push(Due(deadline: deadline, lease: lease))
        }
        return true
    }

    func isExpiring(_ lease: Int64) -> Bool { items[lease]?.isExpiring ?? false }

    func hasCheckpoint(_ lease: Int64) -> Bool { items[lease]?.hasCheckpoint ?? false }

    mutating func noteCheckpoint(_ lease: Int64, isPresent: Bool) {
        items[lease]?.hasCheckpoint = isPresent
    }

    func secondsLeft(_ lease: Int64, now: Microseconds) -> Int64? {
        guard let item = items[lease] else { return nil }
        return item.deadline > now ? Int64((item.deadline - now + 999_999) / 1_000_000) : 0
    }

    /// Takes up to `limit` leases whose time is up and marks them.
    mutating func takeDue(now: Microseconds, limit: Int) -> [Int64] {
        guard now >= pausedUntil else { return [] }
        var due: [Int64] = []
        while due.count < limit, let first = heap.first, first.deadline <= now {
            popFirst()
            guard let item = items[first.lease], item.deadline == first.deadline,
                !item.isExpiring
            else { continue }
            items[first.lease]!.isExpiring = true
            due.append(first.lease)
        }
        return due
    }

    /// Puts back leases that were taken but not proposed.
    mutating func putBack(_ lease: Int64) {
        guard items[lease] != nil else { return }
        items[lease]!.isExpiring = false
        push(Due(deadline: items[lease]!.deadline, lease: lease))
    }

    /// Leases and seconds left, for a checkpoint; ascending by id. Parts of a second count in full:
    /// the next leader may not take away what a client was promised.
    mutating func takeCheckpoint(now: Microseconds) -> [(lease: Int64, secondsLeft: Int64)] {
        guard isRunning, now >= nextCheckpoint else { return [] }
        nextCheckpoint = now + checkpointMicroseconds
        return items.keys.sorted().compactMap { lease in
            let item = items[lease]!
            guard !item.isExpiring, item.deadline > now + 1_000_000 else { return nil }
            return (lease, Int64((item.deadline - now + 999_999) / 1_000_000))
        }
    }

    // MARK: - The heap

    private mutating func push(_ due: Due) {
        heap.append(due)
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child] < heap[parent] else { break }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    private mutating func popFirst() {
        heap.swapAt(0, heap.count - 1)
        heap.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2]
            where child < heap.count && heap[child] < heap[least] {
                least = child
            }
            if least == parent { return }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
