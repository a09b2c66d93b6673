import CLZ4

/// Names of snapshot files: `snap-` and the index in sixteen hexadecimal digits.
public enum SnapshotName {
    private static let prefix = "snap-"
    /// A snapshot that is still being received from a leader.
    public static let incoming = "incoming.tmp"
    /// A snapshot of the member's own state that is still being written.
    public static let outgoing = "snapshot.tmp"

    /// The name of the snapshot that ends at `index`.
    public static func file(_ index: UInt64) -> String {
        let digits = String(index, radix: 16)
        return prefix + String(repeating: "0", count: 16 - digits.count) + digits
    }

    /// The index in a name, or nil if it is no snapshot's.
    public static func index(_ file: String) -> UInt64? {
        guard file.hasPrefix(prefix), file.utf8.count == prefix.utf8.count + 16 else { return nil }
        return UInt64(file.dropFirst(prefix.count), radix: 16)
    }
}

/// The container of a snapshot: a header, LZ4 frames of about 1 MiB, an end. Each part carries a
/// CRC-32C that continues the one before. Zeroes fill the file up to a multiple of 512 bytes: by
/// that, etcd's tools tell the SHA-256 behind a downloaded snapshot from the snapshot itself.
enum SnapshotFormat {
    static let version: UInt32 = 2
    static let magic: [UInt8] = Array("MARTSNP\n".utf8)
    /// Upper bound on a frame's content, so that a damaged length can't ask for the moon.
    static let maxFrameContentBytes = 16 << 20
    static let frameHeaderByteCount = 12
    static let fixedHeaderByteCount = 48
    static let paddingUnit = 512
}

/// Why bytes are no snapshot.
public enum SnapshotError: Error, Equatable, Sendable, CustomStringConvertible {
    /// Written by another version.
    case unsupportedVersion(UInt32)
    /// Of another cluster.
    case foreign(clusterID: UInt64)
    /// Damaged: the offset of the part that doesn't verify.
    case corrupt(offset: Int, reason: String)
    /// The end is missing.
    case truncated(byteCount: Int)

    /// What is wrong, to be put behind a file's name.
    public var description: String {
        switch self {
        case .unsupportedVersion(let found):
            """
            has snapshot version \(found), this program reads \(SnapshotFormat.version); use the \
            version that wrote it
            """
        case .foreign(let clusterID): "belongs to cluster \(String(clusterID, radix: 16))"
        case .corrupt(let offset, let reason): "is damaged at byte \(offset): \(reason)"
        case .truncated(let byteCount): "ends too early, after \(byteCount) bytes"
        }
    }
}

/// Turns a snapshot's content into the bytes of its file, piece by piece.
public struct SnapshotFileWriter: Sendable {
    private var rollingChecksum: UInt32 = 0
    private var contentByteCount: UInt64 = 0
    private var fileByteCount = 0

    /// Creates a writer.
    public init() {}

    /// The first bytes of the file.
    public mutating func header(base: LogBase, clusterID: UInt64) -> [UInt8] {
        var bytes = SnapshotFormat.magic
        bytes.appendInteger(SnapshotFormat.version)
        bytes.appendInteger(clusterID)
        bytes.appendInteger(base.index)
        bytes.appendInteger(base.term)
        bytes.appendInteger(base.chain)
        bytes.appendInteger(UInt32(base.configuration.count))
        bytes += base.configuration
        return closing(bytes)
    }

    /// The bytes for some content, at most 16 MiB of it.
    public mutating func frame(_ content: [UInt8]) -> [UInt8] {
        precondition(!content.isEmpty && content.count <= SnapshotFormat.maxFrameContentBytes)
        contentByteCount += UInt64(content.count)
        let compressed = LZ4.compress(content)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(compressed.count + SnapshotFormat.frameHeaderByteCount)
        bytes.appendInteger(UInt32(compressed.count))
        bytes.appendInteger(UInt32(content.count))
        bytes += compressed
        return closing(bytes)
    }

