//  DurableLog: the member's log and snapshots on disk, as a state machine.
//
//  `DurableLog` decides what is written where and what a completed write proves; it performs no
//  I/O. It yields `DiskOperation`s, which a thread (or a simulated disk) carries out blindly, and
//  takes their completions. `LogRecovery` reads a directory back when a member starts.
//
//  What it promises
//  - A token completes only when its records, and all before them, are on the platters.
//  - One stream holds entries, term and vote, truncations and the log's base, in the order they
//    were decided; a prefix of the stream is what survives a crash.
//  - At most one batch is unsynced at any time, and a sector that was synced isn't rewritten before
//    nothing needs its segment. So a torn tail can be told from corruption: a tear has no valid
//    frame behind it.
//  - Any error of a write or a sync ends the log for good: after a failed `fsync` the kernel may
//    have dropped the data and marked the pages clean.
//
//  What it doesn't do
//  - It doesn't know what entries mean; their bytes and the configuration are opaque.
//  - It doesn't clear a segment that is used again: what an earlier life left there has lower
//    numbers and another checksum, see `LogRecovery`.
//
//  docs/storage-format.md describes every byte.

/// How the log uses its disk.
public struct DurableLogSettings: Equatable, Sendable {
    /// Size of a segment file, fixed when it is created.
    public var segmentByteCount = 16 << 20
    /// Size beyond which a batch takes no further record. A larger one keeps the disk from others: with
    /// 256 KiB the longest put beside a follower that catches up is half as long as with 4 MiB, and a
    /// bulk load takes a tenth longer.
    public var maxBatchPayloadBytes = 256 << 10
    /// How many segments that nothing needs any more are kept to become the next ones: as many as
    /// usually lie between two snapshots. A restart reads them, for it can't know that they are empty.
    public var maxReadySegments = 4

    /// The defaults.
    public init() {}
}

/// A position in the log with the opaque configuration in force there.
public struct LogBase: Equatable, Sendable {
    /// Index of the last entry that the base replaces.
    public var index: UInt64
    /// Term of that entry.
    public var term: UInt64
    /// Hash chain up to it.
    public var chain: UInt64
    /// The cluster's configuration at that point, encoded by the owner.
    public var configuration: [UInt8]

    /// Creates a base.
    public init(index: UInt64, term: UInt64, chain: UInt64, configuration: [UInt8]) {
        self.index = index
        self.term = term
        self.chain = chain
        self.configuration = configuration
    }
}

/// An entry on its way to or from the disk.
public struct LogEntry: Equatable, Sendable {
    /// Its position in the log.
    public var index: UInt64
    /// Its term.
    public var term: UInt64
    /// Its content.
    public var bytes: [UInt8]

    /// Creates an entry.
    public init(index: UInt64, term: UInt64, bytes: [UInt8]) {
        self.index = index
        self.term = term
        self.bytes = bytes
    }
}

/// Term and vote as recorded.
public struct RecordedVote: Equatable, Sendable {
    /// The latest term seen.
    public var term: UInt64
    /// Whom the member voted for in it; zero for nobody.
    public var vote: UInt64

    /// Creates a record.
    public init(term: UInt64, vote: UInt64) {
        self.term = term
        self.vote = vote
    }
}

/// What the log wants its owner to do or to know.
public enum LogOutput: Equatable, Sendable {
    /// Carry this out and report `completed`.
    case perform(DiskOperation)
    /// The append with this token and all before it are on disk.
    case durable(token: UInt64)
    /// The entries asked for by `read`.
    case entries(request: UInt64, [LogEntry])
    /// The entries asked for can't be had (they were compacted meanwhile).
    case entriesGone(request: UInt64)
    /// The log is at its end; the member must stop.
    case failed(LogError)
}

/// The log of one member while it runs.
public struct DurableLog: ~Copyable {
    private enum Purpose {
        case batch(removableThrough: UInt64?)
        case prepareSegment(number: UInt64)
        case removeSegments
        case read(request: UInt64, range: ClosedRange<UInt64>, expected: [BatchLocation])
    }
    private struct OpenBatch {
        var frame: BatchFrame
        var tokens: [UInt64] = []
        var entries: ClosedRange<UInt64>?
        /// Of all that it writes, also what was truncated meanwhile.
        var highestEntry: UInt64 = 0
        var resets = false
        var removableThrough: UInt64?
        /// Term and vote, and the base, once this batch is written; nil where it changes nothing.
        var vote: RecordedVote?
        var base: LogBase?
        /// What was known to be committed when its last record was queued. A later value may
        /// speak of entries that a later batch has yet to put in place of this one's.
        var commitIndex: UInt64 = 0

