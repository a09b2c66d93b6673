import RaftCore

/// When leases end, by this leader's monotonic clock. Runs on a leader only.
///
/// A new leader can't know how long ago the old one renewed a lease, so it grants each what the
/// log says is left and an election timeout on top: a failover extends a lease by a bounded time.
struct LeaseClock {
    private struct Item {
        /// The whole time of the lease.
        var grantedSeconds: Int64
        var deadline: Microseconds
        /// Where the heap has it; no later than the deadline.
        var queuedAt: Microseconds
        var isExpiring = false
        /// Remaining time is recorded in the log and must be cleared before a renewal counts.
        var hasCheckpoint: Bool
    }
    private(set) var isRunning = false
    private var items: [Int64: Item] = [:]
    /// Leases whose expiry is proposed and not applied. One entry of them at a time: what clients
    /// want meanwhile takes turns with it, however many leases end at once.
    private var expiringCount = 0
    /// One entry for each lease: a renewal leaves it where it is, and it moves when it comes up.
    private(set) var queue = MinHeap<Int64>()
    private(set) var nextCheckpoint: Microseconds = .max

    /// How often remaining times are recorded.
    private var checkpointMicroseconds: Microseconds = 0

    /// Nothing is taken as due before this.
    private var pausedUntil: Microseconds = 0

    var nextDeadline: Microseconds {
        guard isRunning else { return .max }
        let nextDue = expiringCount > 0 ? .max : queue.first?.key ?? .max
        return max(pausedUntil, min(nextDue, nextCheckpoint))
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

    mutating func set(
        _ lease: Int64, grantedSeconds: Int64, deadline: Microseconds, hasCheckpoint: Bool
    ) {
        guard isRunning else { return }
        let item = Item(
            grantedSeconds: grantedSeconds, deadline: deadline, queuedAt: deadline,
            hasCheckpoint: hasCheckpoint)
        let old = items.updateValue(item, forKey: lease)
        noteEnd(of: old)
        queue.push(deadline, lease)
    }

    mutating func remove(_ lease: Int64) {
        noteEnd(of: items.removeValue(forKey: lease))
        guard queue.count > 2 * items.count + Self.sweepSlack else { return }
        queue.removeAll { items[$0.value]?.queuedAt != $0.key }
    }

    private mutating func noteEnd(of item: Item?) {
        if item?.isExpiring ?? false { expiringCount -= 1 }
    }

    /// Entries of ended leases that the queue may hold on top of as many as there are leases.
    private static let sweepSlack = 64

    /// What became of a renewal.
    enum Renewal: Equatable {
        /// The lease has its whole time again.
        case renewed(seconds: Int64)
        /// There is no such lease.
        case gone
        /// Its expiry is under way, whose outcome decides.
        case isExpiring
        /// The time that the log says is left must be cleared before.
        case hasCheckpoint
    }

    /// Gives a lease its whole time, from a moment on.
    mutating func renew(_ lease: Int64, from start: Microseconds) -> Renewal {
        // The key is hashed once: that is most of what a renewal costs here.
        guard let place = items.index(forKey: lease) else { return .gone }
        let item = items.values[place]
        if item.isExpiring { return .isExpiring }
        if item.hasCheckpoint { return .hasCheckpoint }
        let deadline = start + Microseconds(item.grantedSeconds) * 1_000_000
        if deadline > item.deadline { items.values[place].deadline = deadline }
        return .renewed(seconds: item.grantedSeconds)
    }

    func isExpiring(_ lease: Int64) -> Bool { items[lease]?.isExpiring ?? false }

    mutating func noteCheckpoint(_ lease: Int64, isPresent: Bool) {
        items[lease]?.hasCheckpoint = isPresent
    }

    func secondsLeft(_ lease: Int64, now: Microseconds) -> Int64? {
        guard let item = items[lease] else { return nil }
        return item.deadline > now ? Int64((item.deadline - now + 999_999) / 1_000_000) : 0
    }

    /// Takes up to `limit` leases whose time is up and marks them.
    mutating func takeDue(now: Microseconds, limit: Int) -> [Int64] {
        guard now >= pausedUntil, expiringCount == 0 else { return [] }
        var due: [Int64] = []
        while due.count < limit, let first = queue.first, first.key <= now {
            queue.popFirst()
            let lease = first.value
            guard let item = items[lease], item.queuedAt == first.key, !item.isExpiring else {
                continue
            }
            if item.deadline <= now {
                items[lease]!.isExpiring = true
                due.append(lease)
            } else {
                enqueue(lease)
            }
        }
        expiringCount = due.count
        return due
    }

    /// Puts back leases that were taken but not proposed.
    mutating func putBack(_ lease: Int64) {
        guard let item = items[lease] else { return }
        noteEnd(of: item)
        items[lease]!.isExpiring = false
        enqueue(lease)
    }

    private mutating func enqueue(_ lease: Int64) {
        let deadline = items[lease]!.deadline
        items[lease]!.queuedAt = deadline
        queue.push(deadline, lease)
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
}