    /// The last bytes of the file.
    public mutating func end() -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.appendInteger(UInt32(0))
        bytes.appendInteger(UInt32(0))
        bytes.appendInteger(contentByteCount)
        let end = closing(bytes)
        let padding =
            (SnapshotFormat.paddingUnit - fileByteCount % SnapshotFormat.paddingUnit)
            % SnapshotFormat.paddingUnit
        return end + [UInt8](repeating: 0, count: padding)
    }

    /// Adds a checksum that continues the one before, so that parts can't be lost or swapped.
    private mutating func closing(_ part: [UInt8]) -> [UInt8] {
        rollingChecksum = CRC32C.checksum(part, seed: rollingChecksum)
        var bytes = part
        bytes.appendInteger(rollingChecksum)
        fileByteCount += bytes.count
        return bytes
    }
}

/// Takes a snapshot file's bytes in pieces of any size and gives back its content.
public struct SnapshotFileReader: Sendable {
    private enum Stage {
        case header
        case frames
        case ended
    }
    private let clusterID: UInt64
    private var stage = Stage.header
    private var buffer: [UInt8] = []
    private var consumed = 0
    private var rollingChecksum: UInt32 = 0
    private var contentByteCount: UInt64 = 0
    private var paddingByteCount = 0
    /// What the header says; nil until it has been read.
    public private(set) var base: LogBase?

    /// A reader that accepts snapshots of one cluster only.
    public init(clusterID: UInt64) { self.clusterID = clusterID }

    /// Takes more bytes; complete pieces of content go to `sink` in order.
    public mutating func feed(
        _ bytes: [UInt8], sink: (inout [UInt8]) throws(SnapshotError) -> Void
    ) throws(SnapshotError) {
        buffer += bytes
        var offset = 0
        while let next = try part(at: offset, sink: sink) { offset = next }
        consumed += offset
        buffer.removeFirst(offset)
    }

    /// To be called behind the last byte.
    public func finish() throws(SnapshotError) {
        guard stage == .ended, consumed % SnapshotFormat.paddingUnit == 0 else {
            throw .truncated(byteCount: consumed + buffer.count)
        }
    }

    private mutating func part(
        at offset: Int, sink: (inout [UInt8]) throws(SnapshotError) -> Void
    ) throws(SnapshotError) -> Int? {
        switch stage {
        case .header: return try header(at: offset)
        case .frames: return try frame(at: offset, sink: sink)
        case .ended:
            let rest = buffer[offset...]
            paddingByteCount += rest.count
            guard rest.allSatisfy({ $0 == 0 }), paddingByteCount < SnapshotFormat.paddingUnit else {
                throw .corrupt(offset: consumed + offset, reason: "bytes follow the end")
            }
            return rest.isEmpty ? nil : buffer.count
        }
    }

    private mutating func header(at offset: Int) throws(SnapshotError) -> Int? {
        let fixed = SnapshotFormat.fixedHeaderByteCount
        guard buffer.count - offset >= fixed else { return nil }
        guard Array(buffer[offset..<offset + 8]) == SnapshotFormat.magic else {
            throw .corrupt(offset: consumed + offset, reason: "it doesn't begin as a snapshot")
        }
        let version = buffer.loadInteger(UInt32.self, at: offset + 8)
        guard version == SnapshotFormat.version else { throw .unsupportedVersion(version) }
        let length = Int(buffer.loadInteger(UInt32.self, at: offset + 44))
        guard length <= SnapshotFormat.maxFrameContentBytes else {
            throw .corrupt(offset: consumed + offset, reason: "its configuration is too long")
        }
        let end = offset + fixed + length
        guard buffer.count >= end + 4 else { return nil }
        try verify(offset..<end)
        let cluster = buffer.loadInteger(UInt64.self, at: offset + 12)
        guard cluster == clusterID else { throw .foreign(clusterID: cluster) }
        base = LogBase(
            index: buffer.loadInteger(UInt64.self, at: offset + 20),
            term: buffer.loadInteger(UInt64.self, at: offset + 28),
            chain: buffer.loadInteger(UInt64.self, at: offset + 36),
            configuration: Array(buffer[offset + fixed..<end]))
        stage = .frames
        return end + 4
    }

