import EtcdWire
import HTTP2

/// Why a call failed: where, why, and what to do about it.
public struct KVClientError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What a caller may have to tell apart.
    public enum Kind: Equatable, Sendable {
        /// The text of an endpoint makes no sense.
        case invalidEndpoint
        /// No connection; nothing was sent.
        case unreachable
        /// No answer in time; nothing was changed.
        case timedOut
        /// The server answered with an error; nothing was changed.
        case refused(GRPCStatusCode)
        /// A write may have happened, or may happen yet. Read before you repeat it.
        case outcomeUnknown
        /// The answer can't be understood.
        case invalidAnswer
        /// The task was cancelled; nothing was changed.
        case cancelled
    }

    /// What a caller may have to tell apart.
    public let kind: Kind
    /// The endpoint that failed, as it was configured; empty if it was none in particular.
    public let endpoint: String
    /// What happened: for an answered call etcd's text.
    public let cause: String
    /// What the server adds: its node, the reason and the remedy it knows (`martlet-detail`).
    public let detail: String
    /// What to do; empty if there is nothing to say.
    public let remedy: String

    /// An error from its parts.
    public init(
        _ kind: Kind, endpoint: String = "", cause: String, detail: String = "",
        remedy: String = ""
    ) {
        self.kind = kind
        self.endpoint = endpoint
        self.cause = cause
        self.detail = detail
        self.remedy = remedy
    }

    /// One line for humans.
    public var description: String {
        var text = endpoint.isEmpty ? "" : "\(endpoint): "
        if kind == .outcomeUnknown { text += "outcome unknown: " }
        text += cause
        if !detail.isEmpty { text += " (\(detail))" }
        if !remedy.isEmpty { text += "; \(remedy)" }
        return text
    }

    static let cancelledByCaller = KVClientError(.cancelled, cause: "the call was cancelled")
}

/// Whether a call may change the store.
public enum CallEffect: Sendable {
    /// It may be repeated at will.
    case reads
    /// It must take effect at most once.
    case writes
}

/// What follows from a failed try.
enum FailedTry: Error, Equatable {
    /// Nothing was sent, and this endpoint can't be reached now.
    case noConnection(KVClientError)
    /// Trying again, here or elsewhere, is safe and may help.
    case repeats(KVClientError)
    /// The call is over.
    case ends(KVClientError)

    /// The failure itself.
    var cause: KVClientError {
        switch self {
        case .noConnection(let error), .repeats(let error), .ends(let error): error
        }
    }

    static let unknownRemedy = "read the key to see whether the write happened, then repeat it"

    /// Decides. A write is repeated only if it certainly never reached a server; a read is repeated
    /// unless the server has judged the request itself.
    init(_ error: GRPCCallError, effect: CallEffect, endpoint: String) {
        let detail = error.trailers.first { $0.name == "martlet-detail" }?.value ?? ""
        let cause =
            error.status.message.isEmpty ? "status \(error.status.code)" : error.status.message
        func failure(_ kind: KVClientError.Kind, _ remedy: String = "") -> KVClientError {
            KVClientError(kind, endpoint: endpoint, cause: cause, detail: detail, remedy: remedy)
        }
        switch error.reach {
        case .neverSent:
            self = .repeats(failure(.unreachable))
        case .outcomeUnknown:
            switch effect {
            case .reads: self = .repeats(failure(.timedOut))
            case .writes: self = .ends(failure(.outcomeUnknown, Self.unknownRemedy))
            }
        case .answered:
            guard Self.isPassing(error.status.code) else {
                self = .ends(failure(.refused(error.status.code), Self.remedy(error.status)))
                return
            }
            switch effect {
            case .reads: self = .repeats(failure(.refused(error.status.code)))
            case .writes:
                self =
                    Self.wroteNothing(error.status)
                    ? .ends(failure(.refused(error.status.code), "try again"))
                    : .ends(failure(.outcomeUnknown, Self.unknownRemedy))
            }
        }
    }

    /// Codes that speak about the server's state rather than about the request.
    static func isPassing(_ code: GRPCStatusCode) -> Bool {
        switch code {
        case .unavailable, .deadlineExceeded, .canceled, .internal, .unknown, .aborted: true
        case .ok, .invalidArgument, .notFound, .alreadyExists, .permissionDenied,
            .resourceExhausted, .failedPrecondition, .outOfRange, .unimplemented, .dataLoss,
            .unauthenticated:
            false
        }
    }

    /// Texts by which a server says that it took nothing on.
    private static func wroteNothing(_ status: GRPCStatus) -> Bool {
        [EtcdError.noLeader, .unhealthyCluster].contains { $0.message == status.message }
    }

    private static func remedy(_ status: GRPCStatus) -> String {
        switch status.message {
        case EtcdError.compacted.message: "read without --rev, or at a newer revision"
        case EtcdError.leaseNotFound.message: "it has expired or was revoked; grant a new one"
        case EtcdError.requestTooLarge.message: "split it, or raise the server's limit"
        default: status.code == .unimplemented ? "this server doesn't have that call" : ""
        }
    }
}
