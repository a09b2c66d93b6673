import DurableLog
import TestSupport

/// Damage done to logs that were written and synced. The first byte of an input chooses the log;
/// then each five bytes are one blow: kind, segment, two bytes of place, what is written there.
public struct LogDamageTarget: FuzzTarget {
    /// See `FuzzTarget`.
    public let name = "log-damage"
    /// See `FuzzTarget`.
    public let summary = """
        damage to synced bytes of a log: it is reported, or harmless; a batch is lost silently only \
        where no intact batch behind it proves that it was synced
        """

    /// A target for damaged logs.
    public init() {}

    /// See `FuzzTarget`.
    public func seeds() -> [[UInt8]] {
        (0..<UInt8(LogSeeds.all.count)).flatMap { log in
            [[log], [log, 0, 0, 4, 10, 1], [log, 1, 0, 3, 0, 0], [log, 2, 0, 6, 2, 4]]
        }
    }

    /// See `FuzzTarget`.
    public func mutate(_ input: [UInt8], _ mutator: inout Mutator) -> [UInt8] {
        var log = input.first ?? 0
        if mutator.once(in: 4) { log = UInt8(mutator.below(LogSeeds.all.count)) }
        var blows = stride(from: 1, to: input.count, by: 5).map {
            Array(input[$0..<min($0 + 5, input.count)])
        }
        if mutator.once(in: 2) {
            blows.append([UInt8(mutator.below(5)), UInt8(mutator.below(2))] + mutator.bytes(3))
        }
        mutator.rearrange(&blows) { blow, mutator in blow = mutator.damage(blow) }
        return [log] + blows.prefix(24).flatMap { ($0 + [0, 0, 0, 0, 0]).prefix(5) }
    }

    /// See `FuzzTarget`.
    public func run(_ input: [UInt8]) throws(PropertyBreach) -> Behaviour {
        guard let first = input.first else { return Behaviour(isAccepted: false) }
        let log = Self.logs[Int(first) % Self.logs.count]
        var trace = BehaviourTrace()
        var disk = log.disk
        for start in stride(from: 1, to: input.count - 4, by: 5) {
            trace.note(Self.strike(&disk, Array(input[start..<(start + 5)])))
        }
        let recovered: RecoveredLog
        do throws(LogError) {
            recovered = try LogRecovery.open(&disk, identity: LogImage.identity)
        } catch {
            let isDamaged = !log.isUnchanged(&disk)
            try require(isDamaged, "a log without damage can be opened", "\(error)")
            trace.note(LogTarget.kind(error))
            return Behaviour(isAccepted: false, trace)
        }
        try Self.check(LogState(recovered), of: log, &disk)
        trace.note(recovered.tornTail == nil ? "whole" : "torn")
        return Behaviour(isAccepted: true, trace)
    }

    /// What recovery says must be what a prefix of the batches says, and each batch behind the
    /// prefix must be damaged.
    static func check(
        _ state: LogState, of log: WrittenLog, _ disk: inout MemoryDisk
    ) throws(PropertyBreach) {
        let intact = log.intactBatches(&disk)
        guard let last = intact.last(where: \.isIntact) else {
            throw PropertyBreach("a log without an intact batch is refused")
        }
        let needed = log.states[last.position...]
        try require(
            needed.contains(state), "a synced batch is not lost silently",
            "batch \(last.position) of \(intact.count) is intact")
    }

    private static func strike(_ disk: inout MemoryDisk, _ blow: [UInt8]) -> String {
        let file = LogImage.file(Int(blow[1]) % LogImage.maximumSegments)
        guard var bytes = try? disk.bytes(of: file), !bytes.isEmpty else { return "nothing" }
        let place = (Int(blow[2]) << 8 | Int(blow[3])) % bytes.count
        let sector = place / LogImage.sectorBytes * LogImage.sectorBytes
        let sectorEnd = min(bytes.count, sector + LogImage.sectorBytes)
        defer { disk.put(file, bytes) }
        switch blow[0] % 5 {
        case 0:
            bytes[place] ^= max(1, blow[4])
            return "flip"
        case 1:
            for position in sector..<sectorEnd { bytes[position] = 0 }
            return "lost sector"
        case 2:
            let source = Int(blow[4]) % (bytes.count / LogImage.sectorBytes) * LogImage.sectorBytes
            let content = Array(bytes[source..<(source + LogImage.sectorBytes)])
            bytes.replaceSubrange(sector..<(sector + LogImage.sectorBytes), with: content)
            return "misdirected write"
        case 3:
            let source = LogImage.file(Int(blow[4]) % LogImage.maximumSegments)
            if let other = try? disk.bytes(of: source), other.count >= sectorEnd {
                bytes.replaceSubrange(sector..<sectorEnd, with: other[sector..<sectorEnd])
            }
            return "sector of another file"
        default:
            for position in sector..<sectorEnd { bytes[position] = blow[4] &* UInt8(position & 7) }
            return "garbage"
        }
    }

    static let logs = LogSeeds.all.map(WrittenLog.init)
}

/// What a recovered log says, without where it was cut.
struct LogState: Equatable, Sendable {
    let vote: RecordedVote
    let base: LogBase
    let entries: [LogEntry]

    init(_ log: RecoveredLog) {
        vote = log.vote
        base = log.base
        entries = log.entries
    }
}

/// A log as it was written, and what it said after each of its batches.
struct WrittenLog: Sendable {
    let disk: MemoryDisk
    let batches: [LogImage.Batch]
    /// By batch: what a log that ends with it says.
    let states: [LogState]
    private let original: [[UInt8]]

    init(_ image: LogImage) {
        disk = image.disk()
        batches = image.batches()
        original = image.segments
        states = batches.indices.map { last in
            var shorter = image
            for segment in shorter.segments.indices
            where segment > image.batches()[last].segment {
                shorter.segments[segment] = []
            }
            shorter.replace(Array(image.batches()[...last]))
            var disk = shorter.disk()
            guard let log = try? LogRecovery.open(&disk, identity: LogImage.identity) else {
                preconditionFailure("a prefix of a log is a log")
            }
            return LogState(log)
        }
    }

    /// Whether every file still is what was written.
    func isUnchanged(_ disk: inout MemoryDisk) -> Bool {
        var original = self.disk
        for segment in 0..<LogImage.maximumSegments {
            let file = LogImage.file(segment)
            if (try? disk.bytes(of: file)) != (try? original.bytes(of: file)) { return false }
        }
        return true
    }

    /// Which batches stand unchanged at their place.
    func intactBatches(_ disk: inout MemoryDisk) -> [(position: Int, isIntact: Bool)] {
        batches.enumerated().map { position, batch in
            // Behind the checksum there are only zeroes, which nobody reads.
            let range = batch.offset..<(batch.offset + 24 + batch.payload.count + 36)
            let bytes = (try? disk.bytes(of: LogImage.file(batch.segment))) ?? []
            let isIntact =
                bytes.count >= range.upperBound
                && bytes[range] == original[batch.segment][range]
            return (position, isIntact)
        }
    }
}
