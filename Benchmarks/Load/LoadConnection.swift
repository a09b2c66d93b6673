import HTTP2
import NIOCore
import NIOPosix

/// What comes back on a connection. Called on the event loop.
protocol LoadReceiver: AnyObject {
    /// The connection takes calls.
    func open(_ connection: LoadConnection)
    /// A message of an answer, whose bytes were read at `time`.
    func receive(
        _ message: [UInt8], tag: UInt64, at time: NIODeadline, on connection: LoadConnection)
    /// A call has ended; `failure` is nil if its status was OK.
    func finish(tag: UInt64, failure: String?, on connection: LoadConnection)
    /// The connection is gone, and with it all its calls.
    func lose(_ connection: LoadConnection, reason: String)
}

/// One connection that calls through the I/O-free client core, with neither a task nor a
/// continuation per call: the load must cost little beside what it measures. Used on one event
/// loop only. Calls made while messages are delivered leave in one write.
final class LoadConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// The connection's place in the load, from 0.
    let number: Int
    private unowned let receiver: any LoadReceiver
    // Accesses end with their statements. Checking that was a tenth of what a renewal took here.
    @exclusivity(unchecked) private var core: ClientCore
    private var blocks: RequestBlocks
    private var context: ChannelHandlerContext?
    private var isDelivering = false
    private var isLost = false

    /// A connection that is not connected yet.
    init(number: Int, authority: String, receiver: any LoadReceiver) {
        self.number = number
        self.receiver = receiver
        var limits = HTTP2Limits()
        limits.maximumMessageBytes = 1 << 30
        limits.maximumAssemblyBytes = 1 << 30
        core = ClientCore(limits: limits)
        blocks = RequestBlocks(authority: authority, isSecure: false, userAgent: "kvload")
    }

    // MARK: Calls

    /// Sends a unary call.
    func call(_ path: String, _ message: [UInt8], tag: UInt64) {
        guard let stream = core.engine.openStream(tag: tag) else {
            return receiver.finish(tag: tag, failure: "stream ids have run out", on: self)
        }
        let block = blocks.block(path: path, metadata: [], timeoutNanoseconds: nil)
        core.engine.sendMessage(stream, head: block, endStream: true) { $0.writeBytes(message) }
        flushUnlessDelivering()
    }

    /// Opens a stream and sends its first message.
    func openStream(_ path: String, _ message: [UInt8], tag: UInt64) -> StreamID? {
        guard let stream = core.engine.openStream(tag: tag) else { return nil }
        let block = blocks.block(path: path, metadata: [], timeoutNanoseconds: nil)
        core.engine.sendMessage(stream, head: block) { $0.writeBytes(message) }
        flushUnlessDelivering()
        return stream
    }

    /// Sends one more message of a stream.
    func send(_ message: [UInt8], on stream: StreamID) {
        core.engine.sendMessage(stream, head: [], message: message)
        flushUnlessDelivering()
    }

    private func flushUnlessDelivering() {
        if !isDelivering { flush() }
    }

    private func flush() {
        guard let context, context.channel.isActive else { return }
        while true {
            core.engine.pump()
            let bytes = core.engine.takeOutbound()
            guard bytes.readableBytes > 0 else { return }
            context.writeAndFlush(wrapOutboundOut(bytes), promise: nil)
            core.engine.recycleOutbound(bytes)
            core.engine.isWritable = context.channel.isWritable
        }
    }

    // MARK: Channel

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
    }

    func channelActive(context: ChannelHandlerContext) {
        flush()
        receiver.open(self)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        core.engine.isWritable = context.channel.isWritable
        flush()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        isDelivering = true
        let now = NIODeadline.now()
        core.engine.receive(unwrapInboundIn(data), nowNanoseconds: now.uptimeNanoseconds)
        deliver(at: now)
        isDelivering = false
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        flush()
    }

    func channelInactive(context: ChannelHandlerContext) {
        lose("the connection was closed")
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        lose("the connection failed: \(error)")
        context.close(promise: nil)
    }

    private func lose(_ reason: String) {
        context = nil
        guard !isLost else { return }
        isLost = true
        receiver.lose(self, reason: reason)
    }

    private func deliver(at time: NIODeadline) {
        let receiver = receiver
        while !isLost {
            switch core.nextEvent() {
            case .needsBytes: return
            case .message(let stream, let tag, let message):
                core.engine.consume(stream, bytes: message.count + 5)
                receiver.receive(message, tag: tag, at: time, on: self)
            case .finished(let tag, .answered(let status, _)):
                let failure = status.code == .ok ? nil : "\(status.code): \(status.message)"
                receiver.finish(tag: tag, failure: failure, on: self)
            case .finished(let tag, .failed(let error)):
                receiver.finish(tag: tag, failure: "\(error.status.message)", on: self)
            case .drained, .settled, .pingAnswered: break
            case .draining: lose("the server goes away")
            case .failed(let error): lose("the server broke the protocol: \(error.reason)")
            }
        }
    }

    func close() {
        isLost = true
        context?.close(promise: nil)
    }
}

extension LoadConnection {
    /// Begins to connect; the receiver learns how it ends. To be called on the event loop.
    static func connect(
        number: Int, to server: Server, on loop: any EventLoop, receiver: any LoadReceiver
    ) {
        let connection = LoadConnection(
            number: number, authority: "\(server.host):\(server.port)", receiver: receiver)
        let bound = NIOLoopBound(connection, eventLoop: loop)
        ClientBootstrap(group: loop)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(bound.value)
                }
            }
            .connect(host: server.host, port: server.port)
            .whenFailure { bound.value.lose("can't connect: \($0)") }
    }
}
