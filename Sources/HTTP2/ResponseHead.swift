import EtcdWire
import NIOHPACK

/// What a block of response headers comes to.
package enum ResponseVerdict {
    /// The answer begins; messages follow.
    case head
    /// An interim response (1xx); the real one follows.
    case interim
    /// The answer ends.
    case end(GRPCStatus, trailers: [ResponseField])
    /// No valid HTTP/2 response.
    case malformed

    /// Judges the fields of a header block. A block that opens the answer and already has a
    /// `grpc-status` is the whole answer ("Trailers-Only").
    static func parse(_ fields: HPACKHeaders, opening: Bool) -> ResponseVerdict {
        var httpStatus: Int?
        var grpcStatus: String?
        var grpcMessage = ""
        var contentType = ""
        var extra: [ResponseField] = []
        var seesRegularField = false
        for (name, value, _) in fields {
            guard FieldRules.isValid(value: value) else { return .malformed }
            if name.utf8.first == UInt8(ascii: ":") {
                guard opening, !seesRegularField, name == ":status", httpStatus == nil,
                    value.utf8.count == 3, let number = FieldRules.contentLength(value)
                else { return .malformed }
                httpStatus = number
                continue
            }
            seesRegularField = true
            guard FieldRules.isValid(name: name) else { return .malformed }
            switch name {
            case "grpc-status": grpcStatus = value
            case "grpc-message": grpcMessage = PercentCoding.decode(value)
            case "content-type": contentType = value
            default: extra.append(ResponseField(name: name, value: PercentCoding.decode(value)))
            }
        }
        if opening {
            guard let httpStatus else { return .malformed }
            if (100..<200).contains(httpStatus) { return .interim }
            guard httpStatus == 200 || grpcStatus != nil else {
                return .end(status(httpStatus: httpStatus), trailers: extra)
            }
            if grpcStatus == nil {
                guard RequestVerdict.isGRPC(contentType: contentType) else {
                    let text = "unexpected content-type \"\(contentType)\" in the response"
                    return .end(GRPCStatus(.unknown, text), trailers: extra)
                }
                return .head
            }
        }
        guard let grpcStatus else {
            return .end(GRPCStatus(.unknown, "no grpc-status in trailers"), trailers: extra)
        }
        let code = Int(grpcStatus).flatMap(GRPCStatusCode.init(rawValue:)) ?? .unknown
        return .end(GRPCStatus(code, grpcMessage), trailers: extra)
    }

    /// The mapping for answers that do not come from a gRPC server (gRPC's
    /// "HTTP to gRPC Status Code Mapping").
    static func status(httpStatus: Int) -> GRPCStatus {
        let code: GRPCStatusCode =
            switch httpStatus {
            case 400: .internal
            case 401: .unauthenticated
            case 403: .permissionDenied
            case 404: .unimplemented
            case 429, 502, 503, 504: .unavailable
            default: .unknown
            }
        return GRPCStatus(code, "HTTP status \(httpStatus)")
    }
}

/// A header field of a response.
public struct ResponseField: Equatable, Sendable {
    /// Lower-case.
    public let name: String
    /// Decoded text.
    public let value: String
}
