import RaftCore

/// The links between members: who can talk, and when a frame arrives.
///
/// A link is directed. Members that can talk both ways hold a connection; it has a number, and
/// what was sent over an older one never arrives.
struct SimulatedNetwork {
    private(set) var weather: Scenario.NetworkWeather
    private var random: RandomStream
    /// Directions that carry nothing, as sender × receiver.
    private var cut: Set<Pair> = []
    private var connections: [Pair: UInt64] = [:]
    private var lastArrival: [Pair: Microseconds] = [:]
    private var nextConnection: UInt64 = 1

    struct Pair: Hashable {
        var from: Int
        var to: Int
        /// The same for both directions.
        var unordered: Pair { from < to ? self : Pair(from: to, to: from) }
    }

    init(weather: Scenario.NetworkWeather, random: RandomStream) {
        self.weather = weather
        self.random = random
    }

    /// Whether anything sent in this direction arrives.
    func carries(from: Int, to: Int) -> Bool { !cut.contains(Pair(from: from, to: to)) }

    func canConnect(_ a: Int, _ b: Int) -> Bool {
        carries(from: a, to: b) && carries(from: b, to: a)
    }

    func connection(_ a: Int, _ b: Int) -> UInt64? {
        connections[Pair(from: a, to: b).unordered]
    }

    mutating func connect(_ a: Int, _ b: Int) {
        connections[Pair(from: a, to: b).unordered] = nextConnection
        nextConnection += 1
    }

    /// True if there was a connection.
    mutating func disconnect(_ a: Int, _ b: Int) -> Bool {
        connections.removeValue(forKey: Pair(from: a, to: b).unordered) != nil
    }

    mutating func cut(from: Int, to: Int) { cut.insert(Pair(from: from, to: to)) }

    mutating func heal(from: Int, to: Int) { cut.remove(Pair(from: from, to: to)) }

    mutating func healAll() { cut.removeAll() }

    /// From now on links only delay.
    mutating func calmDown() {
        weather.lossPermille = 0
        weather.duplicationPermille = 0
        weather.replayPermille = 0
        weather.ficklePermille = 0
    }

    /// When the copies of a frame arrive; none when it is lost.
    ///
    /// - Parameters:
    ///   - kind: the frame's first byte.
    ///   - isConsensus: may be repeated and delayed at will. Other frames are promised to arrive
    ///     once at most, as over a connection.
    mutating func arrivals(
        from: Int, to: Int, kind: UInt8, isConsensus: Bool, now: Microseconds
    ) -> [Microseconds] {
        guard carries(from: from, to: to), !random.chance(weather.lossPermille) else { return [] }
        var arrival = now + delay()
        if weather.fickleKinds.contains(kind), random.chance(weather.ficklePermille) {
            if weather.keepsOrder { return [] }
            arrival += random.draw(0...weather.fickleMicroseconds)
        }
        let pair = Pair(from: from, to: to)
        if weather.keepsOrder {
            arrival = max(arrival, lastArrival[pair] ?? 0)
            lastArrival[pair] = arrival
            return [arrival]
        }
        guard isConsensus else { return [arrival] }
        var arrivals = [arrival]
        if random.chance(weather.duplicationPermille) { arrivals.append(now + delay()) }
        if random.chance(weather.replayPermille) {
            arrivals.append(now + random.draw(UInt64(100_000)...5_000_000))
        }
        return arrivals
    }

    /// Time a frame, or the news of a broken connection, is under way.
    mutating func delay() -> Microseconds {
        let longest = max(weather.maxDelayMicroseconds, weather.minDelayMicroseconds)
        return random.draw(weather.minDelayMicroseconds...longest)
    }
}
