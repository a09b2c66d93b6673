/// Where writing goes on after recovery.
package struct LogTail: Equatable, Sendable {
    package var segment: UInt64
    package var offset: Int
    package var nextBatchNumber: UInt64
    /// Where the last batch begins: everything before is synced for certain.
    var provenSegment: UInt64
    var provenOffset: Int
}

/// What a directory's log says.
public struct RecoveredLog: Sendable {
    /// Term and vote.
    public internal(set) var vote: RecordedVote
    /// What stands before the entries.
    public internal(set) var base: LogBase
    /// The entries behind the base, consecutive.
    public internal(set) var entries: [LogEntry]
    /// An index known to be committed; at most the last entry's.
    public internal(set) var commitIndex: UInt64
    /// Entries up to here are on the platters for certain. Those behind stand in the last batch: if
    /// its sync failed, the system may show it from memory alone, marked clean, until the power
    /// fails ("Can Applications Recover from fsync Failures?", ATC '20).
    public internal(set) var provenIndex: UInt64
    /// Whether the last batch replaced the whole log.
    var lastBatchResets: Bool
    /// What was cut: the file and the offset of a torn batch. Nil after a clean stop.
    public internal(set) var tornTail: String?

    /// Index of the last entry, or of the base.
    public var lastIndex: UInt64 { entries.last?.index ?? base.index }

    package var epoch: UInt64
    package var tail: LogTail
    var locations: BatchIndex
}

/// Reads a log back, telling a torn tail from corruption.
///
/// A batch that doesn't verify is *torn* if no valid frame behind it claims to have been written
/// after it was synced: it was never acknowledged, and is cut off. Otherwise it was synced once
/// and has rotted: the member must not go on as if it hadn't existed ("Protocol-Aware
/// Recovery for Consensus-Based Storage", FAST '18).
public enum LogRecovery {
    /// Makes a new log and then the identity; until the identity is there, a directory counts as
    /// empty, so that a crash on the way leaves nothing to repair.
    public static func initialize(
        _ disk: inout some Disk, identity: DirectoryIdentity, base: LogBase,
        settings: DurableLogSettings
    ) throws(LogError) {
        do throws(DiskError) {
            for file in try disk.list() where SegmentName.number(file) != nil {
                try disk.remove(file)
            }
            var frame = BatchFrame()
            frame.appendState(vote: RecordedVote(term: 0, vote: 0), base: base)
            let header = SegmentHeader(
                number: 1, epoch: 1, identity: identity,
                byteCount: UInt64(settings.segmentByteCount)
            ).encoded()
            let batch = frame.seal(
                seed: LogFormat.seed(segment: 1, directory: identity.directoryID), epoch: 1,
                batchNumber: 1, syncedSegment: 1, syncedOffset: 0, commitIndex: base.index)
            let file = SegmentName.file(1)
            try disk.create(file, byteCount: settings.segmentByteCount)
            try disk.write(file, offset: 0, bytes: header + batch)
            try disk.sync(file)
            try disk.syncDirectory()
        } catch {
            throw .disk(error)
        }
        let recording = DiskOperation(id: 0, lane: .log, steps: identity.recordingSteps())
        if case .failure(let error) = recording.perform(on: &disk).result { throw .disk(error) }
    }

    /// Reads the log of a directory whose identity is known.
    public static func open(
        _ disk: inout some Disk, identity: DirectoryIdentity
    ) throws(LogError) -> RecoveredLog {
        var scan = Scan(identity: identity)
        let numbers = try segmentNumbers(&disk)
        // The same memory for all segments: the system takes as long for new pages as for their
        // content.
        var bytes: [UInt8] = []
        for (position, number) in numbers.enumerated() {
            try read(SegmentName.file(number), into: &bytes, &disk)
            switch try scan.segment(number, bytes: bytes) {
            case .used:
                continue
            case .blank:
                for later in numbers[(position + 1)...] {
                    try read(SegmentName.file(later), into: &bytes, &disk)
                    try scan.expectNothing(in: later, bytes: bytes)
                }
                return try scan.finish()
            }
        }
        return try scan.finish()
    }

