/// The number of a stream within its connection; odd for streams that the client opened.
public struct StreamID: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// 0 for the connection itself, else 1 ... 2^31 - 1.
    public let rawValue: UInt32

    /// A stream id from its number.
    @inlinable
    public init(_ rawValue: UInt32) {
        self.rawValue = rawValue
    }

    /// Older streams first.
    @inlinable
    public static func < (left: StreamID, right: StreamID) -> Bool {
        left.rawValue < right.rawValue
    }

    /// The number.
    public var description: String { String(rawValue) }
}

/// Why a stream or connection ended (RFC 9113 section 7). Open: unknown codes are kept.
public struct HTTP2ErrorCode: RawRepresentable, Hashable, Sendable {
    /// The number on the wire.
    public let rawValue: UInt32

    /// A code from its number.
    public init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    /// No error: a graceful end.
    public static let noError = HTTP2ErrorCode(rawValue: 0x0)
    /// The peer broke the protocol.
    public static let protocolError = HTTP2ErrorCode(rawValue: 0x1)
    /// Something failed inside the endpoint.
    public static let internalError = HTTP2ErrorCode(rawValue: 0x2)
    /// The peer overran or overflowed a flow-control window.
    public static let flowControlError = HTTP2ErrorCode(rawValue: 0x3)
    /// The peer did not acknowledge settings in time.
    public static let settingsTimeout = HTTP2ErrorCode(rawValue: 0x4)
    /// A frame for a stream that is closed.
    public static let streamClosed = HTTP2ErrorCode(rawValue: 0x5)
    /// A frame of impossible size.
    public static let frameSizeError = HTTP2ErrorCode(rawValue: 0x6)
    /// The stream was not processed at all.
    public static let refusedStream = HTTP2ErrorCode(rawValue: 0x7)
    /// The stream is no longer wanted.
    public static let cancel = HTTP2ErrorCode(rawValue: 0x8)
    /// The header compression state is lost.
    public static let compressionError = HTTP2ErrorCode(rawValue: 0x9)
    /// The peer makes too much load.
    public static let enhanceYourCalm = HTTP2ErrorCode(rawValue: 0xb)
}

/// A failure that ends the connection: the code for GOAWAY and the reason for humans.
public struct HTTP2ConnectionError: Error, Equatable, Sendable {
    /// What GOAWAY says.
    public let code: HTTP2ErrorCode
    /// What happened; also sent as GOAWAY's debug data.
    public let reason: String

    init(_ code: HTTP2ErrorCode, _ reason: String) {
        self.code = code
        self.reason = reason
    }
}

/// The frame types of RFC 9113 section 6.
enum FrameType {
    static let data: UInt8 = 0x0
    static let headers: UInt8 = 0x1
    static let priority: UInt8 = 0x2
    static let resetStream: UInt8 = 0x3
    static let settings: UInt8 = 0x4
    static let pushPromise: UInt8 = 0x5
    static let ping: UInt8 = 0x6
    static let goAway: UInt8 = 0x7
    static let windowUpdate: UInt8 = 0x8
    static let continuation: UInt8 = 0x9
}

/// Frame flags; what a bit means depends on the frame type.
enum FrameFlags {
    static let endStream: UInt8 = 0x1
    static let acknowledge: UInt8 = 0x1
    static let endHeaders: UInt8 = 0x4
    static let padded: UInt8 = 0x8
    static let priority: UInt8 = 0x20
}

/// The settings of RFC 9113 section 6.5.2.
enum SettingIdentifier {
    static let headerTableSize: UInt16 = 0x1
    static let enablePush: UInt16 = 0x2
    static let maximumConcurrentStreams: UInt16 = 0x3
    static let initialWindowSize: UInt16 = 0x4
    static let maximumFrameSize: UInt16 = 0x5
    static let maximumHeaderListSize: UInt16 = 0x6
}

/// Numbers that RFC 9113 fixes.
enum HTTP2Constant {
    static let frameHeaderBytes = 9
    static let defaultWindowBytes = 65_535
    static let maximumWindowBytes = Int(Int32.max)
    static let defaultFrameBytes = 16_384
    static let maximumFrameBytes = 16_777_215
    static let defaultHeaderTableBytes = 4_096
    static let maximumStreamID: UInt32 = 0x7fff_ffff
    static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
    /// The five bytes before every gRPC message: compressed flag and length.
    static let messagePrefixBytes = 5
}

/// The nine bytes before every frame.
struct FrameHeader: Equatable {
    var length: Int
    var type: UInt8
    var flags: UInt8
    var streamID: UInt32

    func has(_ flag: UInt8) -> Bool { flags & flag != 0 }
}
