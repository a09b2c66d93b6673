import NIOCore
import Synchronization

/// What is to be called, and how.
public struct GRPCRequest: Sendable {
    /// The method's path, such as `/etcdserverpb.KV/Put`.
    public var path: String
    /// Extra header fields with lower-case names, such as `token`.
    public var metadata: [(name: String, value: String)]
    /// How long to wait for the end of the call; nil means for ever. The server is told.
    public var timeoutNanoseconds: Int64?

    /// A request from its parts.
    public init(
        path: String, metadata: [(name: String, value: String)] = [],
        timeoutNanoseconds: Int64? = nil
    ) {
        self.path = path
        self.metadata = metadata
        self.timeoutNanoseconds = timeoutNanoseconds
    }
}

/// A call on its way, owned by the handler and used on its event loop only.
final class ClientCall {
    /// Where the answer goes.
    enum Receiver {
        case unary(UnaryReceiver)
        case stream(GRPCClientStream.Mailbox)
    }

    let request: GRPCRequest
    let receiver: Receiver
    /// The message of a unary call, until it is sent.
    var message: [UInt8]?
    /// Nil until the call may open a stream.
    var streamID: StreamID?
    /// True once a flush has handed the request's bytes to the socket.
    var isFlushed = false
    var timeout: Scheduled<Void>?
    /// What a stream wants sent before its call may open a stream.
    var waitingMessages = CircularBuffer<[UInt8]>()
    var wantsEnd = false

    init(_ request: GRPCRequest, _ receiver: Receiver, message: [UInt8]? = nil) {
        self.request = request
        self.receiver = receiver
        self.message = message
    }
}

/// Takes the one message of a unary answer, then resumes the caller.
final class UnaryReceiver {
    typealias Answer = Result<[UInt8], GRPCCallError>

    private let continuation: CheckedContinuation<Answer, Never>
    private var message: [UInt8]?
    private var hasTooMany = false

    init(_ continuation: CheckedContinuation<Answer, Never>) {
        self.continuation = continuation
    }

    func receive(_ message: [UInt8]) {
        if self.message == nil { self.message = message } else { hasTooMany = true }
    }

    func finish(_ outcome: ClientCore.Outcome) {
        switch outcome {
        case .answered(let status, let trailers):
            guard status.code == .ok else {
                let error = GRPCCallError(reach: .answered, status: status, trailers: trailers)
                return continuation.resume(returning: .failure(error))
            }
            guard let message, !hasTooMany else {
                let text = "a unary answer without exactly one message"
                let error = GRPCCallError(
                    reach: .outcomeUnknown, status: GRPCStatus(.internal, text))
                return continuation.resume(returning: .failure(error))
            }
            continuation.resume(returning: .success(message))
        case .failed(let error):
            continuation.resume(returning: .failure(error))
        }
    }
}

/// Tells a call that its task was cancelled, also before the event loop has heard of the call.
final class CancellationFlag: Sendable {
    private let value = Atomic<Bool>(false)

    var isSet: Bool { value.load(ordering: .acquiring) }

    func set() {
        value.store(true, ordering: .releasing)
    }
}
