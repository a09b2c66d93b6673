/// The status codes of gRPC (`grpc-status`).
public enum GRPCStatusCode: Int, CaseIterable, Sendable {
    /// The call succeeded.
    case ok = 0
    /// The caller gave up.
    case canceled = 1
    /// Nothing more is known.
    case unknown = 2
    /// The request makes no sense, whatever the state.
    case invalidArgument = 3
    /// The deadline passed; the outcome may be unknown.
    case deadlineExceeded = 4
    /// What was asked for does not exist.
    case notFound = 5
    /// What should be created exists.
    case alreadyExists = 6
    /// The caller is known and may not do this.
    case permissionDenied = 7
    /// A quota or limit is used up.
    case resourceExhausted = 8
    /// The state does not allow this now, and repeating will not help.
    case failedPrecondition = 9
    /// A conflict; repeat the larger operation.
    case aborted = 10
    /// Past the valid range.
    case outOfRange = 11
    /// The method does not exist here.
    case unimplemented = 12
    /// A broken invariant.
    case `internal` = 13
    /// Not now; repeating may help.
    case unavailable = 14
    /// Data is lost or corrupt.
    case dataLoss = 15
    /// The caller is not known.
    case unauthenticated = 16

    /// The HTTP status that a JSON gateway answers with (the mapping of `google.rpc.Code`).
    public var httpStatus: Int {
        switch self {
        case .ok: 200
        case .canceled: 499
        case .unknown, .internal, .dataLoss: 500
        case .invalidArgument, .failedPrecondition, .outOfRange: 400
        case .deadlineExceeded: 504
        case .notFound: 404
        case .alreadyExists, .aborted: 409
        case .permissionDenied: 403
        case .resourceExhausted: 429
        case .unimplemented: 501
        case .unavailable: 503
        case .unauthenticated: 401
        }
    }
}
