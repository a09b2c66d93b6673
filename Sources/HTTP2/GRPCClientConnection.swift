import NIOCore
import Synchronization

/// One connection to a server. Calls may be made from any task; they share the connection.
public final class GRPCClientConnection: Sendable {
    /// The connection's channel.
    public let channel: any Channel
    private let handler: NIOLoopBound<GRPCClientHandler>
    private let nextID = Atomic<UInt64>(1)
    private let limits: HTTP2Limits

    /// Adds the client to the end of a channel's pipeline; call it on the channel's event loop, in
    /// the bootstrap's channel initializer. Calls made before the channel is connected wait for it.
    public static func add(
        to channel: any Channel, configuration: GRPCClientConfiguration
    ) throws -> GRPCClientConnection {
        channel.eventLoop.preconditionInEventLoop()
        let handler = GRPCClientHandler(configuration: configuration)
        try channel.pipeline.syncOperations.addHandler(handler)
        return GRPCClientConnection(
            channel: channel, handler: handler, limits: configuration.limits)
    }

    private init(channel: any Channel, handler: GRPCClientHandler, limits: HTTP2Limits) {
        self.channel = channel
        self.handler = NIOLoopBound(handler, eventLoop: channel.eventLoop)
        self.limits = limits
    }

    /// Completes when the connection is closed.
    public var closeFuture: EventLoopFuture<Void> { channel.closeFuture }

    /// Makes a call with one message each way. Cancelling the task gives the call up.
    public func unary(
        _ request: GRPCRequest, _ message: [UInt8]
    ) async throws(GRPCCallError) -> [UInt8] {
        let id = takeID()
        let flag = CancellationFlag()
        let answer = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                channel.eventLoop.execute { [handler] in
                    let receiver = UnaryReceiver(continuation)
                    guard !flag.isSet else {
                        return receiver.finish(.failed(Self.cancelledUnsent))
                    }
                    let call = ClientCall(request, .unary(receiver), message: message)
                    handler.value.start(id, call)
                }
            }
        } onCancel: {
            flag.set()
            channel.eventLoop.execute { [handler] in
                handler.value.abandon(id, GRPCStatus(.canceled, "the call was cancelled"))
            }
        }
        return try answer.get()
    }

    /// Opens a streaming call. It begins at once, without waiting for a message.
    public func openStream(_ request: GRPCRequest) -> GRPCClientStream {
        let id = takeID()
        let mailbox = GRPCClientStream.Mailbox(limits: limits)
        channel.eventLoop.execute { [handler] in
            handler.value.start(id, ClientCall(request, .stream(mailbox)))
        }
        return GRPCClientStream(
            id: id, mailbox: mailbox, handler: handler, eventLoop: channel.eventLoop)
    }

    /// Takes no more calls and closes when the open ones have ended.
    public func drain() {
        channel.eventLoop.execute { [handler] in handler.value.drain() }
    }

    /// Closes at once; open calls fail.
    public func close() async {
        channel.close(promise: nil)
        try? await channel.closeFuture.get()
    }

    private func takeID() -> UInt64 {
        nextID.wrappingAdd(1, ordering: .relaxed).oldValue
    }

    private static let cancelledUnsent = GRPCCallError(
        reach: .neverSent, status: GRPCStatus(.canceled, "the call was cancelled"))
}
