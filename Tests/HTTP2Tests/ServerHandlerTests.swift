import EtcdWire
import NIOCore
import NIOEmbedded
import NIOHTTP1
import Testing

@testable import HTTP2

/// Records what it is called with and answers as it is told.
final class RecordingService: GRPCService {
    var log: [String] = []
    var connections: [GRPCServerConnection] = []
    var onMessage: ((StreamID, [UInt8], Bool, GRPCServerConnection) -> Void)?
    var onStart: ((StreamID, GRPCServerConnection) -> Void)?
    var onDrained: ((StreamID, GRPCServerConnection) -> Void)?

    func connectionOpened(_ connection: GRPCServerConnection) {
        log.append("opened")
        connections.append(connection)
    }

    func connectionFailed(_ connection: GRPCServerConnection, _ error: HTTP2ConnectionError) {
        log.append("failed \(error.code)")
    }

    func requestStarted(
        _ stream: StreamID, _ head: RequestHead, on connection: GRPCServerConnection
    ) -> UInt64 {
        log.append("start \(stream) \(head.path)")
        onStart?(stream, connection)
        return UInt64(stream.rawValue) * 10
    }

    func messageReceived(
        _ stream: StreamID, tag: UInt64, _ message: [UInt8], isLast: Bool,
        on connection: GRPCServerConnection
    ) {
        log.append("message \(stream) \(tag) \(message.count) \(isLast)")
        onMessage?(stream, message, isLast, connection)
    }

    func requestEnded(_ stream: StreamID, tag: UInt64, on connection: GRPCServerConnection) {
        log.append("end \(stream) \(tag)")
    }

    func streamCancelled(_ stream: StreamID, tag: UInt64, on connection: GRPCServerConnection) {
        log.append("cancel \(stream) \(tag)")
    }

    func streamDrained(_ stream: StreamID, tag: UInt64, on connection: GRPCServerConnection) {
        log.append("drained \(stream) \(tag)")
        onDrained?(stream, connection)
    }

    func readBatchComplete(on connection: GRPCServerConnection) {
        log.append("batch")
    }

    func connectionClosed(_ connection: GRPCServerConnection) {
        log.append("closed")
    }

    func takeLog() -> [String] {
        defer { log = [] }
        return log
    }
}

/// Counts reads that reach the channel.
private final class ReadCounter: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer
    var reads = 0

    func read(context: ChannelHandlerContext) {
        reads += 1
        context.read()
    }
}

@Suite("The server's handler batches, holds back and cleans up")
struct ServerHandlerTests {
    private let service = RecordingService()

    private func connect(limits: HTTP2Limits = HTTP2Limits()) throws -> EmbeddedChannel {
        let channel = EmbeddedChannel()
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        try channel.pipeline.syncOperations.addHandler(
            GRPCServerHandler(service: service, limits: limits))
        return channel
    }

    private func writes(_ channel: EmbeddedChannel) throws -> [[TestFrame]] {
        var writes: [[TestFrame]] = []
        while let buffer = try channel.readOutbound(as: ByteBuffer.self) {
            writes.append(TestFrame.parse(Array(buffer.readableBytesView)))
        }
        return writes
    }

    private func read(_ channel: EmbeddedChannel, _ frames: [TestFrame]) throws {
        try channel.writeInbound(ByteBuffer(bytes: frames.flatMap(\.bytes)))
    }

    private func handshake(_ channel: EmbeddedChannel) throws {
        try channel.writeInbound(
            ByteBuffer(bytes: HTTP2Constant.preface + TestFrame.settings().bytes))
        _ = try writes(channel)
    }

    private func request(_ stream: UInt32) -> [TestFrame] {
        [.headers(stream, hpackBlock(requestFields)), .data(stream, grpcMessage([1]), end: true)]
    }

