/// The bytes of a segment: a header sector, then batches, each beginning on a sector.
enum LogFormat {
    static let version: UInt32 = 2
    /// A batch begins on a sector of its own, so that a write never touches a synced sector.
    static let sectorByteCount = 512
    static let segmentMagic: [UInt8] = Array("MARTLOG\n".utf8)
    static let batchMagic: UInt32 = 0x3142_4C4D  // "MLB1"
    static let batchHeaderByteCount = 24
    static let batchTrailerByteCount = 36
    /// Indexes, terms and the numbers of batches, segments and epochs never come near this, so that
    /// counting on from one that was read can't overflow.
    static let maxNumber: UInt64 = 1 << 62

    static func roundUpToSector(_ count: Int) -> Int {
        (count + sectorByteCount - 1) / sectorByteCount * sectorByteCount
    }

    /// Checksums begin with where they stand, so that a misdirected write doesn't verify, and with
    /// the directory's random id, so that no client can put bytes into a value that would.
    static func seed(segment: UInt64, directory: DirectoryID) -> UInt32 {
        var bytes: [UInt8] = []
        bytes.appendInteger(segment)
        bytes.appendInteger(directory.high)
        bytes.appendInteger(directory.low)
        return CRC32C.checksum(bytes)
    }
}

/// Names of segment files: `log-` and sixteen hexadecimal digits.
package enum SegmentName {
    private static let prefix = "log-"

    package static func file(_ number: UInt64) -> String {
        let digits = String(number, radix: 16)
        return prefix + String(repeating: "0", count: 16 - digits.count) + digits
    }

    static func number(_ file: String) -> UInt64? {
        guard file.hasPrefix(prefix), file.utf8.count == prefix.utf8.count + 16 else { return nil }
        return UInt64(file.dropFirst(prefix.count), radix: 16)
    }
}

/// The first sector of a segment.
struct SegmentHeader: Equatable {
    var number: UInt64
    var epoch: UInt64
    var identity: DirectoryIdentity
    /// Size of the file, so that one that was cut short is noticed.
    var byteCount: UInt64

    func encoded() -> [UInt8] {
        var bytes = LogFormat.segmentMagic
        bytes.reserveCapacity(LogFormat.sectorByteCount)
        bytes.appendInteger(LogFormat.version)
        bytes.appendInteger(number)
        bytes.appendInteger(epoch)
        bytes.appendInteger(identity.clusterID)
        bytes.appendInteger(identity.memberID)
        bytes.appendInteger(identity.directoryID.high)
        bytes.appendInteger(identity.directoryID.low)
        bytes.appendInteger(byteCount)
        bytes.appendInteger(CRC32C.checksum(bytes))
        bytes += [UInt8](repeating: 0, count: LogFormat.sectorByteCount - bytes.count)
        return bytes
    }

    enum ParseResult: Equatable {
        case header(SegmentHeader)
        case blank
        case otherVersion(UInt32)
        case invalid
    }

    static func parse(_ bytes: [UInt8]) -> ParseResult {
        let sector = bytes.prefix(LogFormat.sectorByteCount)
        if sector.allSatisfy({ $0 == 0 }) { return .blank }
        guard sector.count == LogFormat.sectorByteCount,
            Array(sector.prefix(8)) == LogFormat.segmentMagic
        else { return .invalid }
        let length = 8 + 4 + 7 * 8
        guard
            bytes.loadInteger(UInt32.self, at: length) == CRC32C.checksum(sector.prefix(length))
        else { return .invalid }
        let version = bytes.loadInteger(UInt32.self, at: 8)
        guard version == LogFormat.version else { return .otherVersion(version) }
        return .header(
            SegmentHeader(
                number: bytes.loadInteger(UInt64.self, at: 12),
                epoch: bytes.loadInteger(UInt64.self, at: 20),
                identity: DirectoryIdentity(
                    clusterID: bytes.loadInteger(UInt64.self, at: 28),
                    memberID: bytes.loadInteger(UInt64.self, at: 36),
                    directoryID: DirectoryID(
                        high: bytes.loadInteger(UInt64.self, at: 44),
                        low: bytes.loadInteger(UInt64.self, at: 52))),
                byteCount: bytes.loadInteger(UInt64.self, at: 60)))
    }
}

/// A record of a batch.
package enum LogRecord: Equatable {
    case vote(RecordedVote)
    case truncation(UInt64)
    case entry(LogEntry)
    case compaction(LogBase)
    case reset(LogBase)
}

