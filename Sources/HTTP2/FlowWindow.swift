/// How much we may still send (RFC 9113 section 6.9). May be negative after the peer has made its
/// initial window smaller.
struct SendWindow: Equatable {
    private(set) var available: Int

    init(_ available: Int) {
        self.available = available
    }

    mutating func spend(_ bytes: Int) {
        precondition(bytes <= available, "sent beyond the peer's window")
        available -= bytes
    }

    /// Adds what the peer grants, or takes back; false when the window would overflow.
    mutating func adjust(by delta: Int) -> Bool {
        guard available + delta <= HTTP2Constant.maximumWindowBytes else { return false }
        available += delta
        return true
    }
}

/// How much the peer may still send us, replenished in batches: one WINDOW_UPDATE for every half
/// window, instead of one per frame.
struct ReceiveWindow: Equatable {
    private let size: Int
    private var available: Int

    init(_ size: Int) {
        self.size = size
        self.available = size
    }

    /// Counts received bytes; false when the peer has sent more than it was granted.
    mutating func receive(_ bytes: Int) -> Bool {
        guard bytes <= available else { return false }
        available -= bytes
        return true
    }

    /// The increment to grant now, or nil. `held` bytes are still in our hands and not granted
    /// again until they are given up.
    mutating func replenish(held: Int = 0) -> Int? {
        let increment = size - available - held
        guard increment * 2 >= size else { return nil }
        available += increment
        return increment
    }
}
