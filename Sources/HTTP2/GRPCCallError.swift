import EtcdWire

/// Why a call failed, and whether its request can have had an effect.
public struct GRPCCallError: Error, Equatable, Sendable {
    /// How far the request came.
    public enum Reach: Equatable, Sendable {
        /// It was certainly not processed: it never left completely, or the server refused it
        /// unseen. Trying again, elsewhere, is safe.
        case neverSent
        /// The server answered with this status.
        case answered
        /// It may have been processed.
        case outcomeUnknown
    }

    /// How far the request came.
    public let reach: Reach
    /// The server's status, or the one that describes the failure.
    public let status: GRPCStatus
    /// Extra fields of the answer, such as `martlet-detail`.
    public let trailers: [ResponseField]

    /// A failure from its parts.
    public init(reach: Reach, status: GRPCStatus, trailers: [ResponseField] = []) {
        self.reach = reach
        self.status = status
        self.trailers = trailers
    }

    /// What a reset stream means (gRPC over HTTP/2, "Errors").
    init(reset code: HTTP2ErrorCode) {
        let statusCode: GRPCStatusCode =
            switch code {
            case .refusedStream: .unavailable
            case .cancel: .canceled
            case .enhanceYourCalm: .resourceExhausted
            default: .internal
            }
        self.init(
            reach: code == .refusedStream ? .neverSent : .outcomeUnknown,
            status: GRPCStatus(
                statusCode, "the server reset the stream (code \(code.rawValue))"))
    }
}
