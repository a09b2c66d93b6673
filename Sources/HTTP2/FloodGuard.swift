/// Counts what a peer may do only so often: a bucket that refills with time.
struct FloodGuard {
    private let burst: Int
    private let perSecond: Int
    private var tokens: Int
    private var refilledAtNanoseconds: UInt64?

    init(burst: Int, perSecond: Int) {
        self.burst = burst
        self.perSecond = perSecond
        self.tokens = burst
    }

    /// Adds what has come in since the last refill. Time that yields no whole token is kept.
    mutating func refill(nowNanoseconds: UInt64) {
        guard let last = refilledAtNanoseconds, nowNanoseconds > last else {
            refilledAtNanoseconds = refilledAtNanoseconds ?? nowNanoseconds
            return
        }
        guard perSecond > 0 else { return }
        let nanosecondsPerToken = max(1, UInt64(1_000_000_000 / perSecond))
        let earned = (nowNanoseconds - last) / nanosecondsPerToken
        tokens = min(burst, tokens + Int(clamping: min(earned, UInt64(burst))))
        refilledAtNanoseconds = last + earned * nanosecondsPerToken
    }

    /// Allows one more.
    mutating func credit() {
        if tokens < burst { tokens += 1 }
    }

    /// Takes one; false when there is none left.
    mutating func take() -> Bool {
        guard tokens > 0 else { return false }
        tokens -= 1
        return true
    }
}
