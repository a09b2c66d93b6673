import EtcdWire
import HTTP2
import KVCore
import NIOCore
import NIOEmbedded
import Replica

@testable import KVServer

/// One client of `RangeStreams`, without a network and on a clock that the test moves. The client
/// reads what it is told to read, and nothing else.
final class RangeHarness {
    /// How far ahead of its client a stream is sent.
    static let windowBytes = 65_535

    private let loop = NIOAsyncTestingEventLoop()
    private let channel: NIOAsyncTestingChannel
    private let service: RangeService
    private let socket = LateSocket()
    private var client: ClientCore
    private var blocks = RequestBlocks(authority: "test", isSecure: false, userAgent: "test")
    /// What the server sent and the client hasn't read.
    private var unread: [ByteBuffer] = []
    private var messages: [UInt64: [UInt8]] = [:]
    private var outcomes: [UInt64: ClientCore.Outcome] = [:]
    private var asked: UInt64 = 0
    /// A test that waits for bytes in vain fails; it never hangs.
    private var patience: Task<Void, Never>?

    /// A connected client of a map of so many keys.
    init(keys: Int) async throws {
        var limits = HTTP2Limits()
        limits.streamReceiveWindowBytes = Self.windowBytes
        client = ClientCore(limits: limits)
        service = try RangeService(keys: keys, loop: loop)
        channel = try await NIOAsyncTestingChannel(loop: loop) { [service, socket] channel in
            try channel.pipeline.syncOperations.addHandlers([
                socket, GRPCServerHandler(service: service),
            ])
        }
        try await channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).get()
        patience = Task { [channel] in
            guard (try? await Task.sleep(for: .seconds(30))) != nil else { return }
            try? await channel.close()
        }
        try await send()
        // What both say first.
        while let bytes: ByteBuffer = try await channel.readOutbound() {
            unread.append(bytes)
            try await read()
        }
    }

    /// Ends the connection and whatever is under way on it.
    func close() async throws {
        patience?.cancel()
        try await channel.close()
        try await loop.executeInContext { [service] in service.ranges.close() }
        await loop.shutdownGracefully()
    }

    /// Lets time pass.
    func pass(_ time: TimeAmount) async { await loop.advanceTime(by: time) }

    // MARK: - The client

    /// Asks for all keys; returns the number of the call, from 1.
    func ask(_ request: RangeRequest = all, timeout: TimeAmount? = nil) async throws -> UInt64 {
        var message: [UInt8] = []
        request.encode(into: &message)
        let block = blocks.block(
            path: "/etcdserverpb.KV/Range", metadata: [],
            timeoutNanoseconds: timeout?.nanoseconds)
        asked += 1
        guard let stream = client.engine.openStream(tag: asked) else { throw StreamEnded() }
        client.engine.sendMessage(stream, head: block, endStream: true) { $0.writeBytes(message) }
        try await send()
        return asked
    }

    /// Gives a call up.
    func cancel(_ call: UInt64) async throws {
        client.engine.resetStream(StreamID(RangeService.stream(ofCall: call)), .cancel)
        try await send()
    }

    /// Waits until so many bytes have come, without reading them.
    func await(bytes: Int) async throws {
        while unread.reduce(0, { $0 + $1.readableBytes }) < bytes {
            unread.append(try await channel.waitForOutboundWrite())
        }
    }

    /// Reads until the server may send more, or the call is over.
    func readSome(of call: UInt64) async throws {
        while outcomes[call] == nil { if try await read() { return } }
    }

    /// Reads what comes next; true if the client had to say something to it.
    @discardableResult
    private func read() async throws -> Bool {
        let bytes =
            unread.isEmpty ? try await channel.waitForOutboundWrite() : unread.removeFirst()
        client.engine.receive(bytes, nowNanoseconds: 0)
        var isOver = false
        while !isOver {
            switch client.nextEvent() {
            case .message(let stream, let call, let message):
                messages[call] = message
                client.engine.consume(stream, bytes: message.count + 5)
            case .finished(let call, let outcome): outcomes[call] = outcome
            case .drained, .settled, .draining, .pingAnswered: break
            case .needsBytes: isOver = true
            case .failed(let error): throw error
            }
        }
        return try await send()
    }

    /// Reads until a call is over; returns its message, if one came, and how it ended.
    func readAll(_ call: UInt64) async throws -> (message: [UInt8]?, outcome: ClientCore.Outcome) {
        while true {
            if let outcome = outcomes[call] { return (messages[call], outcome) }
            try await read()
        }
    }

    @discardableResult
    private func send() async throws -> Bool {
        client.engine.pump()
        let bytes = client.engine.takeOutbound()
        guard bytes.readableBytes > 0 else { return false }
        try await channel.writeInbound(bytes)
        return true
    }

    // MARK: - The server

    /// Why a call failed at the server; nil if it didn't, or not yet.
    func failure(of call: UInt64) async throws -> RequestFailure? {
        try await loop.executeInContext { [service] in
            service.failures[RangeService.stream(ofCall: call)]
        }
    }

    /// Whether a call's answer was given out as a whole.
    func isGiven(_ call: UInt64) async throws -> Bool {
        try await loop.executeInContext { [service] in
            service.given.contains(RangeService.stream(ofCall: call))
        }
    }

    /// Waits until a call has failed or was given out as a whole.
    func settle(_ call: UInt64) async {
        await withCheckedContinuation { continuation in
            loop.execute { [service] in
                service.whenEnded(RangeService.stream(ofCall: call)) { continuation.resume() }
            }
        }
    }

    /// Whether everything has left.
    var isIdle: Bool {
        get async throws { try await loop.executeInContext { [service] in service.ranges.isIdle } }
    }

    /// Makes the socket keep the newest write until the next, as a busy one does; or no longer.
    func setSocketLate(_ isLate: Bool) async throws {
        try await loop.executeInContext { [socket, channel] in
            socket.isLate = isLate
            if !isLate { channel.flush() }
        }
    }

    /// All keys with their values.
    static let all: RangeRequest = {
        var request = RangeRequest()
        request.key = [0]
        request.rangeEnd = [0]
        return request
    }()
}