        // Here, so that the batch is changed where it stands: read and written by parts in a queue
        // it is copied for each entry.
        mutating func append(_ entry: borrowing LogEntry) {
            frame.append(entry: entry)
            let first = entries?.lowerBound ?? entry.index
            entries = min(first, entry.index)...entry.index
            highestEntry = max(highestEntry, entry.index)
        }
    }

    private static var maxExpectedBatchByteCount: Int { 256 << 10 }

    private let settings: DurableLogSettings
    private let identity: DirectoryIdentity
    private let epoch: UInt64
    /// As of the last append.
    private var vote: RecordedVote
    private var base: LogBase
    /// As of the last batch handed to the disk: what a new segment begins with. Records still
    /// queued must not show there before their turn.
    private var writtenVote: RecordedVote
    private var writtenBase: LogBase
    private var queue: [OpenBatch] = []
    private var commitIndex: UInt64 = 0

    private var segment: UInt64 {
        didSet {
            segmentFile = SegmentName.file(segment)
            segmentSeed = seed(segment)
        }
    }
    // Of that segment, for each batch in it.
    private var segmentFile: String
    private var segmentSeed: UInt32
    private var offset: Int
    /// What the next batch says is synced: everything before it, or, in the first one after a
    /// restart, everything before the batch that it says again.
    private var previousEnd: (segment: UInt64, offset: Int)
    /// Prepared and not yet begun, ascending.
    private var ready: [UInt64] = []
    private var isPreparingSegment = false
    /// Nothing needs them any more; they become the next ones. Ascending, and below all others.
    private var spares: [UInt64] = []
    /// Segments from here on were begun by this run; they have the size that its settings say.
    private let firstOwnSegment: UInt64
    private var nextBatchNumber: UInt64
    private var locations: BatchIndex

    private var inFlight: [UInt64: Purpose] = [:]
    private var isWriting = false
    private var writingTokens: [UInt64] = []
    private var hasUnmarkedBatch = false
    /// Batches resemble the one before; what grows step by step is copied at each.
    private var expectedBatchByteCount = 0
    private var nextOperationID: UInt64 = 1
    private var failure: LogError?
    /// By its case: to compare an error with nil copies it.
    private var hasFailed: Bool { if case .some = failure { true } else { false } }
    private var outputs: [LogOutput] = []

    /// Continues a recovered log. The first batch opens a new epoch, so nothing a torn tail left
    /// behind can be mistaken for what is written from now on. It says again what the last batch
    /// says, whose sync may have failed; until it is on disk, nothing behind
    /// `RecoveredLog.provenIndex` may be relied upon.
    ///
    /// - Parameter token: completes with that first batch.
    public init(
        continuing recovered: RecoveredLog, identity: DirectoryIdentity,
        settings: DurableLogSettings, token: UInt64? = nil
    ) {
        self.settings = settings
        self.identity = identity
        self.epoch = recovered.epoch + 1
        self.vote = recovered.vote
        self.base = recovered.base
        self.writtenVote = recovered.vote
        self.writtenBase = recovered.base
        self.commitIndex = recovered.commitIndex
        self.segment = recovered.tail.segment
        self.segmentFile = SegmentName.file(recovered.tail.segment)
        self.segmentSeed = LogFormat.seed(
            segment: recovered.tail.segment, directory: identity.directoryID)
        self.firstOwnSegment = recovered.tail.segment + 1
        self.offset = recovered.tail.offset
        self.previousEnd = (recovered.tail.provenSegment, recovered.tail.provenOffset)
        self.nextBatchNumber = recovered.tail.nextBatchNumber
        self.locations = recovered.locations
        queue.append(OpenBatch(frame: BatchFrame()))
        repeatLastBatch(recovered)
        queue[0].tokens = token.map { [$0] } ?? []
    }