    private static func segmentNumbers(_ disk: inout some Disk) throws(LogError) -> [UInt64] {
        let files: [String]
        do throws(DiskError) { files = try disk.list() } catch { throw .disk(error) }
        let numbers = files.compactMap(SegmentName.number).sorted()
        guard let first = numbers.first else {
            throw .missing(
                file: SegmentName.file(1), reason: "the directory has an identity but no log")
        }
        for (position, number) in numbers.enumerated() where number != first &+ UInt64(position) {
            throw .missing(
                file: SegmentName.file(first &+ UInt64(position)),
                reason: "later segments of the log exist")
        }
        return numbers
    }

    private static func read(
        _ file: String, into bytes: inout [UInt8], _ disk: inout some Disk
    ) throws(LogError) {
        do throws(DiskError) {
            let size = try disk.byteCount(of: file) ?? 0
            try disk.read(file, offset: 0, byteCount: size, into: &bytes)
        } catch {
            throw .disk(error)
        }
    }
}

/// Goes through the segments in order and gathers what their records say.
private struct Scan {
    enum SegmentResult {
        case used
        case blank
    }

    let identity: DirectoryIdentity
    private var vote = RecordedVote(term: 0, vote: 0)
    private var base: LogBase?
    private var entries: [LogEntry] = []
    private var commitIndex: UInt64 = 0
    private var epoch: UInt64 = 0
    private var nextBatchNumber: UInt64?
    private var provenIndex: UInt64 = 0
    private var lastBatchResets = false
    private var locations = BatchIndex()
    /// Segments since the last good batch. They hold none, and still go when they are passed: what is
    /// left of a log has no gaps.
    private var passed: [UInt64] = []
    /// Where the last good batch ends.
    private var end: (segment: UInt64, offset: Int) = (0, 0)
    /// What the last good batch says is synced. Usually all before it; if it opened an epoch, and
    /// its own sync failed as well, the batch before it isn't proven either.
    private var proven: (segment: UInt64, offset: Int) = (0, 0)
    /// Where something that didn't verify begins, if nothing good was found behind it so far.
    private var suspect: (segment: UInt64, offset: Int)?
    /// Sectors from the last good batch to the segment at hand.
    private var passedSectors = 0
    private var tornTail: String?

    init(identity: DirectoryIdentity) { self.identity = identity }

    mutating func segment(_ number: UInt64, bytes: [UInt8]) throws(LogError) -> SegmentResult {
        let file = SegmentName.file(number)
        let seed = LogFormat.seed(segment: number, directory: identity.directoryID)
        let header: SegmentHeader
        switch SegmentHeader.parse(bytes) {
        case .blank:
            try expectNoBatch(in: number, bytes: bytes)
            return .blank
        case .otherVersion(let version):
            throw .unsupportedVersion(
                file: file, found: version, supported: LogFormat.version)
        case .invalid:
            try expectNoBatch(in: number, bytes: bytes)
            tornTail = "\(file) at byte 0"
            return .blank
        case .header(let found):
            header = found
            guard header.identity == identity else {
                throw .foreign(
                    file: file, reason: "the segment belongs to another member or directory")
            }
            if header.number < number {
                // It was about to be used again, under a new name.
                try expectNoBatch(in: number, bytes: bytes)
                return .blank
            }
            guard header.number == number, number <= LogFormat.maxNumber else {
                throw .corrupt(
                    file: file, offset: 0, reason: "it says it is segment \(header.number)")
            }
            guard UInt64(bytes.count) == header.byteCount else {
                throw .corrupt(
                    file: file, offset: bytes.count,
                    reason: "it has \(bytes.count) bytes, but was made with \(header.byteCount)")
            }
        }
        passed.append(number)
        var offset = LogFormat.sectorByteCount
        while let next = nextBatch(in: bytes, of: header, from: offset, seed: seed) {
            // The segment before this one ended early only to make room.
            suspect = nil
            passedSectors = 0
            let batch = next.batch
            offset = next.offset
            try take(batch, in: bytes, segment: number, offset: offset)
            let claimed = batch.claimedEnd
            proven = claimed < (number, offset) ? claimed : (number, offset)
            offset += batch.byteCount
            end = (number, offset)
        }
        try noteGarbage(in: number, bytes: bytes, from: offset)
        return .used
    }