/// Takes every request for a large range. `@unchecked Sendable`: used on the loop alone.
private final class RangeService: GRPCService, @unchecked Sendable {
    private var store = Store()
    private var connection: GRPCServerConnection?
    private var timeouts: [StreamID: Int64] = [:]
    private(set) var ranges: RangeStreams!
    private(set) var failures: [UInt32: RequestFailure] = [:]
    private(set) var given: Set<UInt32> = []
    private var waiting: [UInt32: () -> Void] = [:]

    init(keys: Int, loop: any EventLoop) throws {
        for number in 1...keys {
            var put = PutRequest()
            put.key = Array("key/\(100_000 + number)".utf8)[...]
            put.value = [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: 512)[...]
            var body: [UInt8] = []
            put.encode(into: &body)
            let envelope = try Envelope(
                decoding: Envelope.encode(
                    kind: .put, origin: Origin(member: 1, boot: 1, sequence: UInt64(number)),
                    body: body))
            _ = store.apply(envelope, index: UInt64(number), term: 1)
        }
        ranges = RangeStreams(loop: loop, drainedBytes: HTTP2Limits().drainedBytes) {
            [unowned self] in store.takeView()
        }
        ranges.ended = { [unowned self] in ended(UInt32($0), $1) }
    }

    /// A client opens the odd streams in turn.
    static func stream(ofCall call: UInt64) -> UInt32 { UInt32(call) * 2 - 1 }

    private func ended(_ stream: UInt32, _ failure: RequestFailure?) {
        if let failure { failures[stream] = failure } else { given.insert(stream) }
        let status = failure.map { GRPCStatus($0.error) } ?? .ok
        connection?.finish(StreamID(stream), status)
        connection?.flush()
        waiting.removeValue(forKey: stream)?()
    }

    /// Does something when a call has ended, at once if it has.
    func whenEnded(_ stream: UInt32, _ action: @escaping () -> Void) {
        if failures[stream] != nil || given.contains(stream) { return action() }
        waiting[stream] = action
    }

    func requestStarted(
        _ stream: StreamID, _ head: RequestHead, on connection: GRPCServerConnection
    ) -> UInt64 {
        timeouts[stream] = head.timeoutNanoseconds
        return UInt64(stream.rawValue)
    }

    func messageReceived(
        _ stream: StreamID, tag: UInt64, _ message: [UInt8], isLast: Bool,
        on connection: GRPCServerConnection
    ) {
        do {
            let range = try store.largeRange(
                try RangeRequest(decoding: message[...]),
                header: ResponseHeader(clusterID: 1, memberID: 1, revision: 1, raftTerm: 1))
            ranges.start(
                tag, range, on: store.takeView(), to: stream, of: connection,
                timeoutMicroseconds: timeouts[stream].map { UInt64($0 / 1_000) })
        } catch {
            preconditionFailure("the harness asks for what can be answered: \(error)")
        }
    }

    func streamCancelled(_ stream: StreamID, tag: UInt64, on connection: GRPCServerConnection) {
        ranges.cancel(tag)
    }

    func streamDrained(_ stream: StreamID, tag: UInt64, on connection: GRPCServerConnection) {
        ranges.drained(tag)
    }

    func connectionOpened(_ connection: GRPCServerConnection) { self.connection = connection }
    func connectionClosed(_ connection: GRPCServerConnection) { self.connection = nil }
    func connectionFailed(_ connection: GRPCServerConnection, _ error: HTTP2ConnectionError) {}
    func requestEnded(_ stream: StreamID, tag: UInt64, on connection: GRPCServerConnection) {}
    func readBatchComplete(on connection: GRPCServerConnection) {}
}

/// A socket that may keep its newest write until the next one comes: what a connection looks like
/// whose client reads more slowly than the server writes. `@unchecked Sendable`: used on the loop
/// alone.
private final class LateSocket: ChannelOutboundHandler, @unchecked Sendable {
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    var isLate = false

    func write(
        context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?
    ) {
        if isLate { context.flush() }
        context.write(data, promise: promise)
    }

    func flush(context: ChannelHandlerContext) {
        if !isLate { context.flush() }
    }
}
