import EtcdWire
import NIOHPACK

/// What a client asks for before it sends a message. Shared by every request of a connection that
/// began with the same headers.
public final class RequestHead: Sendable {
    /// The method's path, such as `/etcdserverpb.KV/Put`.
    public let path: String
    /// The method of the API that the path names; nil for none.
    public let method: RPCMethod?
    /// How long the caller waits (`grpc-timeout`); nil means for ever.
    public let timeoutNanoseconds: Int64?
    /// The caller wants an error while the member has no leader (`hasleader: true`).
    public let requiresLeader: Bool
    /// The authentication token: metadata `token`, else `authorization`.
    public let token: String?
    /// All header fields, in the order in which they came.
    public let fields: HPACKHeaders

    init(
        path: String, timeoutNanoseconds: Int64?, requiresLeader: Bool, token: String?,
        fields: HPACKHeaders
    ) {
        self.path = path
        self.method = RPCMethod(path: path)
        self.timeoutNanoseconds = timeoutNanoseconds
        self.requiresLeader = requiresLeader
        self.token = token
        self.fields = fields
    }
}

/// What a block of request headers comes to.
package enum RequestVerdict {
    /// A gRPC request, with the body length that `content-length` promises, or -1.
    case accepted(RequestHead, promisedBodyBytes: Int)
    /// HTTP that cannot be answered as gRPC, or gRPC that we don't serve: answered at once.
    case refused(httpStatus: Int, GRPCStatus, extra: [(name: String, value: String)])
    /// No valid HTTP/2 request (RFC 9113 section 8.1.1): a stream error.
    case malformed
    /// Fields after the body, which carry no meaning in a request.
    case trailers

    /// Judges the fields of a header block.
    static func parse(_ fields: HPACKHeaders, opening: Bool) -> RequestVerdict {
        guard let parts = RequestParts(fields, opening: opening) else { return .malformed }
        guard opening else { return .trailers }
        guard let method = parts.method, let path = parts.path, parts.scheme != nil,
            path.utf8.first == UInt8(ascii: "/") || (path == "*" && method == "OPTIONS")
        else { return .malformed }
        return verdict(method: method, path: path, parts: parts)
    }

    private static func verdict(
        method: String, path: String, parts: RequestParts
    ) -> RequestVerdict {
        guard method == "POST" else {
            return .refused(
                httpStatus: 405,
                GRPCStatus(.internal, "http2: request method \"\(method)\" should be POST"),
                extra: [("allow", "POST")])
        }
        guard isGRPC(contentType: parts.contentType) else {
            return .refused(
                httpStatus: 415,
                GRPCStatus(.unknown, "invalid gRPC request content-type \"\(parts.contentType)\""),
                extra: [])
        }
        if let encoding = parts.encoding, encoding != "identity" {
            let text = "grpc: Decompressor is not installed for grpc-encoding \"\(encoding)\""
            return .refused(
                httpStatus: 200, GRPCStatus(.unimplemented, text),
                extra: [("grpc-accept-encoding", "identity")])
        }
        var timeoutNanoseconds: Int64?
        if let text = parts.timeout {
            guard let value = GRPCTimeout.parse(text) else {
                return .refused(
                    httpStatus: 200,
                    GRPCStatus(.internal, "malformed grpc-timeout: \"\(text)\""), extra: [])
            }
            timeoutNanoseconds = value
        }
        let head = RequestHead(
            path: path, timeoutNanoseconds: timeoutNanoseconds,
            requiresLeader: parts.requiresLeader, token: parts.token ?? parts.authorization,
            fields: parts.fields)
        return .accepted(head, promisedBodyBytes: parts.contentLength)
    }

    /// `application/grpc`, alone or followed by `+` or `;`.
    static func isGRPC(contentType: String) -> Bool {
        let prefix = "application/grpc"
        guard contentType.lowercased().hasPrefix(prefix) else { return false }
        let rest = contentType.utf8.dropFirst(prefix.utf8.count)
        return rest.isEmpty || rest.first == UInt8(ascii: "+") || rest.first == UInt8(ascii: ";")
    }
}