    /// The batch at an offset, or one behind it that repeats what stood there.
    private func nextBatch(
        in bytes: [UInt8], of segment: SegmentHeader, from offset: Int, seed: UInt32
    ) -> (batch: BatchFrame.Parsed, offset: Int)? {
        if let batch = BatchFrame.parse(bytes, at: offset, seed: seed), follows(batch) {
            return (batch, offset)
        }
        return firstBatch(in: bytes, from: offset, seed: seed) { repeats($0, in: segment) }
    }

    /// The first batch at the start of a sector, from an offset on, of which a condition holds.
    ///
    /// What a segment's earlier life left there has lower numbers, and isn't summed up. Each batch
    /// takes a sector at least, so none can have a number beyond the sectors that were passed: a
    /// client that stores what looks like the beginnings of batches has to guess numbers that come
    /// up at a restart, and makes that slower at most.
    private func firstBatch(
        in bytes: [UInt8], from first: Int, seed: UInt32,
        where isWanted: (BatchFrame.Parsed) -> Bool
    ) -> (batch: BatchFrame.Parsed, offset: Int)? {
        var sectors = passedSectors
        for offset in stride(from: first, to: bytes.count, by: LogFormat.sectorByteCount) {
            defer { sectors += 1 }
            guard let number = BatchFrame.batchNumber(in: bytes, at: offset) else { continue }
            if let expected = nextBatchNumber,
                number < expected || number - expected > UInt64(sectors)
            {
                continue
            }
            if let batch = BatchFrame.parse(bytes, at: offset, seed: seed), isWanted(batch) {
                return (batch, offset)
            }
        }
        return nil
    }

    private func follows(_ batch: BatchFrame.Parsed) -> Bool {
        guard let expected = nextBatchNumber else { return true }
        return batch.batchNumber == expected && batch.epoch >= epoch
    }

    /// The batch that opens an epoch says again all that was said behind the place it claims as
    /// synced. What never reached the platters there isn't missed.
    private func repeats(_ batch: BatchFrame.Parsed, in segment: SegmentHeader) -> Bool {
        guard let expected = nextBatchNumber else {
            // The segments before this one were removed when nothing was needed of them any more.
            return batch.epoch > segment.epoch && batch.syncedSegment < segment.number
        }
        return batch.batchNumber > expected && batch.epoch > epoch
            && batch.claimedEnd <= end
    }

    /// Behind the last good batch of a segment only a torn batch may stand.
    private mutating func noteGarbage(
        in number: UInt64, bytes: [UInt8], from offset: Int
    ) throws(LogError) {
        suspect = (number, offset)
        try expectNothing(in: number, bytes: bytes, from: offset)
        // What doesn't begin as the next batch would was left by an earlier life of the segment.
        if let found = BatchFrame.batchNumber(in: bytes, at: offset), found == nextBatchNumber {
            tornTail = "\(SegmentName.file(number)) at byte \(offset)"
        }
    }

    /// A header that doesn't verify is torn if the segment is still empty. Any valid frame behind it
    /// proves that it was synced, and has rotted.
    private mutating func expectNoBatch(in number: UInt64, bytes: [UInt8]) throws(LogError) {
        let seed = LogFormat.seed(segment: number, directory: identity.directoryID)
        guard let found = firstBatch(in: bytes, from: 0, seed: seed, where: { _ in true }) else {
            passedSectors += bytes.count / LogFormat.sectorByteCount
            return
        }
        throw .corrupt(
            file: SegmentName.file(number), offset: 0,
            reason: """
                the header there doesn't match its checksum, yet batch \
                \(found.batch.batchNumber) was written after it was synced
                """)
    }

    /// Any valid frame here proves that what came before it was synced, and is damaged.
    mutating func expectNothing(
        in number: UInt64, bytes: [UInt8], from first: Int = 0
    ) throws(LogError) {
        let seed = LogFormat.seed(segment: number, directory: identity.directoryID)
        let found = firstBatch(in: bytes, from: first, seed: seed) {
            $0.epoch >= epoch && claims($0)
        }
        guard let found else {
            passedSectors += (bytes.count - first) / LogFormat.sectorByteCount
            return
        }
        let place = suspect ?? (number, first)
        throw .corrupt(
            file: SegmentName.file(place.segment), offset: place.offset,
            reason: """
                the batch there doesn't match its checksum, yet batch \(found.batch.batchNumber) \
                in \(SegmentName.file(number)) was written after it was synced
                """)
    }

