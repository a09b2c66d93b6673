import TestSupport

/// Makes and runs the cases of one target.
public struct Fuzzer {
    /// The surface.
    public let target: any FuzzTarget
    /// The seed of every case.
    public let seed: UInt64
    /// Cases made so far.
    public private(set) var caseCount = 0
    /// How many of the cases run the target took for valid.
    public private(set) var acceptedCount = 0
    /// Inputs to start from: seeds, corpus, and inputs that led to something new.
    private var pool: [[UInt8]]
    private let startCount: Int
    private var features: Set<UInt64> = []
    private var nextKept = 0

    /// Kept inputs that led to something new; later ones replace older ones.
    static let maximumKept = 2_048

    /// A fuzzer that starts from the target's own seeds and a corpus, whose order counts.
    public init(_ target: any FuzzTarget, seed: UInt64, corpus: [[UInt8]] = []) {
        self.target = target
        self.seed = seed
        pool = target.seeds() + corpus
        startCount = pool.count
    }

    /// Features of behaviour seen so far.
    public var featureCount: Int { features.count }

    /// Inputs kept because they led to something new.
    public var kept: ArraySlice<[UInt8]> { pool[startCount...] }

    /// Makes the next case: first what the fuzzer started from, as it is, then damaged inputs.
    public mutating func nextCase() -> [UInt8] {
        defer { caseCount += 1 }
        guard caseCount >= startCount else { return pool[caseCount] }
        let caseSeed = seed &+ UInt64(caseCount) &* 0x9e37_79b9_7f4a_7c15
        var mutator = Mutator(seed: caseSeed, pool: pool, tokens: target.tokens)
        // What was kept last is nearest to what nobody has seen.
        let isRecent = pool.count > startCount && mutator.once(in: 3)
        let base =
            isRecent ? pool[pool.count - 1 - mutator.below(min(32, kept.count))] : mutator.other()
        return target.mutate(base, &mutator)
    }

    /// Runs a case and learns from what it led to.
    public mutating func run(_ input: [UInt8]) throws(PropertyBreach) {
        let behaviour = try target.run(input)
        if behaviour.isAccepted { acceptedCount += 1 }
        guard !behaviour.trace.features.isSubset(of: features) else { return }
        features.formUnion(behaviour.trace.features)
        guard caseCount > startCount else { return }
        if kept.count < Self.maximumKept {
            pool.append(input)
        } else {
            pool[startCount + nextKept] = input
            nextKept = (nextKept + 1) % Self.maximumKept
        }
    }

    /// Makes and runs cases until `count` are done; `before` hears of each before it runs.
    ///
    /// - Throws: the first breach, with the case.
    public mutating func run(
        cases count: Int, before: (Int, [UInt8]) -> Void = { _, _ in }
    ) throws(FuzzFailure) {
        while caseCount < count {
            let number = caseCount
            let input = nextCase()
            before(number, input)
            do throws(PropertyBreach) {
                try run(input)
            } catch {
                throw FuzzFailure(
                    target: target.name, seed: seed, number: number, input: input, breach: error)
            }
        }
    }
}

/// A case in which a property didn't hold.
public struct FuzzFailure: Error, CustomStringConvertible {
    /// The target's name.
    public let target: String
    /// The fuzzer's seed.
    public let seed: UInt64
    /// The case's number under that seed.
    public let number: Int
    /// The case.
    public let input: [UInt8]
    /// What didn't hold.
    public let breach: PropertyBreach

    /// What is needed to repeat it.
    public var description: String {
        "\(target), seed \(seed), case \(number): \(breach); input \(hexadecimal(input))"
    }
}

/// Two digits a byte.
public func hexadecimal(_ bytes: [UInt8]) -> String {
    let digits = Array("0123456789abcdef".utf8)
    return String(
        decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
}