extension LogRecord {
    /// The largest index or term in it.
    var largestNumber: UInt64 {
        switch self {
        case .vote(let vote): vote.term
        case .truncation(let index): index
        case .entry(let entry): max(entry.index, entry.term)
        case .compaction(let base), .reset(let base): max(base.index, base.term)
        }
    }
}

/// A batch while it is put together, and the way back.
struct BatchFrame {
    private enum Tag {
        static let vote: UInt8 = 1
        static let truncation: UInt8 = 2
        static let entry: UInt8 = 3
        static let compaction: UInt8 = 4
        static let reset: UInt8 = 5
    }

    /// Room for the header, then the payload.
    private var bytes: [UInt8] = []

    /// - Parameter expectedByteCount: memory to set aside; a batch that has to grow is copied.
    init(expectedByteCount: Int = 0) {
        bytes.reserveCapacity(expectedByteCount)
        bytes += repeatElement(0, count: LogFormat.batchHeaderByteCount)
    }

    var payloadByteCount: Int { bytes.count - LogFormat.batchHeaderByteCount }
    var isEmpty: Bool { payloadByteCount == 0 }
    /// Size on disk, padded to whole sectors.
    var byteCount: Int {
        LogFormat.roundUpToSector(bytes.count + LogFormat.batchTrailerByteCount)
    }

    mutating func append(vote: RecordedVote) {
        bytes.append(Tag.vote)
        bytes.appendInteger(vote.term)
        bytes.appendInteger(vote.vote)
    }

    mutating func append(truncation: UInt64) {
        bytes.append(Tag.truncation)
        bytes.appendInteger(truncation)
    }

    mutating func append(entry: borrowing LogEntry) {
        let (index, term) = (entry.index, entry.term)
        // In one piece: five cost 400 instructions more.
        let head = 21
        entry.bytes.withUnsafeBytes { content in
            bytes.append(addingCapacity: head + content.count) { span in
                span.withUnsafeMutableBufferPointer { buffer, count in
                    // As much room as was asked for, and all of it is written.
                    let room = UnsafeMutableRawBufferPointer(buffer)
                    room[0] = Tag.entry
                    room.storeBytes(of: index.littleEndian, toByteOffset: 1, as: UInt64.self)
                    room.storeBytes(of: term.littleEndian, toByteOffset: 9, as: UInt64.self)
                    room.storeBytes(
                        of: UInt32(content.count).littleEndian, toByteOffset: 17, as: UInt32.self)
                    UnsafeMutableRawBufferPointer(rebasing: room[head...])
                        .copyMemory(from: content)
                    count = head + content.count
                }
            }
        }
    }

    mutating func append(compaction base: LogBase) { append(base, tag: Tag.compaction) }

    mutating func append(reset base: LogBase) { append(base, tag: Tag.reset) }

    /// What every segment begins with.
    mutating func appendState(vote: RecordedVote, base: LogBase) {
        append(vote: vote)
        append(compaction: base)
    }

    mutating func prependState(vote: RecordedVote, base: LogBase) {
        var whole = BatchFrame()
        whole.appendState(vote: vote, base: base)
        whole.bytes += bytes.dropFirst(LogFormat.batchHeaderByteCount)
        self = whole
    }

    private mutating func append(_ base: LogBase, tag: UInt8) {
        bytes.append(tag)
        bytes.appendInteger(base.index)
        bytes.appendInteger(base.term)
        bytes.appendInteger(base.chain)
        bytes.appendInteger(UInt32(base.configuration.count))
        bytes.append(contentsOf: base.configuration)
    }

    /// Takes the finished frame out, padded to whole sectors. In place: a batch may have megabytes.
    mutating func seal(
        seed: UInt32, epoch: UInt64, batchNumber: UInt64, syncedSegment: UInt64,
        syncedOffset: UInt64, commitIndex: UInt64
    ) -> [UInt8] {
        let payloadLength = UInt32(payloadByteCount)
        let paddedByteCount = byteCount
        var frame: [UInt8] = []
        swap(&frame, &bytes)
        frame.reserveCapacity(paddedByteCount)
        frame.storeInteger(LogFormat.batchMagic, at: 0)
        frame.storeInteger(payloadLength, at: 4)
        frame.storeInteger(batchNumber, at: 8)
        frame.storeInteger(epoch, at: 16)
        frame.appendInteger(batchNumber)
        frame.appendInteger(syncedSegment)
        frame.appendInteger(syncedOffset)
        frame.appendInteger(commitIndex)
        frame.appendInteger(CRC32C.checksum(frame, seed: seed))
        frame += repeatElement(0, count: paddedByteCount - frame.count)
        return frame
    }