    /// Whether the frame was written when everything before the suspect place was synced.
    private func claims(_ batch: BatchFrame.Parsed) -> Bool {
        (batch.syncedSegment, batch.syncedOffset) > (end.segment, UInt64(end.offset))
    }

    private mutating func take(
        _ batch: BatchFrame.Parsed, in bytes: [UInt8], segment: UInt64, offset: Int
    ) throws(LogError) {
        let file = SegmentName.file(segment)
        guard let records = try? batch.records(in: bytes),
            max(batch.batchNumber, batch.epoch) <= LogFormat.maxNumber,
            records.allSatisfy({ $0.largestNumber <= LogFormat.maxNumber })
        else {
            throw .corrupt(file: file, offset: offset, reason: "a record in it makes no sense")
        }
        var range: ClosedRange<UInt64>?
        var highestEntry: UInt64 = 0
        provenIndex = entries.last?.index ?? base?.index ?? 0
        lastBatchResets = false
        for record in records {
            switch record {
            case .vote(let recorded):
                guard recorded.term >= vote.term else {
                    throw .corrupt(
                        file: file, offset: offset,
                        reason: "term \(recorded.term) follows term \(vote.term)")
                }
                vote = recorded
            case .truncation(let index):
                provenIndex = min(provenIndex, index)
                while let last = entries.last, last.index > index { entries.removeLast() }
                locations.truncate(to: index)
                range = range.flatMap { $0.lowerBound > index ? nil : $0.clamped(to: 0...index) }
            case .entry(let entry):
                guard entry.index > 0 else {
                    throw .corrupt(file: file, offset: offset, reason: "an entry has no index")
                }
                if let last = entries.last, entry.index != last.index + 1 {
                    throw .corrupt(
                        file: file, offset: offset,
                        reason: "entry \(entry.index) follows entry \(last.index)")
                }
                entries.append(entry)
                highestEntry = max(highestEntry, entry.index)
                range = (range?.lowerBound ?? entry.index)...entry.index
            case .compaction(let newBase):
                if newBase.index >= base?.index ?? 0 { base = newBase }
                dropEntries(through: newBase.index)
            case .reset(let newBase):
                lastBatchResets = true
                provenIndex = newBase.index
                base = newBase
                entries.removeAll()
                locations.removeAll()
                locations.noteWrittenReset()
                highestEntry = 0
                range = nil
            }
        }
        if let range {
            locations.add(
                BatchLocation(
                    segment: segment, offset: offset, byteCount: batch.byteCount, entries: range))
        }
        for number in passed { locations.noteWrite(segment: number, highestEntry: 0) }
        passed.removeAll()
        locations.noteWrite(segment: segment, highestEntry: highestEntry)
        commitIndex = max(commitIndex, batch.commitIndex)
        epoch = batch.epoch
        nextBatchNumber = batch.batchNumber + 1
    }

    private mutating func dropEntries(through index: UInt64) {
        let kept = entries.firstIndex { $0.index > index } ?? entries.count
        if kept > 0 { entries.removeFirst(kept) }
    }

    func finish() throws(LogError) -> RecoveredLog {
        guard let base, let nextBatchNumber else {
            throw .corrupt(
                file: SegmentName.file(1), offset: 0,
                reason: "the log's first segment holds no batch")
        }
        if let first = entries.first, first.index != base.index + 1 {
            throw .corrupt(
                file: SegmentName.file(end.segment), offset: 0,
                reason: "the log begins at entry \(first.index), its base is \(base.index)")
        }
        let tail = LogTail(
            segment: end.segment, offset: end.offset, nextBatchNumber: nextBatchNumber,
            provenSegment: proven.segment, provenOffset: proven.offset)
        return RecoveredLog(
            vote: vote, base: base, entries: entries,
            commitIndex: min(commitIndex, entries.last?.index ?? base.index),
            provenIndex: max(provenIndex, base.index), lastBatchResets: lastBatchResets,
            tornTail: tornTail, epoch: epoch, tail: tail, locations: locations)
    }
}
