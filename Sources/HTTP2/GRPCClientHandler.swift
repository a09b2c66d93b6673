import EtcdWire
import NIOCore

/// How a client connection behaves.
public struct GRPCClientConfiguration: Sendable {
    /// The bounds on what the server can make us hold.
    public var limits: HTTP2Limits
    /// What `:authority` says.
    public var authority: String
    /// True behind TLS.
    public var isSecure: Bool
    /// What `user-agent` says.
    public var userAgent: String
    /// A PING is sent after this long without received bytes; nil means never.
    public var keepaliveIntervalNanoseconds: Int64?
    /// The connection is given up when nothing comes this long after such a PING.
    public var keepaliveTimeoutNanoseconds: Int64
    /// Calls that may wait while the server allows no more streams.
    public var maximumWaitingCalls: Int

    /// A configuration with defaults.
    public init(
        authority: String, isSecure: Bool = false, userAgent: String = "martlet",
        limits: HTTP2Limits = HTTP2Limits(), keepaliveIntervalNanoseconds: Int64? = nil,
        keepaliveTimeoutNanoseconds: Int64 = 20_000_000_000, maximumWaitingCalls: Int = 10_000
    ) {
        self.limits = limits
        self.authority = authority
        self.isSecure = isSecure
        self.userAgent = userAgent
        self.keepaliveIntervalNanoseconds = keepaliveIntervalNanoseconds
        self.keepaliveTimeoutNanoseconds = keepaliveTimeoutNanoseconds
        self.maximumWaitingCalls = maximumWaitingCalls
    }
}