    /// In one batch, whatever its size: a crash between two could take away what was acknowledged.
    private mutating func repeatLastBatch(_ recovered: RecoveredLog) {
        if recovered.lastBatchResets {
            queue[0].frame.append(vote: vote)
            queue[0].frame.append(reset: base)
            queue[0].resets = true
        } else {
            queue[0].frame.appendState(vote: vote, base: base)
            queue[0].frame.append(truncation: recovered.provenIndex)
        }
        queue[0].vote = vote
        queue[0].base = base
        queue[0].commitIndex = recovered.commitIndex
        locations.truncate(to: recovered.provenIndex)
        guard recovered.provenIndex < recovered.lastIndex else { return }
        for entry in recovered.entries where entry.index > recovered.provenIndex {
            queue[0].frame.append(entry: entry)
        }
        queue[0].highestEntry = recovered.lastIndex
        queue[0].entries = recovered.provenIndex + 1...recovered.lastIndex
    }

    /// Bytes accepted but not yet known to be on disk.
    public var unsyncedByteCount: Int { queue.reduce(0) { $0 + $1.frame.byteCount } }

    /// Whether nothing is under way.
    public var isIdle: Bool { queue.isEmpty && !isWriting }

    /// Whether an idle marker would protect the last batch (see `writeMarker`).
    public var wantsMarker: Bool { hasUnmarkedBatch && isIdle }

    // MARK: - Appending

    /// Records to append as one unit; all may be absent, which makes a barrier.
    public struct Append: Sendable {
        /// Term and vote from now on.
        public var vote: RecordedVote?
        /// A snapshot that replaces the whole log; its file is durable already.
        public var reset: LogBase?
        /// Entries behind this index no longer exist.
        public var truncation: UInt64?
        /// New entries, consecutive.
        public var entries: [LogEntry]

        /// Creates an append.
        public init(
            vote: RecordedVote? = nil, reset: LogBase? = nil, truncation: UInt64? = nil,
            entries: [LogEntry] = []
        ) {
            self.vote = vote
            self.reset = reset
            self.truncation = truncation
            self.entries = entries
        }
    }

    /// Queues records; `durable(token)` follows when they are on disk.
    ///
    /// - Parameter commitIndex: recorded beside them, so that a restart knows what it may apply.
    public mutating func append(_ append: Append, token: UInt64, commitIndex: UInt64) {
        guard !hasFailed else { return }
        self.commitIndex = max(self.commitIndex, commitIndex)
        if let newVote = append.vote {
            precondition(newVote.term >= vote.term, "a recorded term never decreases")
            vote = newVote
            openBatchIfNeeded()
            queue[queue.count - 1].frame.append(vote: newVote)
            queue[queue.count - 1].vote = newVote
        }
        if let reset = append.reset {
            base = reset
            locations.removeAll()
            openBatchIfNeeded()
            queue[queue.count - 1].frame.append(reset: reset)
            for position in queue.indices { queue[position].entries = nil }
            queue[queue.count - 1].base = reset
            queue[queue.count - 1].resets = true
            queue[queue.count - 1].highestEntry = 0
            queue[queue.count - 1].removableThrough = reset.index
        }
        if let truncation = append.truncation { truncate(to: truncation) }
        for entry in append.entries { self.append(entry) }
        if !queue.isEmpty { queue[queue.count - 1].commitIndex = self.commitIndex }
        finishAppend(token: token)
    }

    /// Moves the log's base forward; segments that lie wholly before it are removed once that is
    /// recorded. A durable snapshot must cover the entries.
    public mutating func compact(to newBase: LogBase) {
        guard !hasFailed, newBase.index > base.index else { return }
        base = newBase
        openBatchIfNeeded()
        queue[queue.count - 1].frame.append(compaction: newBase)
        queue[queue.count - 1].base = newBase
        queue[queue.count - 1].removableThrough = newBase.index
    }

    /// Writes an empty batch behind the last one. It claims the last batch as synced, so that later
    /// rot in that batch can't be taken for a torn write. To be called when the log has been idle.
    public mutating func writeMarker() {
        guard !hasFailed, wantsMarker else { return }
        hasUnmarkedBatch = false
        queue.append(OpenBatch(frame: BatchFrame()))
    }

    private mutating func openBatchIfNeeded() {
        // Not `queue.last`, which would copy the batch.
        if let last = queue.indices.last,
            queue[last].frame.payloadByteCount < settings.maxBatchPayloadBytes
        {
            return
        }
        queue.append(OpenBatch(frame: BatchFrame(expectedByteCount: expectedBatchByteCount)))
    }