    @Test("all answers of one read leave in one write, behind the batch call") func oneWrite()
        throws
    {
        let channel = try connect()
        #expect(try writes(channel).count == 1)
        try handshake(channel)
        _ = service.takeLog()
        service.onMessage = { stream, message, _, connection in
            connection.sendUnary(stream, message)
        }
        try read(channel, request(1) + request(3) + request(5))
        #expect(
            service.takeLog() == [
                "start 1 /etcdserverpb.KV/Put", "message 1 10 1 true",
                "start 3 /etcdserverpb.KV/Put", "message 3 30 1 true",
                "start 5 /etcdserverpb.KV/Put", "message 5 50 1 true", "batch",
            ])
        let sent = try writes(channel)
        #expect(sent.count == 1)
        #expect(sent[0].count == 9)
    }

    @Test("a request finished at its start is not heard of again") func finishedAtStart() throws {
        let channel = try connect()
        try handshake(channel)
        service.onStart = { stream, connection in
            connection.finish(stream, GRPCStatus(.unimplemented, "no such method"))
        }
        try read(channel, [.headers(1, hpackBlock(requestFields), end: true)] + request(3))
        #expect(!service.takeLog().contains { $0.hasPrefix("end") || $0.hasPrefix("message") })
        #expect(service.connections[0].openStreamCount == 0)
    }

    @Test("answers given later leave with their flush") func laterAnswers() throws {
        let channel = try connect()
        try handshake(channel)
        try read(channel, request(1) + request(3))
        #expect(try writes(channel).isEmpty)
        let connection = service.connections[0]
        #expect(connection.openStreamCount == 2)
        connection.sendUnary(StreamID(3), [7])
        connection.finish(StreamID(1), GRPCStatus(.compacted))
        #expect(try writes(channel).isEmpty)
        connection.flush()
        #expect(try writes(channel).map(\.count) == [4])
        #expect(connection.openStreamCount == 0)
    }

    @Test("nothing is read while the socket takes nothing, and it goes on behind that")
    func readBackPressure() throws {
        let counter = ReadCounter()
        let channel = EmbeddedChannel()
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        try channel.pipeline.syncOperations.addHandler(counter)
        try channel.pipeline.syncOperations.addHandler(GRPCServerHandler(service: service))
        try handshake(channel)
        try read(channel, request(1))
        let before = counter.reads
        channel.isWritable = false
        channel.pipeline.fireChannelWritabilityChanged()
        channel.pipeline.read()
        #expect(counter.reads == before)
        let connection = service.connections[0]
        connection.sendMessage(StreamID(1), Array(repeating: 1, count: 100))
        connection.finish(StreamID(1), .ok)
        connection.flush()
        #expect(connection.unsentBytes == 105)
        #expect(connection.unsentBytes(StreamID(1)) == 105)
        #expect(try writes(channel).flatMap { $0 }.allSatisfy { $0.type != 0 })
        channel.isWritable = true
        channel.pipeline.fireChannelWritabilityChanged()
        #expect(counter.reads == before + 1)
        #expect(connection.unsentBytes == 0)
        #expect(try writes(channel).flatMap { $0 }.map(\.type) == [0, 1])
    }

    @Test("a drained stream may be refilled from the call that says so") func refill() throws {
        let channel = try connect()
        try handshake(channel)
        try read(channel, [.headers(1, hpackBlock(requestFields))])
        try read(channel, [.settings([(4, 1_000_000)]), .windowUpdate(0, 10_000_000)])
        _ = try writes(channel)
        let connection = service.connections[0]
        var rounds = 0
        service.onDrained = { stream, connection in
            rounds += 1
            if rounds < 5 {
                connection.sendMessage(stream, Array(repeating: 2, count: 100_000))
                connection.flush()
            } else {
                connection.finish(stream, .ok)
            }
        }
        connection.sendMessage(StreamID(1), Array(repeating: 2, count: 100_000))
        connection.flush()
        #expect(rounds == 5)
        let frames = try writes(channel).flatMap { $0 }
        let dataBytes = frames.filter { $0.type == 0 }.map(\.payload.count).reduce(0, +)
        // Four refills, the fifth call finishes.
        #expect(dataBytes == 5 * 100_005)
        #expect(frames.suffix(2).map(\.type) == [1, 3])
    }

    @Test("a broken connection says why and is closed") func protocolError() throws {
        let channel = try connect()
        try handshake(channel)
        try read(channel, [.windowUpdate(0, 0)])
        let sent = try writes(channel).flatMap { $0 }
        #expect(sent.last?.errorCode == 1)
        channel.embeddedEventLoop.advanceTime(by: GRPCServerConnection.lingerTime)
        channel.embeddedEventLoop.run()
        #expect(!channel.isActive)
        #expect(service.takeLog().last == "closed")
    }

    @Test("a graceful end closes when the last stream has ended") func gracefulEnd() throws {
        let channel = try connect()
        try handshake(channel)
        try read(channel, request(1))
        let connection = service.connections[0]
        connection.shutDownGracefully()
        let ping = try writes(channel).flatMap { $0 }.first { $0.type == 6 }
        try read(channel, [.ping(ping?.payload ?? [], ack: true)])
        #expect(try writes(channel).flatMap { $0 } == [.goAway(1)])
        #expect(channel.isActive && connection.isOpen)
        connection.sendUnary(StreamID(1), [1])
        connection.flush()
        channel.embeddedEventLoop.advanceTime(by: GRPCServerConnection.lingerTime)
        channel.embeddedEventLoop.run()
        #expect(!channel.isActive && !connection.isOpen)
    }

    @Test("when the client goes, the service is told once, and late answers do nothing")
    func disconnect() throws {
        let channel = try connect()
        try handshake(channel)
        try read(channel, request(1))
        let connection = service.connections[0]
        try channel.close().wait()
        #expect(service.takeLog().count { $0 == "closed" } == 1)
        connection.sendUnary(StreamID(1), [1])
        connection.flush()
        connection.close()
        connection.shutDownGracefully()
        #expect(!connection.isOpen)
    }

    @Test("a service that closes during a batch gets nothing more of it") func closeInBatch()
        throws
    {
        let channel = try connect()
        try handshake(channel)
        service.onMessage = { _, _, _, connection in connection.close() }
        try? read(channel, request(1) + request(3))
        let log = service.takeLog()
        #expect(log.last == "closed")
        #expect(!log.contains("start 3 /etcdserverpb.KV/Put"))
    }
}

