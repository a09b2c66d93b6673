import NIOCore

/// The SwiftNIO end of the server: one per connection, last in the pipeline.
///
/// A read batch is what NIO hands out before `channelReadComplete`; answers that the service gives
/// meanwhile leave in one write behind it. While the socket takes no more, nothing is read.
public final class GRPCServerHandler<Service: GRPCService>: ChannelDuplexHandler {
    /// Bytes from the client.
    public typealias InboundIn = ByteBuffer
    /// Nothing stands behind this handler.
    public typealias OutboundIn = Never
    /// Bytes for the client.
    public typealias OutboundOut = ByteBuffer

    private let service: Service
    private let connection: GRPCServerConnection
    private var isStarted = false
    private var isDispatching = false
    private var holdsRead = false

    /// A handler for one connection; the service may be shared within the event loop.
    public init(service: Service, limits: HTTP2Limits = HTTP2Limits()) {
        self.service = service
        connection = GRPCServerConnection(limits: limits)
    }

    /// Starts at once on a channel that is active already.
    public func handlerAdded(context: ChannelHandlerContext) {
        if context.channel.isActive { start(context) }
    }

    /// Starts.
    public func channelActive(context: ChannelHandlerContext) {
        start(context)
        context.fireChannelActive()
    }

    /// Ends without the channel.
    public func handlerRemoved(context: ChannelHandlerContext) {
        end()
    }

    /// Ends with the channel.
    public func channelInactive(context: ChannelHandlerContext) {
        end()
        context.fireChannelInactive()
    }

    private func start(_ context: ChannelHandlerContext) {
        guard !isStarted else { return }
        isStarted = true
        connection.attach(context)
        connection.dispatch = { [unowned self] in self.dispatchEvents() }
        service.connectionOpened(connection)
        connection.flush()
    }

    private func end() {
        guard connection.isOpen else { return }
        connection.detach()
        for request in connection.core.unanswered {
            service.streamCancelled(request.stream, tag: request.tag, on: connection)
        }
        service.connectionClosed(connection)
        connection.attachment = nil
    }

    /// Hands what the bytes mean to the service.
    public func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        received(unwrapInboundIn(data))
    }

    /// Ends the read batch: one write takes all answers.
    public func channelReadComplete(context: ChannelHandlerContext) {
        readEnded()
        context.fireChannelReadComplete()
    }

    /// Reads only while the socket takes what we write.
    public func read(context: ChannelHandlerContext) {
        if asksForBytes() { context.read() }
    }

    /// Goes on with what waited for the socket.
    public func channelWritabilityChanged(context: ChannelHandlerContext) {
        let isWritable = context.channel.isWritable
        connection.core.engine.isWritable = isWritable
        if isWritable {
            connection.flush()
            if holdsRead {
                holdsRead = false
                context.read()
            }
        }
        context.fireChannelWritabilityChanged()
    }

    /// A failed socket is closed.
    public func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    // MARK: Past the pipeline

    /// What `channelRead` does with bytes.
    package func received(_ bytes: ByteBuffer) {
        connection.core.engine.receive(
            bytes, nowNanoseconds: NIODeadline.now().uptimeNanoseconds)
        dispatchEvents()
    }

    /// What `channelReadComplete` does.
    package func readEnded() {
        guard connection.isOpen else { return }
        service.readBatchComplete(on: connection)
        connection.flush()
    }

    /// Whether to read on; if not, `read` is called on the pipeline later.
    package func asksForBytes() -> Bool {
        holdsRead = !connection.core.engine.isWritable
        return !holdsRead
    }

    /// From now on bytes leave this way instead of through the pipeline. To be called once the
    /// handler is in it.
    package func write(by write: @escaping (ByteBuffer) -> Void) {
        connection.directWrite = write
    }

    /// Hands out events until there are none. A call of the service may flush, which may bring up
    /// events again: they are taken by the loop that is already running.
    private func dispatchEvents() {
        guard !isDispatching else { return }
        isDispatching = true
        defer { isDispatching = false }
        while connection.isOpen {
            switch connection.core.nextEvent() {
            case .needsBytes: return
            case .request(let id, let head, let isEnd):
                let tag = service.requestStarted(id, head, on: connection)
                connection.core.setTag(id, tag)
                if isEnd, connection.core.isUnanswered(id) {
                    service.requestEnded(id, tag: tag, on: connection)
                }
            case .message(let id, let tag, let message, let isLast):
                service.messageReceived(id, tag: tag, message, isLast: isLast, on: connection)
            case .ended(let id, let tag):
                service.requestEnded(id, tag: tag, on: connection)
            case .cancelled(let id, let tag):
                service.streamCancelled(id, tag: tag, on: connection)
            case .drained(let id, let tag):
                service.streamDrained(id, tag: tag, on: connection)
            case .failed(let error):
                service.connectionFailed(connection, error)
                connection.flush()
                return
            }
        }
    }
}
