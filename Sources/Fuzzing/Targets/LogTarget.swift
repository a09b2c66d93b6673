import DurableLog
import KVCore
import RaftCore
import Replica
import TestSupport

/// A log directory with any content; an input is a `LogImage`.
public struct LogTarget: FuzzTarget {
    /// See `FuzzTarget`.
    public let name = "log"
    /// See `FuzzTarget`.
    public let summary = """
        recovery of a log with any content, checksums put right: an error that says what is wrong, \
        or a log that makes sense, can be continued, and comes back the same
        """

    /// A target for log files.
    public init() {}

    /// See `FuzzTarget`.
    public func seeds() -> [[UInt8]] { LogSeeds.all.map(\.bytes) }

    /// See `FuzzTarget`.
    public func mutate(_ input: [UInt8], _ mutator: inout Mutator) -> [UInt8] {
        var image = LogImage(input)
        guard !mutator.once(in: 4), !image.segments.isEmpty else { return mutator.damage(input) }
        if mutator.once(in: 8) {
            let segment = mutator.below(image.segments.count)
            var header = image.segments[segment].prefixArray(68)
            header = mutator.damage(header).prefixArray(68)
            image.segments[segment].replaceSubrange(
                0..<min(header.count, image.segments[segment].count), with: header)
            image.sealHeader(segment)
            return image.bytes
        }
        var batches = image.batches()
        let donor = mutator.other()
        mutator.rearrange(&batches, from: LogImage(donor).batches()) { batch, mutator in
            Self.change(&batch, &mutator)
        }
        if mutator.once(in: 2) {
            for position in batches.indices where position > 0 {
                batches[position].number = batches[position - 1].number &+ 1
            }
        }
        image.replace(batches)
        return image.bytes
    }

    private static func change(_ batch: inout LogImage.Batch, _ mutator: inout Mutator) {
        switch mutator.below(10) {
        case 0: batch.number = mutator.number()
        case 1: batch.epoch = mutator.number()
        case 2: batch.syncedSegment = mutator.number()
        case 3: batch.syncedOffset = mutator.number()
        case 4: batch.commitIndex = mutator.number()
        case 5: batch.segment = mutator.below(LogImage.maximumSegments)
        case 6 where batch.payload.count >= 9:
            // The first number of the first record: an index or a term.
            var number: [UInt8] = []
            number.put(mutator.number())
            batch.payload.replaceSubrange(1..<9, with: number)
        default: batch.payload = mutator.damage(batch.payload).prefixArray(4_000)
        }
    }

    /// See `FuzzTarget`.
    public func run(_ input: [UInt8]) throws(PropertyBreach) -> Behaviour {
        var trace = BehaviourTrace()
        let image = LogImage(input)
        var disk = image.disk()
        let calls = disk.callCount
        let recovered: RecoveredLog
        do throws(LogError) {
            recovered = try LogRecovery.open(&disk, identity: LogImage.identity)
        } catch {
            try require(disk.callCount == calls, "reading changes nothing")
            trace.note(Self.kind(error))
            return Behaviour(isAccepted: false, trace)
        }
        try require(disk.callCount == calls, "reading changes nothing")
        try Self.checkSense(recovered)
        trace.note(recovered.tornTail == nil ? "whole" : "torn")
        trace.note(recovered.entries.isEmpty ? "empty" : "entries")
        let tail = recovered.tail
        let largest = max(recovered.lastIndex, tail.nextBatchNumber, recovered.epoch)
        // A log at the end of all numbers can be read, but not continued.
        if largest < 1 << 62, !image.hasBatch(behind: Int(tail.segment) - 1, tail.offset) {
            try Self.checkContinuation(recovered, disk)
        }
        try Self.startReplica(disk, &trace)
        return Behaviour(isAccepted: true, trace)
    }

    static func kind(_ error: LogError) -> String {
        switch error {
        case .disk: "disk"
        case .corrupt(_, _, let reason):
            "corrupt " + reason.filter { !$0.isNumber }.prefix(24)
        case .missing: "missing"
        case .foreign: "foreign"
        case .unsupportedVersion: "version"
        }
    }

    static func checkSense(_ log: RecoveredLog) throws(PropertyBreach) {
        var last = log.base.index
        for entry in log.entries {
            try require(
                last < .max && entry.index == last + 1, "entries are consecutive",
                "\(entry.index) after \(last)")
            last = entry.index
        }
        try require(log.commitIndex <= log.lastIndex, "what is committed is there")
    }

    /// What is written behind a recovered log comes back together with it.
    static func checkContinuation(
        _ recovered: RecoveredLog, _ disk: MemoryDisk
    ) throws(PropertyBreach) {
        var writer = LogWriter(opening: disk, recovered)
        let new = LogEntry(
            index: recovered.lastIndex + 1, term: recovered.vote.term, bytes: [1, 2, 3])
        writer.append(.init(entries: [new]), token: 1, commitIndex: recovered.commitIndex)
        // A file of the name of the next segment may stand in the way; that is no silent loss.
        guard writer.failure == nil else { return }
        try require(writer.durable == 1, "an append to a recovered log completes")
        let again: RecoveredLog
        do throws(LogError) {
            again = try LogRecovery.open(&writer.disk, identity: LogImage.identity)
        } catch {
            throw PropertyBreach("a continued log can be opened", seen: "\(error)")
        }
        try require(again.entries == recovered.entries + [new], "a continued log keeps its entries")
        try require(
            again.vote == recovered.vote && again.base == recovered.base,
            "a continued log keeps its vote and base")
    }

    /// A member either starts from the directory or says why not.
    private static func startReplica(
        _ disk: MemoryDisk, _ trace: inout BehaviourTrace
    ) throws(PropertyBreach) {
        var disk = disk
        let recovered: RecoveredReplica
        do throws(LogError) {
            recovered = try RecoveredReplica.open(
                &disk, identity: LogImage.identity, limits: StoreLimits())
        } catch {
            trace.note("no member: " + kind(error))
            return
        }
        var driver = ReplicaDriver(recovered, disk: disk, settings: ReplicaDriver.smallSettings)
        driver.handle(.start)
        for _ in 0..<6 { driver.fireTimer() }
        trace.note(driver.failure == nil ? "member runs" : "member stops")
    }
}
