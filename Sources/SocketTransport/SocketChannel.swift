import CEpoll
import Glibc
import NIOCore

/// A connected TCP socket as a SwiftNIO channel, on a `SocketLoop`.
///
/// What the channel of NIOPosix does beyond this (datagrams, files, sockets that are set up step by
/// step, use from other threads) took 6,000 instructions for a small request and its answer. This
/// one reads while there is something, writes at once what is flushed, and waits for the socket only
/// when that has no room. Everything happens on the loop, `isActive` and `isWritable` included.
///
/// `@unchecked Sendable`: handed between threads only to come back to the loop.
package final class SocketChannel: Channel, ChannelCore, EventSource, @unchecked Sendable {
    /// A piece that waits to be written.
    private struct Unsent {
        var bytes: ByteBuffer
        var promise: EventLoopPromise<Void>?
    }

    /// Others have their turn after so many reads.
    private static let readsATurn = 4

    private let loop: SocketLoop
    // Accesses end with their statements, before a handler is called; not checked again each time.
    /// -1 once it is closed.
    @exclusivity(unchecked) private var descriptor: Int32
    package let allocator = ByteBufferAllocator()
    package let localAddress: SocketAddress?
    package let remoteAddress: SocketAddress?
    @exclusivity(unchecked) package private(set) var isActive = false
    private let closePromise: EventLoopPromise<Void>
    @exclusivity(unchecked) private var ownPipeline: ChannelPipeline!
    @exclusivity(unchecked) private var directHandler: (any DirectHandler)?

    @exclusivity(unchecked) private var isAutoRead = true
    /// Whether the handlers have asked for more bytes.
    @exclusivity(unchecked) private var isReading = false
    /// Epoll's bits that are waited for now.
    @exclusivity(unchecked) private var interest: UInt32 = 0

    @exclusivity(unchecked) private var unsent = CircularBuffer<Unsent>()
    /// How many pieces of `unsent` are flushed.
    @exclusivity(unchecked) private var flushedCount = 0
    @exclusivity(unchecked) private var unsentBytes = 0
    /// Whether the socket had no room at the last attempt.
    @exclusivity(unchecked) private var isBlocked = false
    @exclusivity(unchecked) private var isWriting = false
    @exclusivity(unchecked) package private(set) var isWritable = true
    @exclusivity(unchecked) private var waterMark = ChannelOptions.Types.WriteBufferWaterMark(
        low: 32 << 10, high: 64 << 10)
    /// Set when the writing half is to end behind what is unsent.
    @exclusivity(unchecked) private var closesOutput = false
    private var isOutputClosed = false
    private var outputPromise: EventLoopPromise<Void>?

    /// Takes over a connected, non-blocking descriptor. To be followed by `start`.
    init(descriptor: Int32, loop: SocketLoop) {
        self.descriptor = descriptor
        self.loop = loop
        localAddress = SocketAddress(nameOf: descriptor, getsockname)
        remoteAddress = SocketAddress(nameOf: descriptor, getpeername)
        closePromise = loop.makePromise()
        ownPipeline = ChannelPipeline(channel: self)
        setSocketOption(descriptor, level: Int32(IPPROTO_TCP), TCP_NODELAY, to: 1)
    }

    /// Adds the handlers and begins to read.
    ///
    /// - Throws: what `addHandlers` throws, or `IOError`; the channel is closed then, and its handlers
    ///   have heard of nothing.
    func start(_ addHandlers: (SocketChannel) throws -> Void) throws {
        do {
            try addHandlers(self)
            guard isOpen else { throw ChannelError.ioOnClosedChannel }
            try loop.add(self, descriptor, 0)
        } catch {
            close0(error: error, mode: .all, promise: nil)
            throw error
        }
        isActive = true
        pipeline.syncOperations.fireChannelRegistered()
        guard isOpen else { return }
        pipeline.syncOperations.fireChannelActive()
        askForBytes()
        updateInterest()
    }

    private var isOpen: Bool { descriptor >= 0 }

    // MARK: Events of the descriptor

    func ready(_ events: UInt32) {
        if events & EPOLLOUT.rawValue != 0 {
            isBlocked = false
            writeFlushed()
        }
        if isReading {
            if events & ~EPOLLOUT.rawValue != 0 { readSome() }
        } else if events & (EPOLLHUP.rawValue | EPOLLERR.rawValue) != 0, isOpen {
            // Nobody asked for bytes, and epoll would tell it again and again.
            let error = takeError(of: descriptor, reason: "connection lost")
            close0(error: error ?? ChannelError.eof, mode: .all, promise: nil)
        }
        updateInterest()
    }

    func loopEnds() { close0(error: ChannelError.ioOnClosedChannel, mode: .all, promise: nil) }

    private func updateInterest() {
        guard isOpen, isActive else { return }
        let wanted =
            (isReading ? EPOLLIN.rawValue : 0) | (isBlocked ? EPOLLOUT.rawValue : 0)
        guard wanted != interest else { return }
        interest = wanted
        loop.change(descriptor, wanted)
    }

    // MARK: Reading

    /// Reads once, and again as long as there was more than fitted: a large message of a peer.
    private func readSome() {
        for _ in 0..<Self.readsATurn where isReading {
            guard readOnce() == SocketLoop.readBytes else { return }
        }
    }

    /// Gives the bytes to the handlers, and how many there were: none when nothing has come, or
    /// nothing will.
    private func readOnce() -> Int {
        var bytes = ByteBuffer()
        swap(&bytes, &loop.readBuffer)
        // Emptied for the next one, who gets new memory if somebody kept this.
        defer {
            bytes.clear()
            swap(&bytes, &loop.readBuffer)
        }
        let descriptor = descriptor
        var code: Int32 = 0
        let count = bytes.writeWithUnsafeMutableBytes(minimumWritableBytes: SocketLoop.readBytes) {
            let count = Glibc.read(descriptor, $0.baseAddress, $0.count)
            if count < 0 { code = errno }
            return max(0, count)
        }
        guard count > 0 else {
            if code == EAGAIN || code == EINTR { return 0 }
            let error: any Error =
                code == 0 ? ChannelError.eof : IOError(errnoCode: code, reason: "read")
            if code != 0 { pipeline.syncOperations.fireErrorCaught(error) }
            close0(error: error, mode: .all, promise: nil)
            return 0
        }
        loop.readInTurn += count
        isReading = false
        if let directHandler {
            directHandler.received(bytes)
            guard isOpen else { return 0 }
            directHandler.readEnded()
            if isOpen, isAutoRead { isReading = directHandler.asksForBytes() }
        } else {
            pipeline.syncOperations.fireChannelRead(NIOAny(bytes))
            guard isOpen else { return 0 }
            pipeline.syncOperations.fireChannelReadComplete()
            askForBytes()
        }
        return count
    }

    /// From the next read on gives what comes to a handler that is alone in the pipeline. To be
    /// called on the loop.
    package func read(by handler: any DirectHandler) {
        loop.assertInEventLoop()
        directHandler = handler
    }

    /// The handlers may hold the question back.
    private func askForBytes() {
        if isOpen, isAutoRead { pipeline.syncOperations.read() }
    }

    package func read0() {
        isReading = true
        updateInterest()
    }

    // MARK: Writing

    package func write0(_ data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard isOpen else {
            promise?.fail(ChannelError.ioOnClosedChannel)
            return
        }
        guard !closesOutput else {
            promise?.fail(ChannelError.outputClosed)
            return
        }
        guard case .byteBuffer(let bytes) = unwrapData(data, as: IOData.self) else {
            preconditionFailure("files aren't sent")
        }
        queue(bytes, promise)
    }

    private func queue(_ bytes: ByteBuffer, _ promise: EventLoopPromise<Void>?) {
        unsentBytes += bytes.readableBytes
        unsent.append(Unsent(bytes: bytes, promise: promise))
    }

    package func flush0() {
        flushedCount = unsent.count
        writeFlushed()
        updateInterest()
    }

    /// Writes at once, past the handlers: for who knows that they leave what goes out as it is.
    /// Through them it takes 1,000 instructions more. Without effect once the channel or
    /// its output is closed. To be called on the loop.
    package func writeDirectly(_ bytes: ByteBuffer) {
        loop.assertInEventLoop()
        guard isOpen, !closesOutput else { return }
        queue(bytes, nil)
        flush0()
    }

    /// Writes until all that is flushed is written or the socket has no room.
    private func writeFlushed() {
        // What a promise or a handler does meanwhile is written by the loop that runs already.
        guard !isWriting else { return }
        isWriting = true
        while flushedCount > 0, !isBlocked, isOpen { writeFirst() }
        isWriting = false
        guard isOpen else { return }
        updateWritability()
        if isOpen, closesOutput, unsent.isEmpty { finishOutput() }
    }

    private func writeFirst() {
        let wanted = unsent.first!.bytes.readableBytes
        let count = unsent.first!.bytes.withUnsafeReadableBytes {
            // Not `send`: profilers can't see who called that.
            Glibc.write(descriptor, $0.baseAddress, $0.count)
        }
        guard count >= 0 else {
            let code = errno
            if code == EAGAIN { isBlocked = true }
            if code != EAGAIN, code != EINTR {
                writeFailed(IOError(errnoCode: code, reason: "write"))
            }
            return
        }
        unsentBytes -= count
        guard count == wanted else {
            unsent[unsent.startIndex].bytes.moveReaderIndex(forwardBy: count)
            isBlocked = true
            return
        }
        flushedCount -= 1
        unsent.removeFirst().promise?.succeed(())
    }

    /// What the peer said last may tell why: it is read before the channel closes.
    private func writeFailed(_ error: IOError) {
        while isReading, readOnce() > 0 {}
        if isOpen { close0(error: error, mode: .all, promise: nil) }
    }

    private func updateWritability() {
        if isWritable ? unsentBytes > waterMark.high : unsentBytes < waterMark.low {
            isWritable.toggle()
            pipeline.syncOperations.fireChannelWritabilityChanged()
        }
    }

    // MARK: Closing

    package func close0(error: any Error, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        guard isOpen else {
            promise?.fail(ChannelError.alreadyClosed)
            return
        }
        switch mode {
        case .all: closeAll(error: error, promise: promise)
        case .output:
            guard !closesOutput else {
                promise?.fail(ChannelError.outputClosed)
                return
            }
            closesOutput = true
            outputPromise = promise
            if unsent.isEmpty { finishOutput() }
        case .input: promise?.fail(ChannelError.operationUnsupported)
        }
    }

    private func closeAll(error: any Error, promise: EventLoopPromise<Void>?) {
        if isActive { loop.remove(descriptor) }
        Glibc.close(descriptor)
        descriptor = -1
        let wasActive = isActive
        isActive = false
        isReading = false
        isWritable = false
        directHandler = nil
        let lost = unsent
        unsent.removeAll()
        flushedCount = 0
        unsentBytes = 0
        for piece in lost { piece.promise?.fail(error) }
        outputPromise?.fail(error)
        outputPromise = nil
        promise?.succeed(())
        if wasActive {
            pipeline.syncOperations.fireChannelInactive()
            pipeline.syncOperations.fireChannelUnregistered()
        }
        // Later, for a handler may be about to use the pipeline.
        loop.execute { [self] in
            removeHandlers(pipeline: pipeline)
            closePromise.succeed(())
        }
    }

    /// Once: what was unsent has left.
    private func finishOutput() {
        guard !isOutputClosed else { return }
        isOutputClosed = true
        shutdown(descriptor, Int32(SHUT_WR))
        outputPromise?.succeed(())
        outputPromise = nil
        pipeline.syncOperations.fireUserInboundEventTriggered(ChannelEvent.outputClosed)
    }

    // MARK: Channel

    package var eventLoop: any EventLoop { loop }
    package var closeFuture: EventLoopFuture<Void> { closePromise.futureResult }
    package var pipeline: ChannelPipeline { ownPipeline }
    package var parent: (any Channel)? { nil }
    package var _channelCore: any ChannelCore { self }
    package var syncOptions: (any NIOSynchronousChannelOptions)? { SyncOptions(channel: self) }

    package func setOption<Option: ChannelOption>(
        _ option: Option, value: Option.Value
    ) -> EventLoopFuture<Void> {
        loop.preconditionInEventLoop()
        return loop.makeCompletedFuture { set(option, value) }
    }

    package func getOption<Option: ChannelOption>(
        _ option: Option
    ) -> EventLoopFuture<Option.Value> {
        loop.preconditionInEventLoop()
        return loop.makeSucceededFuture(get(option))
    }

    private func set<Option: ChannelOption>(_ option: Option, _ value: Option.Value) {
        switch (option, value) {
        case (is ChannelOptions.Types.AutoReadOption, let value as Bool):
            let isNew = value && !isAutoRead
            isAutoRead = value
            if isNew { askForBytes() }
            if !value { isReading = false }
            updateInterest()
        case (
            is ChannelOptions.Types.WriteBufferWaterMarkOption,
            let value as ChannelOptions.Types.WriteBufferWaterMark
        ):
            waterMark = value
        default: preconditionFailure("a socket channel has no option \(option)")
        }
    }

    private func get<Option: ChannelOption>(_ option: Option) -> Option.Value {
        switch option {
        case is ChannelOptions.Types.AutoReadOption: isAutoRead as! Option.Value
        case is ChannelOptions.Types.BufferedWritableBytesOption: unsentBytes as! Option.Value
        default: preconditionFailure("a socket channel has no option \(option)")
        }
    }

    private struct SyncOptions: NIOSynchronousChannelOptions {
        let channel: SocketChannel

        func setOption<Option: ChannelOption>(_ option: Option, value: Option.Value) {
            channel.set(option, value)
        }

        func getOption<Option: ChannelOption>(_ option: Option) -> Option.Value {
            channel.get(option)
        }
    }

    // MARK: ChannelCore

    package func localAddress0() throws -> SocketAddress {
        guard let localAddress else { throw ChannelError.unknownLocalAddress }
        return localAddress
    }

    package func remoteAddress0() throws -> SocketAddress {
        guard let remoteAddress else { throw ChannelError.operationUnsupported }
        return remoteAddress
    }

    package func channelRead0(_ data: NIOAny) {}

    package func errorCaught0(error: any Error) {}

    package func triggerUserOutboundEvent0(_ event: Any, promise: EventLoopPromise<Void>?) {
        promise?.fail(ChannelError.operationUnsupported)
    }

    // A channel begins connected.

    package func register0(promise: EventLoopPromise<Void>?) {
        promise?.fail(ChannelError.inappropriateOperationForState)
    }

    package func registerAlreadyConfigured0(promise: EventLoopPromise<Void>?) {
        promise?.fail(ChannelError.inappropriateOperationForState)
    }

    package func bind0(to: SocketAddress, promise: EventLoopPromise<Void>?) {
        promise?.fail(ChannelError.inappropriateOperationForState)
    }

    package func connect0(to: SocketAddress, promise: EventLoopPromise<Void>?) {
        promise?.fail(ChannelError.inappropriateOperationForState)
    }
}