@Suite("One port for gRPC and HTTP/1.1")
struct ProtocolSnifferTests {
    private final class Web: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart
        var uris: [String] = []

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            if case .head(let head) = unwrapInboundIn(data) { uris.append(head.uri) }
        }
    }

    private func connect() throws -> (EmbeddedChannel, RecordingService, Web) {
        let service = RecordingService()
        let web = Web()
        let channel = EmbeddedChannel()
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        try channel.pipeline.syncOperations.addHandler(
            ProtocolSniffer(
                http2: {
                    try $0.pipeline.syncOperations.addHandler(GRPCServerHandler(service: service))
                },
                http1: { try ProtocolSniffer.addHTTP1Handlers(web, to: $0) }))
        return (channel, service, web)
    }

    @Test("the preface leads to gRPC, however it is cut") func http2() throws {
        let bytes =
            HTTP2Constant.preface + TestFrame.settings().bytes
            + TestFrame.headers(1, hpackBlock(requestFields), end: true).bytes
        for split in [1, 3, 4, 23, 24, 25, 40] {
            let (channel, service, web) = try connect()
            try channel.writeInbound(ByteBuffer(bytes: bytes[..<split]))
            #expect(service.log.isEmpty == (split < 24))
            try channel.writeInbound(ByteBuffer(bytes: bytes[split...]))
            #expect(service.log.contains("start 1 /etcdserverpb.KV/Put"))
            #expect(web.uris.isEmpty)
        }
    }

    @Test("everything else leads to HTTP/1.1, however it is cut") func http1() throws {
        for text in ["GET /health HTTP/1.1\r\nhost: x\r\n\r\n", "PUT /health HTTP/1.1\r\n\r\n"] {
            for split in [1, 2, 10, text.utf8.count] {
                let (channel, service, web) = try connect()
                try channel.writeInbound(ByteBuffer(string: String(text.prefix(split))))
                try channel.writeInbound(ByteBuffer(string: String(text.dropFirst(split))))
                #expect(web.uris == ["/health"])
                #expect(service.log.isEmpty)
            }
        }
    }

    @Test("a failing configuration closes the connection") func failure() throws {
        struct Refusal: Error {}
        let channel = EmbeddedChannel(
            handler: ProtocolSniffer(
                http2: { _ in throw Refusal() }, http1: { _ in throw Refusal() })
        )
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        #expect(throws: Refusal.self) { try channel.writeInbound(ByteBuffer(string: "GET /")) }
        #expect(!channel.isActive)
    }
}
