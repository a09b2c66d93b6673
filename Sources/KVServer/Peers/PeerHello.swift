import DurableLog
import NIOCore
import RaftCore

/// The first frame on a connection between members, and the answer to it.
///
/// Layout, little-endian: magic (8 bytes), lowest and highest protocol version u16 each, link kind
/// u8, cluster id u64, sender id u64, receiver id u64, directory id 2 × u64, incarnation u64.
struct PeerHello: Equatable, Sendable {
    /// What a connection is for: bulk must never delay heartbeats.
    enum LinkKind: UInt8, Sendable {
        case main = 0
        case snapshot = 1
    }

    static let magic: [UInt8] = Array("MARTPEER".utf8)
    static let version: UInt16 = 2

    var lowestVersion: UInt16 = version
    var highestVersion: UInt16 = version
    var kind: LinkKind
    var clusterID: UInt64
    var sender: MemberID
    var receiver: MemberID
    var directoryID: DirectoryID
    var incarnation: UInt64

    func encoded() -> [UInt8] {
        var buffer = ByteBuffer()
        buffer.writeBytes(Self.magic)
        buffer.writeInteger(lowestVersion, endianness: .little)
        buffer.writeInteger(highestVersion, endianness: .little)
        buffer.writeInteger(kind.rawValue)
        for value in [
            clusterID, sender, receiver, directoryID.high, directoryID.low, incarnation,
        ] {
            buffer.writeInteger(value, endianness: .little)
        }
        return [UInt8](buffer: buffer)
    }

    init(
        kind: LinkKind, clusterID: UInt64, sender: MemberID, receiver: MemberID,
        directoryID: DirectoryID, incarnation: UInt64
    ) {
        self.kind = kind
        self.clusterID = clusterID
        self.sender = sender
        self.receiver = receiver
        self.directoryID = directoryID
        self.incarnation = incarnation
    }

    /// Reads a hello; nil if the bytes are none.
    init?(_ frame: [UInt8]) {
        var frame = ByteBuffer(bytes: frame)
        guard frame.readBytes(length: 8) == Self.magic,
            let lowest = frame.readInteger(endianness: .little, as: UInt16.self),
            let highest = frame.readInteger(endianness: .little, as: UInt16.self),
            let kind = frame.readInteger(as: UInt8.self).flatMap(LinkKind.init(rawValue:))
        else { return nil }
        var numbers: [UInt64] = []
        for _ in 0..<6 {
            guard let number = frame.readInteger(endianness: .little, as: UInt64.self) else {
                return nil
            }
            numbers.append(number)
        }
        lowestVersion = lowest
        highestVersion = highest
        self.kind = kind
        clusterID = numbers[0]
        sender = numbers[1]
        receiver = numbers[2]
        directoryID = DirectoryID(high: numbers[3], low: numbers[4])
        incarnation = numbers[5]
    }
}

/// The answer to a hello: welcome, or why not.
///
/// Layout: status u8 (0 welcome, 1 refused), then the protocol version u16 and the answering
/// incarnation u64, or the reason in UTF-8.
enum PeerWelcome: Equatable, Sendable {
    case welcome(version: UInt16, incarnation: UInt64)
    case refused(reason: String)

    func encoded() -> [UInt8] {
        var buffer = ByteBuffer()
        switch self {
        case .welcome(let version, let incarnation):
            buffer.writeInteger(UInt8(0))
            buffer.writeInteger(version, endianness: .little)
            buffer.writeInteger(incarnation, endianness: .little)
        case .refused(let reason):
            buffer.writeInteger(UInt8(1))
            buffer.writeString(reason)
        }
        return [UInt8](buffer: buffer)
    }

    /// Reads an answer; nil if the bytes are none.
    init?(_ frame: [UInt8]) {
        var frame = ByteBuffer(bytes: frame)
        switch frame.readInteger(as: UInt8.self) {
        case 0:
            guard let version = frame.readInteger(endianness: .little, as: UInt16.self),
                let incarnation = frame.readInteger(endianness: .little, as: UInt64.self)
            else { return nil }
            self = .welcome(version: version, incarnation: incarnation)
        case 1: self = .refused(reason: String(buffer: frame))
        default: return nil
        }
    }
}
