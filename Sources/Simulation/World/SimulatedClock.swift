import RaftCore

/// A member's monotonic clock: it runs a little fast or slow, and may jump ahead.
struct SimulatedClock {
    private var anchorTrue: Microseconds
    private var anchorLocal: Microseconds
    private let partsPerMillion: Int64

    init(partsPerMillion: Int64, now: Microseconds) {
        self.partsPerMillion = partsPerMillion
        self.anchorTrue = now
        self.anchorLocal = now
    }

    func local(at time: Microseconds) -> Microseconds {
        let passed = Int64(time - anchorTrue)
        return anchorLocal + UInt64(passed + passed * partsPerMillion / 1_000_000)
    }

    /// The first moment of true time at which the clock shows `local` or more.
    func time(ofLocal local: Microseconds) -> Microseconds {
        guard local > anchorLocal else { return anchorTrue }
        guard local < .max / 2 else { return .max }
        let wanted = Int64(local - anchorLocal)
        var time = anchorTrue + UInt64(wanted * 1_000_000 / (1_000_000 + partsPerMillion))
        while self.local(at: time) < local { time += 1 }
        return time
    }

    mutating func jump(ahead: Microseconds, now: Microseconds) {
        anchorLocal = local(at: now) + ahead
        anchorTrue = now
    }
}
