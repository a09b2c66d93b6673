import EtcdWire
import NIOCore

/// A client's connection, as the service sees it. Belongs to the connection's event loop.
///
/// Answers gather until `flush`, or until the end of the read batch that is being handled. What is
/// sent on a stream that is gone is dropped silently: the client may have given up meanwhile.
public final class GRPCServerConnection {
    // Whoever calls out of here (the socket, the service) has ended its access before; to check that
    // at run time took 80 instructions for each access.
    @exclusivity(unchecked) var core: ServerCore
    private var context: ChannelHandlerContext?
    private var isFlushing = false
    private var isClosing = false
    /// What the service keeps for this connection.
    public var attachment: AnyObject? {
        get { attached }
        set { attached = newValue }
    }
    // Accesses from other modules would be checked in spite of the attribute: hence the property.
    @exclusivity(unchecked) private var attached: AnyObject?
    /// Hands out events that came up while flushing.
    var dispatch: (() -> Void)?
    /// How bytes leave past the pipeline; nil if they don't.
    @exclusivity(unchecked) var directWrite: ((ByteBuffer) -> Void)?

    /// After the last bytes are written the socket stays open for the peer to read them; closing
    /// at once with unread input would discard them.
    static let lingerTime = TimeAmount.seconds(1)

    init(limits: HTTP2Limits) {
        core = ServerCore(limits: limits)
    }

    func attach(_ context: ChannelHandlerContext) {
        self.context = context
        core.engine.isWritable = context.channel.isWritable
    }

    func detach() {
        context = nil
        dispatch = nil
        directWrite = nil
    }

    // MARK: For the service

    /// False once the connection is closed.
    public var isOpen: Bool { context != nil }

    /// Where the client is.
    public var remoteAddress: SocketAddress? { context?.remoteAddress }

    /// Streams that are open now.
    public var openStreamCount: Int { core.engine.streams.count }

    /// Bytes that wait for the client's windows or the socket, all streams together.
    public var unsentBytes: Int { core.engine.unsentBytes }

    /// Bytes that wait on one stream; 0 when it is gone.
    public func unsentBytes(_ stream: StreamID) -> Int {
        core.engine.streams.find(stream.rawValue)
            .map { core.engine.streams[$0].unsentBytes } ?? 0
    }

    /// True when the socket has taken all but what waits for the client's windows.
    public var hasSentAll: Bool {
        guard let context else { return true }
        let waiting = try? context.channel.syncOptions?.getOption(.bufferedWritableBytes)
        return core.engine.outbound.readableBytes == 0 && waiting ?? 0 == 0
    }

    /// Answers with one message and status OK; `write` appends the message and must not use the
    /// connection.
    public func sendUnary(_ stream: StreamID, _ write: (inout ByteBuffer) -> Void) {
        core.sendMessage(stream, write)
        core.engine.sendEnd(stream, ResponseBlocks.trailersOK)
    }

    /// Answers with one message and status OK.
    public func sendUnary(_ stream: StreamID, _ message: [UInt8]) {
        core.sendUnary(stream, message)
    }

    /// Begins an answer of one message whose bytes come piece by piece with `continueMessage`, then
    /// `finish`. False when the stream is gone.
    @discardableResult
    public func beginMessage(_ stream: StreamID, byteCount: Int) -> Bool {
        core.beginMessage(stream, byteCount: byteCount)
    }

    /// Sends the next bytes of the message that was begun. False when the stream is gone.
    @discardableResult
    public func continueMessage(_ stream: StreamID, _ bytes: [UInt8]) -> Bool {
        core.engine.continueMessage(stream, bytes)
    }

    /// Sends one message of a streamed answer; `write` appends it and must not use the connection.
    /// False when the stream is gone.
    @discardableResult
    public func sendMessage(_ stream: StreamID, _ write: (inout ByteBuffer) -> Void) -> Bool {
        core.sendMessage(stream, write)
    }

    /// Sends one message of a streamed answer. False when the stream is gone.
    @discardableResult
    public func sendMessage(_ stream: StreamID, _ message: [UInt8]) -> Bool {
        core.sendMessage(stream, message)
    }

    /// Ends an answer after everything sent before; in the middle of a message, which only an error
    /// may do, the stream is reset. `trailers` are extra fields with lower-case
    /// names; their values may hold any text and are percent-encoded like `grpc-message`.
    public func finish(
        _ stream: StreamID, _ status: GRPCStatus, trailers: [(name: String, value: String)] = []
    ) {
        core.finish(stream, status, trailers: trailers)
    }

    /// Resets a stream whose client takes nothing of what is sent; nobody hears of it any more.
    public func reset(_ stream: StreamID) {
        core.engine.resetStream(stream, .enhanceYourCalm)
        flush()
    }

    /// Writes what has gathered, in one write.
    public func flush() {
        guard let context, !isFlushing else { return }
        isFlushing = true
        repeat {
            writeAll(context)
            // A drained stream may be given more, which must not wait for the next occasion.
            if !core.engine.drained.isEmpty { dispatch?() }
        } while core.engine.outbound.readableBytes > 0
        isFlushing = false
        if core.engine.failure != nil || core.engine.isShutDown { closeAfterWriting() }
    }

    private func writeAll(_ context: ChannelHandlerContext) {
        while true {
            core.engine.pump()
            guard core.engine.outbound.readableBytes > 0 else { return }
            // The write may call back into this object (errors, and writability as soon as it
            // changes), so the core is not held during it.
            let bytes = core.engine.takeOutbound()
            if let directWrite {
                directWrite(bytes)
            } else {
                context.writeAndFlush(NIOAny(bytes), promise: nil)
            }
            core.engine.recycleOutbound(bytes)
        }
    }

    /// Starts a graceful end: the client is told to open no more streams, and the connection closes
    /// when the open ones have ended. Ending long-lived ones (watches) is the service's part.
    public func shutDownGracefully() {
        core.engine.beginShutdown()
        flush()
    }

    /// Closes the connection at once.
    public func close() {
        context?.close(promise: nil)
    }

    /// Closes when everything written has left; then gives the client time to read it.
    private func closeAfterWriting() {
        guard let context, !isClosing else { return }
        isClosing = true
        let channel = context.channel
        context.close(mode: .output).whenFailure { _ in channel.close(promise: nil) }
        context.eventLoop.scheduleTask(in: Self.lingerTime) { channel.close(promise: nil) }
    }
}