/// The SwiftNIO end of the client: one per connection, last in the pipeline.
final class GRPCClientHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = Never
    typealias OutboundOut = ByteBuffer

    private let configuration: GRPCClientConfiguration
    private var core: ClientCore
    private var blocks: RequestBlocks
    private var context: ChannelHandlerContext?
    private var calls: [UInt64: ClientCall] = [:]
    /// Calls that wait until the server allows more streams, oldest first.
    private var waiting = CircularBuffer<UInt64>()
    /// Calls whose bytes are gathered and not flushed.
    private var unflushed: [UInt64] = []
    private var isFlushScheduled = false
    private var isFlushing = false
    private var isDispatching = false
    private var holdsRead = false
    /// No new calls: the server or the owner wants the connection to end.
    private var isDraining = false
    private var closedReason: GRPCStatus?
    private var hasReceivedSinceCheck = false
    private var keepalive: Scheduled<Void>?

    private static let keepalivePing: UInt64 = 0x6b65_6570_616c_6976

    init(configuration: GRPCClientConfiguration) {
        self.configuration = configuration
        core = ClientCore(limits: configuration.limits)
        blocks = RequestBlocks(
            authority: configuration.authority, isSecure: configuration.isSecure,
            userAgent: configuration.userAgent)
    }

    // MARK: Channel

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { activate() }
    }

    func channelActive(context: ChannelHandlerContext) {
        activate()
        context.fireChannelActive()
    }

    private func activate() {
        flush()
        scheduleKeepalive()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        end(GRPCStatus(.unavailable, "the connection is closed"))
    }

    func channelInactive(context: ChannelHandlerContext) {
        end(GRPCStatus(.unavailable, "the connection was lost"))
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        end(GRPCStatus(.unavailable, "the connection failed: \(error)"))
        context.close(promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        hasReceivedSinceCheck = true
        core.engine.receive(
            unwrapInboundIn(data), nowNanoseconds: NIODeadline.now().uptimeNanoseconds)
        dispatchEvents()
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        flush()
        context.fireChannelReadComplete()
    }

    func read(context: ChannelHandlerContext) {
        if core.engine.isWritable {
            context.read()
        } else {
            holdsRead = true
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        let isWritable = context.channel.isWritable
        core.engine.isWritable = isWritable
        if isWritable {
            flush()
            if holdsRead {
                holdsRead = false
                context.read()
            }
        }
        context.fireChannelWritabilityChanged()
    }

    // MARK: Calls

    /// Starts a call. Its outcome comes through its receiver, exactly once.
    func start(_ id: UInt64, _ call: ClientCall) {
        guard context != nil, closedReason == nil, !isDraining else {
            let status = closedReason ?? GRPCStatus(.unavailable, "the connection is draining")
            return deliver(.failed(GRPCCallError(reach: .neverSent, status: status)), to: call)
        }
        if let timeout = call.request.timeoutNanoseconds { scheduleTimeout(id, call, timeout) }
        calls[id] = call
        if waiting.isEmpty, core.canOpenStream {
            open(id, call)
        } else if waiting.count < configuration.maximumWaitingCalls {
            waiting.append(id)
        } else {
            let status = GRPCStatus(.resourceExhausted, "too many calls wait for the server")
            finish(id, .failed(GRPCCallError(reach: .neverSent, status: status)))
        }
    }

    private func scheduleTimeout(_ id: UInt64, _ call: ClientCall, _ nanoseconds: Int64) {
        let handler = NIOLoopBound(self, eventLoop: eventLoop)
        call.timeout = eventLoop.scheduleTask(in: .nanoseconds(nanoseconds)) {
            handler.value.abandon(id, GRPCStatus(.deadlineExceeded, "the deadline passed"))
        }
    }

    private var eventLoop: any EventLoop {
        guard let context else { preconditionFailure("the handler is in no pipeline") }
        return context.eventLoop
    }

    private func open(_ id: UInt64, _ call: ClientCall) {
        guard let stream = core.engine.openStream(tag: id) else {
            isDraining = true
            let status = GRPCStatus(.unavailable, "the connection has used up its streams")
            return finish(id, .failed(GRPCCallError(reach: .neverSent, status: status)))
        }
        call.streamID = stream
        let block = blocks.block(
            path: call.request.path, metadata: call.request.metadata,
            timeoutNanoseconds: call.request.timeoutNanoseconds)
        switch call.receiver {
        case .unary:
            let message = call.message ?? []
            call.message = nil
            core.engine.sendMessage(stream, head: block, endStream: true) {
                $0.writeBytes(message)
            }
        case .stream:
            core.engine.sendHeaders(stream, block, endStream: false)
            while let message = call.waitingMessages.popFirst() {
                sendStreamMessage(message, call, stream)
            }
            if call.wantsEnd { core.engine.sendEnd(stream, []) }
        }
        unflushed.append(id)
        scheduleFlush()
    }

    /// Sends a message of a streaming call.
    func send(_ id: UInt64, _ message: [UInt8]) {
        guard let call = calls[id] else { return }
        guard let stream = call.streamID else {
            call.waitingMessages.append(message)
            return
        }
        sendStreamMessage(message, call, stream)
        scheduleFlush()
    }

    private func sendStreamMessage(_ message: [UInt8], _ call: ClientCall, _ stream: StreamID) {
        core.engine.sendMessage(stream, head: [], message: message)
        reportUnsent(call, stream, sent: message.count)
    }

    private func reportUnsent(_ call: ClientCall, _ stream: StreamID, sent: Int) {
        guard case .stream(let mailbox) = call.receiver else { return }
        let unsent =
            core.engine.streams.find(stream.rawValue)
            .map { core.engine.streams[$0].unsentBytes } ?? 0
        mailbox.sent(sent, unsentBytes: unsent)
    }

    /// Closes our half of a streaming call.
    func finishSending(_ id: UInt64) {
        guard let call = calls[id] else { return }
        call.wantsEnd = true
        guard let stream = call.streamID else { return }
        core.engine.sendEnd(stream, [])
        scheduleFlush()
    }

    /// The reader of a streaming call has taken messages of that many bytes, prefixes included.
    func consume(_ id: UInt64, bytes: Int) {
        guard let stream = calls[id]?.streamID else { return }
        core.engine.consume(stream, bytes: bytes)
        scheduleFlush()
    }

    /// Gives a call up.
    func abandon(_ id: UInt64, _ status: GRPCStatus) {
        guard let call = calls[id] else { return }
        let reach = reach(of: call)
        if let stream = call.streamID { core.engine.resetStream(stream, .cancel) }
        finish(id, .failed(GRPCCallError(reach: reach, status: status)))
        scheduleFlush()
    }

    /// A request that has not left completely cannot have been processed: not if its call waits,
    /// not if its bytes were never handed to the socket, and a unary one not if a part of its
    /// message still waits for the server's window.
    private func reach(of call: ClientCall) -> GRPCCallError.Reach {
        guard let stream = call.streamID, call.isFlushed else { return .neverSent }
        guard case .unary = call.receiver, let slot = core.engine.streams.find(stream.rawValue)
        else { return .outcomeUnknown }
        return core.engine.streams[slot].unsent == nil ? .outcomeUnknown : .neverSent
    }

    private func finish(_ id: UInt64, _ outcome: ClientCore.Outcome) {
        guard let call = calls.removeValue(forKey: id) else { return }
        deliver(outcome, to: call)
    }

    private func deliver(_ outcome: ClientCore.Outcome, to call: ClientCall) {
        call.timeout?.cancel()
        switch call.receiver {
        case .unary(let receiver): receiver.finish(outcome)
        case .stream(let mailbox): mailbox.finish(outcome)
        }
    }

    /// Starts what waited for the server to allow more streams.
    private func openWaiting() {
        while closedReason == nil, core.canOpenStream, !isDraining, let id = waiting.popFirst() {
            if let call = calls[id] { open(id, call) }
        }
    }

    /// Fails everything that never left, after the server has said that it takes no more.
    private func failWaiting() {
        while let id = waiting.popFirst() {
            let status = GRPCStatus(.unavailable, "the connection is draining")
            finish(id, .failed(GRPCCallError(reach: .neverSent, status: status)))
        }
    }

    // MARK: Events

    private func dispatchEvents() {
        guard !isDispatching else { return }
        isDispatching = true
        defer { isDispatching = false }
        while closedReason == nil {
            switch core.nextEvent() {
            case .needsBytes:
                openWaiting()
                return
            case .message(_, let tag, let message):
                guard let call = calls[tag] else { break }
                switch call.receiver {
                case .unary(let receiver): receiver.receive(message)
                case .stream(let mailbox): mailbox.receive(message)
                }
            case .finished(let tag, let outcome): finish(tag, outcome)
            case .drained(let stream, let tag):
                if let call = calls[tag] { reportUnsent(call, stream, sent: 0) }
            case .settled, .pingAnswered: break
            case .draining:
                isDraining = true
                failWaiting()
            case .failed(let error):
                flush()
                end(GRPCStatus(.unavailable, "the server broke the protocol: \(error.reason)"))
                context?.close(promise: nil)
            }
        }
    }

    /// Ends every call that is still open, once.
    private func end(_ reason: GRPCStatus) {
        guard closedReason == nil else { return }
        closedReason = reason
        keepalive?.cancel()
        let open = calls
        calls = [:]
        waiting.removeAll()
        for id in open.keys.sorted() {
            guard let call = open[id] else { continue }
            let error = GRPCCallError(reach: reach(of: call), status: reason)
            deliver(.failed(error), to: call)
        }
        context = nil
    }

    // MARK: Writing

    /// Calls started in one turn of the event loop leave in one write.
    private func scheduleFlush() {
        guard !isFlushScheduled, !isDispatching, context != nil else { return }
        isFlushScheduled = true
        let handler = NIOLoopBound(self, eventLoop: eventLoop)
        eventLoop.execute {
            handler.value.isFlushScheduled = false
            handler.value.flush()
        }
    }

    private func flush() {
        guard let context, context.channel.isActive, !isFlushing else { return }
        isFlushing = true
        openWaiting()
        repeat {
            core.engine.pump()
            guard core.engine.outbound.readableBytes > 0 else { break }
            for id in unflushed { calls[id]?.isFlushed = true }
            unflushed.removeAll(keepingCapacity: true)
            let bytes = core.engine.takeOutbound()
            context.writeAndFlush(wrapOutboundOut(bytes), promise: nil)
            core.engine.recycleOutbound(bytes)
        } while true
        isFlushing = false
        if !core.engine.drained.isEmpty { dispatchEvents() }
        if isDraining, calls.isEmpty { context.close(promise: nil) }
    }

    /// Takes no more calls and closes when the open ones have ended.
    func drain() {
        isDraining = true
        failWaiting()
        flush()
    }

    // MARK: Keepalive

    private func scheduleKeepalive() {
        guard let interval = configuration.keepaliveIntervalNanoseconds, closedReason == nil
        else { return }
        hasReceivedSinceCheck = false
        let handler = NIOLoopBound(self, eventLoop: eventLoop)
        keepalive = eventLoop.scheduleTask(in: .nanoseconds(interval)) {
            handler.value.checkKeepalive()
        }
    }

    private func checkKeepalive() {
        guard closedReason == nil else { return }
        guard !hasReceivedSinceCheck else { return scheduleKeepalive() }
        core.engine.outbound.writePingFrame(Self.keepalivePing, acknowledge: false)
        flush()
        let handler = NIOLoopBound(self, eventLoop: eventLoop)
        let timeout = TimeAmount.nanoseconds(configuration.keepaliveTimeoutNanoseconds)
        keepalive = eventLoop.scheduleTask(in: timeout) { handler.value.checkPingAnswer() }
    }

    private func checkPingAnswer() {
        guard closedReason == nil else { return }
        guard !hasReceivedSinceCheck else { return scheduleKeepalive() }
        let channel = context?.channel
        end(GRPCStatus(.unavailable, "the server does not answer"))
        channel?.close(promise: nil)
    }
}
