//  Fuzzing: hostile bytes against every decoder that bytes from outside reach.
//
//  A `FuzzTarget` is one surface: it knows inputs that make sense, how to damage them so that what
//  stands behind a length or a checksum is still reached, and what must hold whatever the bytes
//  are. `Fuzzer` makes cases of it: the same target, corpus and seed give the same cases on every
//  machine. The tests run a bounded number of them; `kvfuzz` runs as many as it is told to.
//
//  What it promises
//  - A case is a byte string and nothing else: time, piece sizes and answers are derived from it,
//    so a file is all that a find needs to be repeated.
//  - The code under test is the production code, unchanged.
//
//  What it doesn't do
//  - It doesn't catch traps: they end the process. `kvfuzz` therefore runs the cases in a child
//    process which notes each case before it runs it.
//  - It doesn't measure code coverage. Instead each target tells what a case led to, and inputs
//    that led to something new are kept to be damaged further.

/// One surface that bytes from outside reach.
public protocol FuzzTarget: Sendable {
    /// Names the target on the command line and its folder in the corpus.
    var name: String { get }
    /// What is fuzzed and what must hold, in a line or two.
    var summary: String { get }
    /// Byte strings that come up in the format, for splicing in.
    var tokens: [[UInt8]] { get }
    /// Inputs made by our own encoders and by real exchanges.
    func seeds() -> [[UInt8]]
    /// A damaged version of an input that keeps as much of the format as it likes.
    func mutate(_ input: [UInt8], _ mutator: inout Mutator) -> [UInt8]
    /// Runs the code under test on an input and checks what must hold.
    ///
    /// - Throws: the property that doesn't hold.
    func run(_ input: [UInt8]) throws(PropertyBreach) -> Behaviour
}

extension FuzzTarget {
    /// None.
    public var tokens: [[UInt8]] { [] }

    /// Bytes without structure.
    public func mutate(_ input: [UInt8], _ mutator: inout Mutator) -> [UInt8] {
        mutator.damage(input)
    }
}

/// Something that must hold and did not.
public struct PropertyBreach: Error, Equatable, CustomStringConvertible {
    /// What should have held.
    public let property: String
    /// What was seen instead.
    public let seen: String

    /// A breach from what should have held and what was seen.
    public init(_ property: String, seen: String = "") {
        self.property = property
        self.seen = seen
    }

    /// Both in one line.
    public var description: String { seen.isEmpty ? property : "\(property): \(seen)" }
}

/// Fails unless the condition holds.
public func require(
    _ condition: Bool, _ property: @autoclosure () -> String, _ seen: @autoclosure () -> String = ""
) throws(PropertyBreach) {
    guard condition else { throw PropertyBreach(property(), seen: seen()) }
}

/// What a case led to, as far as it tells cases apart.
public struct Behaviour: Equatable, Sendable {
    /// Whether the input was taken for valid.
    public var isAccepted: Bool
    /// The kinds of things that happened.
    public var trace: BehaviourTrace

    /// A behaviour in which what `trace` gathered happened.
    public init(isAccepted: Bool, _ trace: BehaviourTrace = BehaviourTrace()) {
        self.isAccepted = isAccepted
        self.trace = trace
    }
}

/// Gathers the kinds of things that happened: each, each behind which other, and how often by
/// magnitude. A case that shows one nobody has seen is worth keeping.
public struct BehaviourTrace: Equatable, Sendable {
    private var counts: [String: Int] = [:]
    private var last: UInt64 = 0
    private(set) var features: Set<UInt64> = []

    /// Nothing happened yet.
    public init() {}

    /// Notes that something of this kind happened: the kind of an event or error, never contents.
    public mutating func note(_ kind: String) {
        let count = counts[kind, default: 0] + 1
        counts[kind] = count
        let hash = stableHash(kind)
        features.insert(last &* 31 ^ hash)
        // The first, second, fourth and so on are news; each is a feature of its own.
        if count & (count - 1) == 0 {
            features.insert(hash &+ UInt64(count) &* 0x9e37_79b9_7f4a_7c15)
        }
        last = hash
    }
}

/// FNV-1a: unlike `Hasher` the same on every run.
public func stableHash(_ text: String) -> UInt64 {
    stableHash(Array(text.utf8))
}

/// FNV-1a: unlike `Hasher` the same on every run.
public func stableHash(_ bytes: [UInt8]) -> UInt64 {
    bytes.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01b3 }
}