    private mutating func frame(
        at offset: Int, sink: (inout [UInt8]) throws(SnapshotError) -> Void
    ) throws(SnapshotError) -> Int? {
        guard buffer.count - offset >= 8 else { return nil }
        let compressed = Int(buffer.loadInteger(UInt32.self, at: offset))
        let content = Int(buffer.loadInteger(UInt32.self, at: offset + 4))
        if compressed == 0 { return try end(at: offset) }
        guard content <= SnapshotFormat.maxFrameContentBytes,
            compressed <= SnapshotFormat.maxFrameContentBytes * 2
        else {
            throw .corrupt(offset: consumed + offset, reason: "a frame is too long")
        }
        let end = offset + 8 + compressed
        guard buffer.count >= end + 4 else { return nil }
        try verify(offset..<end)
        guard var bytes = LZ4.decompress(buffer[offset + 8..<end], byteCount: content) else {
            throw .corrupt(offset: consumed + offset, reason: "a frame doesn't decompress")
        }
        contentByteCount += UInt64(content)
        try sink(&bytes)
        return end + 4
    }

    private mutating func end(at offset: Int) throws(SnapshotError) -> Int? {
        let end = offset + 16
        guard buffer.count >= end + 4 else { return nil }
        try verify(offset..<end)
        guard buffer.loadInteger(UInt64.self, at: offset + 8) == contentByteCount else {
            throw .corrupt(offset: consumed + offset, reason: "content is missing")
        }
        stage = .ended
        return end + 4
    }

    private mutating func verify(_ part: Range<Int>) throws(SnapshotError) {
        rollingChecksum = CRC32C.checksum(buffer[part], seed: rollingChecksum)
        guard buffer.loadInteger(UInt32.self, at: part.upperBound) == rollingChecksum else {
            throw .corrupt(
                offset: consumed + part.lowerBound, reason: "a checksum doesn't match")
        }
    }
}

/// liblz4's frame format, whole buffers at a time.
enum LZ4 {
    static func compress(_ content: [UInt8]) -> [UInt8] {
        let bound = LZ4F_compressFrameBound(content.count, nil)
        // The library writes at most `bound` bytes and reads exactly `content.count`.
        return [UInt8](unsafeUninitializedCapacity: bound) { target, count in
            content.withUnsafeBytes { source in
                let written = LZ4F_compressFrame(
                    target.baseAddress, bound, source.baseAddress, source.count, nil)
                precondition(LZ4F_isError(written) == 0, "the bound holds for every input")
                count = written
            }
        }
    }

    /// Exactly `byteCount` bytes, or nil.
    static func decompress(_ compressed: ArraySlice<UInt8>, byteCount: Int) -> [UInt8]? {
        var context: OpaquePointer?
        guard LZ4F_isError(LZ4F_createDecompressionContext(&context, UInt32(LZ4F_VERSION))) == 0
        else { return nil }
        defer { LZ4F_freeDecompressionContext(context) }
        var isComplete = false
        // The library is told both sizes and never passes them; what it wrote is counted.
        let content = [UInt8](unsafeUninitializedCapacity: byteCount) { target, count in
            compressed.withUnsafeBytes { source in
                var read = 0
                while read < source.count {
                    var sourceSize = source.count - read
                    var targetSize = byteCount - count
                    let hint = LZ4F_decompress(
                        context, target.baseAddress.map { $0 + count }, &targetSize,
                        source.baseAddress! + read, &sourceSize, nil)
                    read += sourceSize
                    count += targetSize
                    if LZ4F_isError(hint) != 0 { return }
                    if hint == 0 {
                        isComplete = read == source.count
                        return
                    }
                    if sourceSize == 0, targetSize == 0 { return }
                }
            }
        }
        return isComplete && content.count == byteCount ? content : nil
    }
}