    private mutating func truncate(to index: UInt64) {
        locations.truncate(to: index)
        for position in queue.indices {
            guard let entries = queue[position].entries else { continue }
            queue[position].entries =
                entries.lowerBound > index
                ? nil : entries.lowerBound...min(entries.upperBound, index)
        }
        openBatchIfNeeded()
        queue[queue.count - 1].frame.append(truncation: index)
    }

    private mutating func append(_ entry: borrowing LogEntry) {
        openBatchIfNeeded()
        queue[queue.count - 1].append(entry)
    }

    private mutating func finishAppend(token: UInt64) {
        if let last = queue.indices.last {
            queue[last].tokens.append(token)
        } else if isWriting {
            writingTokens.append(token)  // A barrier: the write under way is the last before it.
        } else {
            outputs.append(.durable(token: token))
        }
    }

    // MARK: - Reading back

    /// Asks for entries that are no longer in memory. Only durable ones may be asked for.
    public mutating func read(_ range: ClosedRange<UInt64>, request: UInt64) {
        guard let found = locations.covering(range) else {
            outputs.append(.entriesGone(request: request))
            return
        }
        let steps = found.map { location in
            DiskStep.read(
                file: SegmentName.file(location.segment), offset: location.offset,
                byteCount: location.byteCount)
        }
        begin(
            steps, lane: .background,
            purpose: .read(request: request, range: range, expected: found))
    }

    // MARK: - Operations

    /// Takes out what the log wants done since the last call.
    public mutating func drain(into sink: inout [LogOutput]) {
        prepareSegmentIfNeeded()
        startWriting()
        guard !outputs.isEmpty else { return }
        sink.append(contentsOf: outputs)
        outputs.removeAll(keepingCapacity: true)
    }

    /// Takes the outcome of an operation in.
    public mutating func completed(_ completion: DiskCompletion) {
        guard let purpose = inFlight.removeValue(forKey: completion.operation) else {
            preconditionFailure("an operation completed that was never begun")
        }
        guard !hasFailed else { return }
        switch completion.result {
        case .failure(let error):
            if case .read = purpose, case .missing = error.kind {
                // A segment that was removed while the read was queued.
                if case .read(let request, _, _) = purpose {
                    outputs.append(.entriesGone(request: request))
                }
                return
            }
            failure = .disk(error)
            outputs.append(.failed(.disk(error)))
        case .success(let buffers):
            succeeded(purpose, buffers: buffers)
        }
    }

    private mutating func succeeded(_ purpose: Purpose, buffers: [[UInt8]]) {
        switch purpose {
        case .batch(let removableThrough):
            isWriting = false
            if let removableThrough { releaseSegments(through: removableThrough) }
            for token in writingTokens { outputs.append(.durable(token: token)) }
            writingTokens.removeAll(keepingCapacity: true)
        case .prepareSegment(let number):
            isPreparingSegment = false
            ready.append(number)
        case .removeSegments:
            break
        case .read(let request, let range, let expected):
            finishRead(request, range: range, expected: expected, buffers: buffers)
        }
    }

    private mutating func finishRead(
        _ request: UInt64, range: ClosedRange<UInt64>, expected: [BatchLocation],
        buffers: [[UInt8]]
    ) {
        var entries: [LogEntry] = []
        for (location, buffer) in zip(expected, buffers) {
            guard
                let batch = BatchFrame.parse(buffer, at: 0, seed: seed(location.segment)),
                let records = try? batch.records(in: buffer)
            else {
                let error = LogError.corrupt(
                    file: SegmentName.file(location.segment), offset: location.offset,
                    reason: "a batch that was synced no longer matches its checksum")
                failure = error
                outputs.append(.failed(error))
                return
            }
            for case .entry(let entry) in records
            where range.contains(entry.index) && location.entries.contains(entry.index) {
                // A batch may hold an entry, its truncation and its replacement.
                while let last = entries.last, last.index >= entry.index { entries.removeLast() }
                entries.append(entry)
            }
        }
        guard entries.count == range.count else {
            outputs.append(.entriesGone(request: request))
            return
        }
        outputs.append(.entries(request: request, entries))
    }

    private func seed(_ segment: UInt64) -> UInt32 {
        LogFormat.seed(segment: segment, directory: identity.directoryID)
    }

