import DurableLog
import TestSupport

/// A log directory as one byte string: each segment without the zeroes at its end, behind the number
/// of its sectors that are left.
///
/// It knows the layout of `docs/storage-format.md` by itself, so that it can put checksums right
/// behind damage and reach what they protect.
struct LogImage {
    static let sectorBytes = 512
    /// Fixed, so that headers need not be changed to fit.
    static let segmentBytes = 16 << 10
    static let maximumSegments = 4

    /// By number, from the first number on.
    var segments: [[UInt8]] = []

    static let identity = DirectoryIdentity(
        clusterID: 7, memberID: 1, directoryID: DirectoryID(high: 13, low: 17))

    static var settings: DurableLogSettings {
        var settings = DurableLogSettings()
        settings.segmentByteCount = segmentBytes
        settings.maxBatchPayloadBytes = 2 << 10
        return settings
    }

    init(_ bytes: [UInt8]) {
        var rest = bytes[...]
        while let sectors = rest.popFirst(), segments.count < Self.maximumSegments {
            let content = rest.prefix(Int(sectors % 33) * Self.sectorBytes)
            rest = rest.dropFirst(content.count)
            segments.append(Array(content))
        }
    }

    init(_ disk: inout MemoryDisk) {
        while let bytes = try? disk.bytes(of: Self.file(segments.count)) { segments.append(bytes) }
    }

    static func file(_ position: Int) -> String {
        "log-" + String(repeating: "0", count: 15) + "\(position + 1)"
    }

    var bytes: [UInt8] {
        segments.flatMap { segment -> [UInt8] in
            let used = segment.lastIndex { $0 != 0 }.map { $0 + 1 } ?? 0
            let sectors = (used + Self.sectorBytes - 1) / Self.sectorBytes
            let content = segment.prefix(sectors * Self.sectorBytes)
            let padding = sectors * Self.sectorBytes - content.count
            return [UInt8(sectors)] + content + [UInt8](repeating: 0, count: padding)
        }
    }

    /// The directory, all of it durable.
    func disk() -> MemoryDisk {
        var disk = MemoryDisk()
        for (position, segment) in segments.enumerated() {
            let padding = max(0, Self.segmentBytes - segment.count)
            let whole = segment + [UInt8](repeating: 0, count: padding)
            disk.put(Self.file(position), whole)
        }
        return disk
    }

    // MARK: Batches

    /// A batch that verifies: where it is and what it holds.
    struct Batch {
        var segment: Int
        var offset: Int
        var payload: [UInt8]
        var number: UInt64
        var epoch: UInt64
        var syncedSegment: UInt64
        var syncedOffset: UInt64
        var commitIndex: UInt64

        var sectorCount: Int { (24 + payload.count + 36 + 511) / 512 }
        var end: Int { offset + sectorCount * sectorBytes }

        /// The frame with the checksum that its content asks for.
        func sealed() -> [UInt8] {
            var frame: [UInt8] = []
            frame.put(UInt32(0x3142_4C4D))
            frame.put(UInt32(payload.count))
            frame.put(number)
            frame.put(epoch)
            frame += payload
            for value in [number, syncedSegment, syncedOffset, commitIndex] { frame.put(value) }
            frame.put(CRC32C.checksum(frame, seed: LogImage.seed(segment)))
            return frame + [UInt8](repeating: 0, count: sectorCount * sectorBytes - frame.count)
        }
    }

    static func seed(_ position: Int) -> UInt32 {
        var bytes: [UInt8] = []
        for value in [UInt64(position + 1), identity.directoryID.high, identity.directoryID.low] {
            bytes.put(value)
        }
        return CRC32C.checksum(bytes)
    }

    /// The batch at an offset, whether or not its checksum is right; nil if its length can't be.
    func batch(_ segment: Int, at offset: Int) -> Batch? {
        let bytes = segments[segment]
        guard bytes.count >= offset + 60, bytes.number(UInt32.self, at: offset) == 0x3142_4C4D
        else { return nil }
        let count = Int(bytes.number(UInt32.self, at: offset + 4))
        let end = offset + 24 + count
        guard bytes.count >= end + 36 else { return nil }
        return Batch(
            segment: segment, offset: offset, payload: Array(bytes[(offset + 24)..<end]),
            number: bytes.number(UInt64.self, at: end),
            epoch: bytes.number(UInt64.self, at: offset + 16),
            syncedSegment: bytes.number(UInt64.self, at: end + 8),
            syncedOffset: bytes.number(UInt64.self, at: end + 16),
            commitIndex: bytes.number(UInt64.self, at: end + 24))
    }

    /// Whether some batch that verifies begins at or behind a place. Where a log ends by its own
    /// account there can be none: at most one batch is unsynced at a time.
    func hasBatch(behind segment: Int, _ offset: Int) -> Bool {
        segments.indices.contains { number in
            guard number >= segment else { return false }
            let first = number == segment ? offset : 0
            return stride(from: first, to: segments[number].count, by: Self.sectorBytes)
                .contains { place in
                    guard let batch = batch(number, at: place) else { return false }
                    let frame = batch.sealed().prefix(24 + batch.payload.count + 36)
                    return segments[number][place...].starts(with: frame)
                }
        }
    }

    /// All batches, in order.
    func batches() -> [Batch] {
        var found: [Batch] = []
        for segment in segments.indices {
            var offset = Self.sectorBytes
            while let batch = batch(segment, at: offset) {
                found.append(batch)
                offset = batch.end
            }
        }
        return found
    }

    /// Puts batches in place of those there were, each where there is room behind the one before.
    mutating func replace(_ batches: [Batch]) {
        for segment in segments.indices {
            var content = segments[segment].prefixArray(Self.sectorBytes)
            for batch in batches where batch.segment == segment {
                let frame = batch.sealed()
                guard content.count + frame.count <= Self.segmentBytes else { break }
                content += frame
            }
            segments[segment] = content
        }
    }

    /// Puts the checksum of a segment's header right.
    mutating func sealHeader(_ segment: Int) {
        guard segments[segment].count >= 72 else { return }
        let checksum = CRC32C.checksum(segments[segment].prefix(68))
        for position in 0..<4 {
            segments[segment][68 + position] = UInt8(truncatingIfNeeded: checksum >> (8 * position))
        }
    }
}

extension [UInt8] {
    /// Appends an integer, little-endian.
    mutating func put(_ value: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
    }

    /// The little-endian integer at an offset that must be within.
    func number<Value: FixedWidthInteger>(_ type: Value.Type, at offset: Int) -> Value {
        self[offset..<(offset + MemoryLayout<Value>.size)].reversed()
            .reduce(0) { $0 << 8 | Value($1) }
    }
}

extension MemoryDisk {
    /// All bytes of a file.
    mutating func bytes(of file: String) throws(DiskError) -> [UInt8] {
        guard let size = try byteCount(of: file) else {
            throw DiskError(kind: .missing, call: "read", file: file, reason: "no such file")
        }
        return try read(file, offset: 0, byteCount: size)
    }

    /// Makes a durable file of these bytes.
    mutating func put(_ file: String, _ bytes: [UInt8]) {
        // No failure is planned on a fresh disk.
        try? write(file, offset: 0, bytes: bytes)
        try? sync(file)
        try? syncDirectory()
    }
}