    /// A frame found in a buffer.
    struct Parsed: Equatable {
        var payload: Range<Int>
        var batchNumber: UInt64
        var epoch: UInt64
        var syncedSegment: UInt64
        var syncedOffset: UInt64
        var commitIndex: UInt64
        var byteCount: Int

        /// Up to where it says that the log was synced when it was written. The bytes may say
        /// anything.
        var claimedEnd: (segment: UInt64, offset: Int) {
            (syncedSegment, Int(clamping: syncedOffset))
        }

        /// The records in order; throws where a record makes no sense in spite of its checksum.
        func records(in buffer: [UInt8]) throws(MalformedRecord) -> [LogRecord] {
            var cursor = ByteCursor(buffer, from: payload.lowerBound, to: payload.upperBound)
            var records: [LogRecord] = []
            while !cursor.isAtEnd {
                guard let record = BatchFrame.record(&cursor) else { throw MalformedRecord() }
                records.append(record)
            }
            return records
        }
    }

    struct MalformedRecord: Error {}

    /// The number in what looks like a batch's header, unverified; nil if it doesn't look like one.
    static func batchNumber(in buffer: [UInt8], at offset: Int) -> UInt64? {
        guard buffer.count - offset >= LogFormat.batchHeaderByteCount,
            buffer.loadInteger(UInt32.self, at: offset) == LogFormat.batchMagic
        else { return nil }
        return buffer.loadInteger(UInt64.self, at: offset + 8)
    }

    /// The frame at an offset of a segment's bytes, or nil if there is none that verifies.
    static func parse(_ buffer: [UInt8], at offset: Int, seed: UInt32) -> Parsed? {
        let header = LogFormat.batchHeaderByteCount
        let trailer = LogFormat.batchTrailerByteCount
        guard buffer.count - offset >= header + trailer,
            buffer.loadInteger(UInt32.self, at: offset) == LogFormat.batchMagic
        else { return nil }
        let payloadLength = Int(buffer.loadInteger(UInt32.self, at: offset + 4))
        guard buffer.count - offset >= header + trailer + payloadLength else { return nil }
        let end = offset + header + payloadLength
        let checksummed = offset..<end + trailer - 4
        // The guard above says that the buffer reaches behind `checksummed`.
        let checksum = buffer.withUnsafeBytes { bytes in
            CRC32C.extend(
                seed,
                over: UnsafeRawBufferPointer(rebasing: bytes[checksummed]))
        }
        guard checksum == buffer.loadInteger(UInt32.self, at: end + trailer - 4),
            buffer.loadInteger(UInt64.self, at: offset + 8)
                == buffer.loadInteger(UInt64.self, at: end)
        else { return nil }
        return Parsed(
            payload: offset + header..<end,
            batchNumber: buffer.loadInteger(UInt64.self, at: end),
            epoch: buffer.loadInteger(UInt64.self, at: offset + 16),
            syncedSegment: buffer.loadInteger(UInt64.self, at: end + 8),
            syncedOffset: buffer.loadInteger(UInt64.self, at: end + 16),
            commitIndex: buffer.loadInteger(UInt64.self, at: end + 24),
            byteCount: LogFormat.roundUpToSector(header + payloadLength + trailer))
    }

    private static func record(_ cursor: inout ByteCursor) -> LogRecord? {
        guard let tag = cursor.integer(UInt8.self) else { return nil }
        switch tag {
        case Tag.vote:
            guard let term = cursor.integer(UInt64.self), let vote = cursor.integer(UInt64.self)
            else { return nil }
            return .vote(RecordedVote(term: term, vote: vote))
        case Tag.truncation:
            return cursor.integer(UInt64.self).map { .truncation($0) }
        case Tag.entry:
            guard let index = cursor.integer(UInt64.self), let term = cursor.integer(UInt64.self),
                let count = cursor.integer(UInt32.self), let bytes = cursor.take(Int(count))
            else { return nil }
            return .entry(LogEntry(index: index, term: term, bytes: bytes))
        case Tag.compaction: return base(&cursor).map { .compaction($0) }
        case Tag.reset: return base(&cursor).map { .reset($0) }
        default: return nil
        }
    }

    private static func base(_ cursor: inout ByteCursor) -> LogBase? {
        guard let index = cursor.integer(UInt64.self), let term = cursor.integer(UInt64.self),
            let chain = cursor.integer(UInt64.self), let count = cursor.integer(UInt32.self),
            let configuration = cursor.take(Int(count))
        else { return nil }
        return LogBase(index: index, term: term, chain: chain, configuration: configuration)
    }
}
