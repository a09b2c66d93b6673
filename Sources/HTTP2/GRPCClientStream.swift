import NIOCore
import Synchronization

/// A streaming call: messages both ways until both halves are closed. May be used from any task;
/// one task at a time receives. Messages that nobody takes stop the server through flow control.
/// Dropping the last reference gives the call up.
public final class GRPCClientStream: Sendable, AsyncSequence {
    /// A message.
    public typealias Element = [UInt8]
    /// Why the call failed.
    public typealias Failure = GRPCCallError

    let id: UInt64
    let mailbox: Mailbox
    private let handler: NIOLoopBound<GRPCClientHandler>
    private let eventLoop: any EventLoop

    init(
        id: UInt64, mailbox: Mailbox, handler: NIOLoopBound<GRPCClientHandler>,
        eventLoop: any EventLoop
    ) {
        self.id = id
        self.mailbox = mailbox
        self.handler = handler
        self.eventLoop = eventLoop
    }

    deinit {
        cancel()
    }

    /// Sends a message; waits while too many bytes are on their way already.
    public func send(_ message: [UInt8]) async throws(GRPCCallError) {
        try await mailbox.reserve(message.count)
        eventLoop.execute { [handler, id] in handler.value.send(id, message) }
    }

    /// Closes our half: no more messages will be sent.
    public func finishSending() {
        eventLoop.execute { [handler, id] in handler.value.finishSending(id) }
    }

    /// The next message, or nil when the call has ended with status OK.
    public func receive() async throws(GRPCCallError) -> [UInt8]? {
        let next = await withTaskCancellationHandler {
            await mailbox.next()
        } onCancel: {
            cancel()
        }
        switch next {
        case .message(let message, let consumedBytes):
            if consumedBytes > 0 {
                eventLoop.execute { [handler, id] in
                    handler.value.consume(id, bytes: consumedBytes)
                }
            }
            return message
        case .end: return nil
        case .failure(let error): throw error
        }
    }

    /// Gives the call up; a pending `receive` throws with code `canceled`.
    public func cancel() {
        eventLoop.execute { [handler, id] in
            handler.value.abandon(id, GRPCStatus(.canceled, "the call was cancelled"))
        }
    }

    /// Iterates over the messages of the answer.
    public func makeAsyncIterator() -> AsyncIterator {
        AsyncIterator(stream: self)
    }

    /// The iterator of the messages.
    public struct AsyncIterator: AsyncIteratorProtocol {
        let stream: GRPCClientStream

        /// The next message, or nil when the call has ended with status OK.
        public mutating func next() async throws(GRPCCallError) -> [UInt8]? {
            try await stream.receive()
        }

        /// The next message, or nil when the call has ended with status OK.
        public mutating func next(
            isolation actor: isolated (any Actor)?
        ) async throws(GRPCCallError) -> [UInt8]? {
            try await stream.receive()
        }
    }
}

extension GRPCClientStream {
    /// Stands between the event loop, which delivers, and the tasks, which send and receive.
    final class Mailbox: Sendable {
        /// What `receive` comes to.
        enum Next: Sendable {
            /// A message, and the bytes to hand back to flow control now.
            case message([UInt8], consumedBytes: Int)
            case end
            case failure(GRPCCallError)
        }

        private struct State {
            var inbox = CircularBuffer<[UInt8]>()
            var receiver: CheckedContinuation<Next, Never>?
            var consumedBytes = 0
            /// Bytes handed to `send` that have not reached the event loop.
            var reservedBytes = 0
            var unsentBytes = 0
            var senders: [CheckedContinuation<Void, Never>] = []
            var outcome: ClientCore.Outcome?
        }

        private let state = Mutex(State())
        private let maximumUnsentBytes: Int
        /// Consumed bytes are handed back in portions of this size: a quarter of the window, so
        /// that what is not handed back yet never keeps the window from being granted again.
        private let creditBytes: Int

