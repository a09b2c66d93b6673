import RaftCore

/// What clients may believe about leases.
///
/// A lease doesn't end before its time, counted from the sending of the last renewal that was
/// acknowledged, on a clock that runs as fast as clocks may here. It isn't renewed after its end,
/// and isn't reported gone while it lives.
struct LeaseOracle {
    private struct Lease {
        var seconds: Int64
        /// When the last renewal was sent that was acknowledged.
        var renewedAt: Microseconds
        /// When the grant was committed, or when the last renewal came to its end, whatever became of
        /// it: until then the lease may have got its full time.
        var openUntil: Microseconds
        var endedAt: Microseconds?
    }
    private var leases: [Int64: Lease] = [:]
    private let driftPerMillion: UInt64
    private let clocksJump: Bool

    init(driftPerMillion: UInt64, clocksJump: Bool) {
        self.driftPerMillion = driftPerMillion
        self.clocksJump = clocksJump
    }

    /// Leases that haven't ended, ascending.
    var living: [Int64] { leases.keys.filter { leases[$0]!.endedAt == nil }.sorted() }

    /// The leases granted last, ended or not, ascending.
    func recent(_ count: Int) -> [Int64] { Array(leases.keys.sorted().suffix(count)) }

    /// When the last lease must have ended if nobody renews one: a new leader may grant each its full
    /// time once more, on a clock that runs as slow as clocks may here.
    func lastEnd(newestLeadership: Microseconds) -> Microseconds {
        leases.values.filter { $0.endedAt == nil }.map { lease in
            let time = Microseconds(lease.seconds) * 1_000_000
            return max(lease.renewedAt, lease.openUntil, newestLeadership) + time
                + time / 1_000_000 * (driftPerMillion * 1_000_000 / (1_000_000 - driftPerMillion))
        }.max() ?? 0
    }

    // MARK: - The log

    mutating func granted(
        _ lease: Int64, seconds: Int64, invokedAt: Microseconds, now: Microseconds
    ) {
        leases[lease] = Lease(seconds: seconds, renewedAt: invokedAt, openUntil: now)
    }

    mutating func revoked(_ lease: Int64, now: Microseconds) { leases[lease]?.endedAt = now }

    mutating func expired(_ lease: Int64, now: Microseconds) throws(Violation) {
        guard let known = leases[lease] else { return }
        leases[lease]!.endedAt = now
        let fastest =
            Microseconds(known.seconds) * 1_000_000 * 1_000_000 / (1_000_000 + driftPerMillion)
        guard clocksJump || now + 1_000 >= known.renewedAt + fastest else {
            throw Violation(
                "LeaseOracle",
                """
                lease \(lease) of \(known.seconds) s ended \
                \((now - known.renewedAt) / 1_000) ms after its renewal was sent
                """)
        }
    }

    // MARK: - The clients

    /// Nobody waits for a renewal any more: it was answered, has failed, or was given up.
    mutating func renewalEnded(_ lease: Int64, now: Microseconds) {
        leases[lease]?.openUntil = now
    }

    /// A renewal was answered.
    mutating func renewed(
        _ lease: Int64, seconds: Int64, invokedAt: Microseconds
    ) throws(Violation) {
        guard let known = leases[lease] else {
            guard seconds <= 0 else {
                throw Violation("LeaseOracle", "lease \(lease) was renewed but never granted")
            }
            return
        }
        if seconds <= 0 {
            try checkGone(lease, known)
            return
        }
        if let ended = known.endedAt, ended < invokedAt {
            throw Violation("LeaseOracle", "lease \(lease) was renewed after its end")
        }
        guard seconds == known.seconds else {
            throw Violation(
                "LeaseOracle", "lease \(lease) of \(known.seconds) s was renewed for \(seconds)")
        }
        leases[lease]!.renewedAt = max(known.renewedAt, invokedAt)
    }

    /// A question for the time left was answered.
    func reported(
        _ lease: Int64, secondsLeft: Int64, granted: Int64, invokedAt: Microseconds
    ) throws(Violation) {
        guard let known = leases[lease] else {
            guard secondsLeft == -1 else {
                throw Violation("LeaseOracle", "lease \(lease) was never granted, but has time")
            }
            return
        }
        if secondsLeft == -1 {
            try checkGone(lease, known)
            return
        }
        if let ended = known.endedAt, ended < invokedAt {
            throw Violation("LeaseOracle", "lease \(lease) has time left after its end")
        }
        guard granted == known.seconds else {
            throw Violation(
                "LeaseOracle",
                "lease \(lease) of \(known.seconds) s is reported with \(granted) s granted")
        }
    }

    private func checkGone(_ lease: Int64, _ known: Lease) throws(Violation) {
        guard known.endedAt != nil else {
            throw Violation("LeaseOracle", "lease \(lease) is reported gone while it lives")
        }
    }
}
