import EtcdWire

/// How a gRPC call ended.
public struct GRPCStatus: Equatable, Sendable {
    /// The status code.
    public let code: GRPCStatusCode
    /// A text for humans, and for clients that compare texts.
    public let message: String

    /// A status from code and text.
    public init(_ code: GRPCStatusCode, _ message: String = "") {
        self.code = code
        self.message = message
    }

    /// The status that an etcd error is sent as.
    public init(_ error: EtcdError) {
        self.init(error.code, error.message)
    }

    /// Success.
    public static let ok = GRPCStatus(.ok)
}

/// `grpc-message` in its percent encoding (gRPC over HTTP/2, "Responses").
enum PercentCoding {
    /// Longer texts are cut: many clients accept 8 KiB of headers in all.
    static let maximumEncodedBytes = 4_096

    /// Keeps printable ASCII except '%'; every other byte becomes %XX.
    static func encode(_ text: String) -> [UInt8] {
        let digits = Array("0123456789ABCDEF".utf8)
        var encoded: [UInt8] = []
        encoded.reserveCapacity(text.utf8.count)
        for byte in text.utf8 {
            guard encoded.count + 3 <= maximumEncodedBytes else { break }
            if byte >= 0x20, byte <= 0x7e, byte != UInt8(ascii: "%") {
                encoded.append(byte)
            } else {
                encoded.append(UInt8(ascii: "%"))
                encoded.append(digits[Int(byte >> 4)])
                encoded.append(digits[Int(byte & 0xf)])
            }
        }
        return encoded
    }

    /// The inverse; what is no valid escape stands for itself.
    static func decode(_ text: String) -> String {
        guard text.utf8.contains(UInt8(ascii: "%")) else { return text }
        let bytes = Array(text.utf8)
        var decoded: [UInt8] = []
        var position = 0
        while position < bytes.count {
            if bytes[position] == UInt8(ascii: "%"), position + 2 < bytes.count,
                let high = hexDigit(bytes[position + 1]), let low = hexDigit(bytes[position + 2])
            {
                decoded.append(high << 4 | low)
                position += 3
            } else {
                decoded.append(bytes[position])
                position += 1
            }
        }
        return String(decoding: decoded, as: UTF8.self)
    }

    private static func hexDigit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