        init(limits: HTTP2Limits) {
            maximumUnsentBytes = limits.drainedBytes
            creditBytes = limits.streamReceiveWindowBytes / 4
        }

        // MARK: Called by tasks

        /// Waits until another message may be sent, and counts its bytes.
        func reserve(_ bytes: Int) async throws(GRPCCallError) {
            while true {
                if try tryReserve(bytes) { return }
                await withCheckedContinuation { continuation in
                    let resumesNow = state.withLock { state in
                        let mayGoOn = state.outcome != nil || hasRoom(state)
                        if !mayGoOn { state.senders.append(continuation) }
                        return mayGoOn
                    }
                    if resumesNow { continuation.resume() }
                }
            }
        }

        private func hasRoom(_ state: borrowing State) -> Bool {
            state.reservedBytes + state.unsentBytes <= maximumUnsentBytes
        }

        private func tryReserve(_ bytes: Int) throws(GRPCCallError) -> Bool {
            let (isReserved, error) = state.withLock { state -> (Bool, GRPCCallError?) in
                if let outcome = state.outcome { return (false, Self.sendError(outcome)) }
                guard hasRoom(state) else { return (false, nil) }
                state.reservedBytes += bytes
                return (true, nil)
            }
            if let error { throw error }
            return isReserved
        }

        private static func sendError(_ outcome: ClientCore.Outcome) -> GRPCCallError {
            switch outcome {
            case .answered(let status, let trailers):
                GRPCCallError(reach: .answered, status: status, trailers: trailers)
            case .failed(let error): error
            }
        }

        /// The next message or the end; waits for it.
        func next() async -> Next {
            await withCheckedContinuation { continuation in
                let ready = state.withLock { state -> Next? in
                    precondition(state.receiver == nil, "two tasks receive from one stream")
                    if let next = take(&state) { return next }
                    state.receiver = continuation
                    return nil
                }
                if let ready { continuation.resume(returning: ready) }
            }
        }

        private func take(_ state: inout State) -> Next? {
            if let message = state.inbox.popFirst() {
                state.consumedBytes += message.count + HTTP2Constant.messagePrefixBytes
                var credit = 0
                if state.consumedBytes >= creditBytes {
                    credit = state.consumedBytes
                    state.consumedBytes = 0
                }
                return .message(message, consumedBytes: credit)
            }
            switch state.outcome {
            case nil: return nil
            case .answered(let status, let trailers)?:
                guard status.code != .ok else { return .end }
                return .failure(
                    GRPCCallError(reach: .answered, status: status, trailers: trailers))
            case .failed(let error)?: return .failure(error)
            }
        }

        // MARK: Called by the event loop

        func receive(_ message: [UInt8]) {
            deliver { $0.inbox.append(message) }
        }

        func finish(_ outcome: ClientCore.Outcome) {
            deliver { $0.outcome = outcome }
            resumeSenders()
        }

        private func deliver(_ change: (inout State) -> Void) {
            let resumption = state.withLock {
                state -> (CheckedContinuation<Next, Never>, Next)? in
                change(&state)
                guard let receiver = state.receiver, let next = take(&state) else {
                    return nil
                }
                state.receiver = nil
                return (receiver, next)
            }
            if let (receiver, next) = resumption { receiver.resume(returning: next) }
        }

        /// `count` reserved bytes have reached the event loop, and so many wait there.
        func sent(_ count: Int, unsentBytes: Int) {
            state.withLock { state in
                state.reservedBytes -= count
                state.unsentBytes = unsentBytes
            }
            resumeSenders()
        }

        private func resumeSenders() {
            let senders = state.withLock { state in
                guard state.outcome != nil || hasRoom(state) else {
                    return [CheckedContinuation<Void, Never>]()
                }
                defer { state.senders = [] }
                return state.senders
            }
            for sender in senders { sender.resume() }
        }
    }
}
