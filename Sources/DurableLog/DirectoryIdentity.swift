/// A random 128-bit name of one data directory, so that a member whose directory was lost and
/// replaced isn't taken for the one that voted before.
public struct DirectoryID: Equatable, Hashable, Sendable, CustomStringConvertible {
    /// The upper half.
    public var high: UInt64
    /// The lower half.
    public var low: UInt64

    /// Creates an id from random numbers.
    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// Thirty-two hexadecimal digits.
    public var description: String {
        [high, low].map { half in
            let digits = String(half, radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }.joined()
    }
}

/// To whom a data directory belongs: the file `identity`, written once.
public struct DirectoryIdentity: Equatable, Sendable {
    /// The cluster.
    public var clusterID: UInt64
    /// The member.
    public var memberID: UInt64
    /// The directory itself.
    public var directoryID: DirectoryID

    /// Creates an identity.
    public init(clusterID: UInt64, memberID: UInt64, directoryID: DirectoryID) {
        self.clusterID = clusterID
        self.memberID = memberID
        self.directoryID = directoryID
    }

    static let file = "identity"
    private static let magic: [UInt8] = Array("MARTDIR\n".utf8)

    func encoded() -> [UInt8] {
        var bytes = Self.magic
        bytes.appendInteger(LogFormat.version)
        bytes.appendInteger(clusterID)
        bytes.appendInteger(memberID)
        bytes.appendInteger(directoryID.high)
        bytes.appendInteger(directoryID.low)
        bytes.appendInteger(CRC32C.checksum(bytes))
        return bytes
    }

    private static let byteCount = 48

    private static func parse(_ bytes: [UInt8]) throws(LogError) -> DirectoryIdentity {
        guard bytes.count == byteCount, Array(bytes.prefix(8)) == magic,
            bytes.loadInteger(UInt32.self, at: byteCount - 4)
                == CRC32C.checksum(bytes.dropLast(4))
        else {
            throw .corrupt(file: file, offset: 0, reason: "its checksum doesn't match")
        }
        let version = bytes.loadInteger(UInt32.self, at: 8)
        guard version == LogFormat.version else {
            throw .unsupportedVersion(file: file, found: version, supported: LogFormat.version)
        }
        return DirectoryIdentity(
            clusterID: bytes.loadInteger(UInt64.self, at: 12),
            memberID: bytes.loadInteger(UInt64.self, at: 20),
            directoryID: DirectoryID(
                high: bytes.loadInteger(UInt64.self, at: 28),
                low: bytes.loadInteger(UInt64.self, at: 36)))
    }

    /// The identity of a directory, or nil when it has none yet.
    public static func load(from disk: inout some Disk) throws(LogError) -> DirectoryIdentity? {
        let bytes: [UInt8]
        do throws(DiskError) {
            guard let size = try disk.byteCount(of: file) else { return nil }
            bytes = try disk.read(file, offset: 0, byteCount: size)
        } catch {
            throw .disk(error)
        }
        return try parse(bytes)
    }

    /// Steps that record the identity for good.
    func recordingSteps() -> [DiskStep] {
        let aside = Self.file + ".tmp"
        return [
            .remove(file: aside), .write(file: aside, offset: 0, bytes: encoded()),
            .sync(file: aside), .rename(file: aside, to: Self.file), .syncDirectory,
        ]
    }
}