    private mutating func begin(_ steps: [DiskStep], lane: DiskLane, purpose: Purpose) {
        let operation = DiskOperation(id: nextOperationID, lane: lane, steps: steps)
        nextOperationID += 1
        inFlight[operation.id] = purpose
        outputs.append(.perform(operation))
    }

    /// Sees to it that a segment is ready before the log needs one.
    private mutating func prepareSegmentIfNeeded() {
        guard !hasFailed, !isPreparingSegment, ready.isEmpty || !spares.isEmpty else { return }
        let number = (ready.last ?? segment) + 1
        let file = SegmentName.file(number)
        let source: DiskStep =
            spares.isEmpty
            ? .create(file: file, byteCount: settings.segmentByteCount)
            : .rename(file: SegmentName.file(spares.removeFirst()), to: file)
        let header = SegmentHeader(
            number: number, epoch: epoch, identity: identity,
            byteCount: UInt64(settings.segmentByteCount)
        ).encoded()
        isPreparingSegment = true
        // The name is durable before the header changes: a crash could bring a spare's old name back,
        // and with it a segment that says it is another one. The header is synced before the first
        // batch exists: should that one's sync fail, the one that says it again must still be found
        // behind it.
        begin(
            [
                source, .syncDirectory, .write(file: file, offset: 0, bytes: header),
                .sync(file: file),
            ], lane: .background, purpose: .prepareSegment(number: number))
    }

    private mutating func startWriting() {
        guard !hasFailed, !isWriting, !queue.isEmpty else { return }
        if offset + queue[0].frame.byteCount > settings.segmentByteCount {
            guard !ready.isEmpty else { return }  // Its preparation is under way.
            segment = ready.removeFirst()
            offset = LogFormat.sectorByteCount
            queue[0].frame.prependState(vote: writtenVote, base: writtenBase)
            prepareSegmentIfNeeded()
        }
        writeFirst()
    }

    private mutating func writeFirst() {
        var batch = queue.removeFirst()
        hasUnmarkedBatch = !batch.frame.isEmpty
        writtenVote = batch.vote ?? writtenVote
        writtenBase = batch.base ?? writtenBase
        let start = offset
        let frame = batch.frame.seal(
            seed: segmentSeed, epoch: epoch, batchNumber: nextBatchNumber,
            syncedSegment: previousEnd.segment, syncedOffset: UInt64(previousEnd.offset),
            commitIndex: batch.commitIndex)
        precondition(
            start + frame.count <= settings.segmentByteCount, "a batch outgrows its segment")
        if let entries = batch.entries {
            locations.add(
                BatchLocation(
                    segment: segment, offset: start, byteCount: frame.count,
                    entries: entries))
        }
        if batch.resets { locations.noteWrittenReset() }
        locations.noteWrite(segment: segment, highestEntry: batch.highestEntry)
        nextBatchNumber += 1
        expectedBatchByteCount = min(frame.count, Self.maxExpectedBatchByteCount)
        offset = start + frame.count
        previousEnd = (segment, offset)
        isWriting = true
        writingTokens = batch.tokens
        let file = segmentFile
        begin(
            [.write(file: file, offset: start, bytes: frame), .sync(file: file)], lane: .log,
            purpose: .batch(removableThrough: batch.removableThrough))
    }

    /// Lets go of segments whose entries all lie at or before `index`, now that the base that makes
    /// them unnecessary is on disk. Some become the next ones: writing a file of zeroes for each
    /// took as much of the disk as the log itself.
    private mutating func releaseSegments(through index: UInt64) {
        let released = locations.removeSegments(through: index, keeping: segment)
        spares += released.filter { $0 >= firstOwnSegment }
        let wanted = settings.maxReadySegments - ready.count - (isPreparingSegment ? 1 : 0)
        let surplus = spares.prefix(max(0, spares.count - wanted))
        spares.removeFirst(surplus.count)
        let removable = released.filter { $0 < firstOwnSegment } + surplus
        guard !removable.isEmpty else { return }
        begin(
            // In order, each for good: a crash between them must not leave a gap. Spares leave the
            // same end one after the other, in the same lane.
            removable.flatMap { [.remove(file: SegmentName.file($0)), .syncDirectory] },
            lane: .background, purpose: .removeSegments)
    }
}