/// The fields of a request head, taken apart; nil when they break a rule of RFC 9113 section 8.
private struct RequestParts {
    let fields: HPACKHeaders
    var method: String?
    var scheme: String?
    var path: String?
    var hasAuthority = false
    var contentType = ""
    var contentLength = -1
    var timeout: String?
    var encoding: String?
    var requiresLeader = false
    var token: String?
    var authorization: String?

    init?(_ fields: HPACKHeaders, opening: Bool) {
        self.fields = fields
        var seesRegularField = false
        for (name, value, _) in fields {
            guard FieldRules.isValid(value: value) else { return nil }
            if name.utf8.first == UInt8(ascii: ":") {
                guard opening, !seesRegularField, takePseudo(name, value) else { return nil }
            } else {
                seesRegularField = true
                guard FieldRules.isValid(name: name), takeRegular(name, value) else { return nil }
            }
        }
    }

    /// Each pseudo-header field is known and there at most once.
    private mutating func takePseudo(_ name: String, _ value: String) -> Bool {
        switch name {
        case ":method":
            guard method == nil else { return false }
            method = value
        case ":scheme":
            guard scheme == nil else { return false }
            scheme = value
        case ":path":
            guard path == nil, !value.isEmpty else { return false }
            path = value
        case ":authority":
            guard !hasAuthority else { return false }
            hasAuthority = true
        default: return false
        }
        return true
    }

    private mutating func takeRegular(_ name: String, _ value: String) -> Bool {
        switch name {
        case "content-type": contentType = value
        case "content-length":
            guard contentLength < 0, let length = FieldRules.contentLength(value) else {
                return false
            }
            contentLength = length
        case "te": return value == "trailers"
        case "grpc-timeout": timeout = value
        case "grpc-encoding": encoding = value
        case "hasleader": requiresLeader = value == "true"
        case "token": token = value
        case "authorization": authorization = value
        case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
            return false
        default: break
        }
        return true
    }
}

/// What HTTP/2 allows in field names and values (RFC 9113 section 8.2.1).
enum FieldRules {
    static func isValid(name: String) -> Bool {
        !name.isEmpty
            && name.utf8.allSatisfy { byte in
                byte > 0x20 && byte < 0x7f && byte != UInt8(ascii: ":")
                    && !(byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z"))
            }
    }

    static func isValid(value: String) -> Bool {
        value.utf8.allSatisfy { $0 != 0 && $0 != UInt8(ascii: "\r") && $0 != UInt8(ascii: "\n") }
    }

    /// Digits only, small enough for an Int.
    static func contentLength(_ value: String) -> Int? {
        guard !value.isEmpty, value.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else {
            return nil
        }
        return Int(value)
    }
}

/// The header `grpc-timeout`: at most eight digits and a unit.
enum GRPCTimeout {
    private static let units: [(symbol: UInt8, nanoseconds: Int64)] = [
        (UInt8(ascii: "n"), 1), (UInt8(ascii: "u"), 1_000), (UInt8(ascii: "m"), 1_000_000),
        (UInt8(ascii: "S"), 1_000_000_000), (UInt8(ascii: "M"), 60_000_000_000),
        (UInt8(ascii: "H"), 3_600_000_000_000),
    ]

    /// Nanoseconds, or nil if the text is no timeout. 99,999,999 hours are more than an Int64 of
    /// nanoseconds holds and mean its maximum.
    static func parse(_ text: String) -> Int64? {
        guard let symbol = text.utf8.last,
            let unit = units.first(where: { $0.symbol == symbol })
        else { return nil }
        let digits = text.utf8.dropLast()
        guard (1...8).contains(digits.count), digits.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 })
        else { return nil }
        let count = digits.reduce(Int64(0)) { $0 * 10 + Int64($1 - 0x30) }
        let (product, overflow) = count.multipliedReportingOverflow(by: unit.nanoseconds)
        return overflow ? .max : product
    }

    /// The text for a timeout, in the finest unit that fits eight digits, rounded up.
    static func format(nanoseconds: Int64) -> String {
        let nanoseconds = max(nanoseconds, 1)
        for unit in units {
            let whole = nanoseconds / unit.nanoseconds
            let count = nanoseconds % unit.nanoseconds == 0 ? whole : whole + 1
            if count <= 99_999_999 {
                return "\(count)\(Character(UnicodeScalar(unit.symbol)))"
            }
        }
        return "99999999H"
    }
}
