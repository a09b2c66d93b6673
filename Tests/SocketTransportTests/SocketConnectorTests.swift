import Glibc
import NIOCore
import NIOPosix
import Testing

@testable import SocketTransport

/// Against the sockets of NIOPosix.
@Suite("Connecting and listening")
struct SocketConnectorTests {
    private let loop = SocketLoop()

    private func connect(
        _ host: String, _ port: Int, timeout: TimeAmount = .seconds(2)
    ) async throws -> Recorder {
        let recorder = Recorder(loop: loop)
        _ = try await loop.flatSubmit { [loop] in
            SocketConnector.connect(
                host: host, port: port, timeout: timeout, patience: .seconds(5), loop: loop
            ) { try $0.pipeline.syncOperations.addHandler(recorder) }
        }.get()
        return recorder
    }

    /// A server of NIOPosix that sends back what it gets.
    private func echo(on host: String) async throws -> any Channel {
        final class Echo: ChannelInboundHandler, Sendable {
            typealias InboundIn = ByteBuffer

            func channelRead(context: ChannelHandlerContext, data: NIOAny) {
                context.writeAndFlush(data, promise: nil)
            }
        }
        return try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Echo())
                }
            }
            .bind(host: host, port: 0).get()
    }

    @Test(
        "to an address, and to a name of which only one address answers",
        arguments: ["127.0.0.1", "localhost"])
    func connects(host: String) async throws {
        let server = try await echo(on: "127.0.0.1")
        let recorder = try await connect(host, server.localAddress!.port!)
        try await recorder.with { $0.writeAndFlush(ByteBuffer(bytes: [1, 2, 3])) }.get()
        try await recorder.wait { $0.bytes == [1, 2, 3] }
        let remote = try await recorder.with { $0.remoteAddress }
        #expect(remote == server.localAddress)
        try await server.close()
        try await loop.shutdownGracefully()
    }

    @Test(
        "a port where nobody listens refuses: of an address and of a name",
        arguments: ["127.0.0.1", "localhost"])
    func refused(host: String) async throws {
        let server = try await echo(on: "127.0.0.1")
        let port = server.localAddress!.port!
        try await server.close()
        let error = await #expect(throws: ConnectError.self) { try await connect(host, port) }
        #expect(error?.isRefusal == true)
        #expect(error?.description.contains("Connection refused") == true)
        try await loop.shutdownGracefully()
    }

    @Test("a name that nobody has is no refusal") func unknown() async throws {
        let error = await #expect(throws: ConnectError.self) {
            try await connect("nowhere.invalid", 1)
        }
        #expect(error?.isRefusal == false)
        #expect(error?.description.hasPrefix("nowhere.invalid is unknown: ") == true)
        try await loop.shutdownGracefully()
    }

    @Test("an address that doesn't answer is given up in time, which is no refusal")
    func silent() async throws {
        // A listener that never accepts: the kernel answers until its queue is full.
        let full = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { Glibc.close(full) }
        let any = try SocketAddress(ipAddress: "127.0.0.1", port: 0)
        try #require(any.withSockAddr { bind(full, $0, socklen_t($1)) } == 0)
        try #require(listen(full, 0) == 0)
        let port = SocketAddress(nameOf: full, getsockname)!.port!
        let first = try PlainSocket(port: port)
        defer { first.close() }
        let start = ContinuousClock.now
        let error = await #expect(throws: ConnectError.self) {
            for _ in 0..<8 { _ = try await connect("127.0.0.1", port, timeout: .milliseconds(100)) }
        }
        #expect(error?.isRefusal == false)
        #expect(ContinuousClock.now - start < .seconds(5))
        try await loop.shutdownGracefully()
    }

    @Test("a port in use can't be listened on, and the error says which")
    func inUse() async throws {
        let server = try await echo(on: "127.0.0.1")
        let port = server.localAddress!.port!
        let error = await #expect(throws: IOError.self) {
            try await loop.submit { [loop] in
                _ = try SocketListener(
                    host: "127.0.0.1", port: port, backlog: 1, loop: loop, addHandlers: { _ in })
            }.get()
        }
        #expect(error?.errnoCode == EADDRINUSE)
        #expect(error.map { "\($0)" }?.contains("127.0.0.1:\(port)") == true)
        try await server.close()
        try await loop.shutdownGracefully()
    }

    @Test("a closed listener refuses, and its connections live on")
    func closedListener() async throws {
        let connection = try await Connection()
        let port = try await connection.loop.submit { connection.listener.localAddress!.port! }
            .get()
        try await connection.loop.submit { connection.listener.close() }.get()
        let error = await #expect(throws: ConnectError.self) {
            try await connect("127.0.0.1", port)
        }
        #expect(error?.isRefusal == true)
        connection.peer.send([1])
        try await connection.recorder.wait { $0.bytes == [1] }
        try await connection.end()
        try await loop.shutdownGracefully()
    }

    @Test("a channel whose handlers can't be added is closed at once")
    func badHandlers() async throws {
        struct Refused: Error {}
        let listener = try await loop.submit { [loop] in
            try SocketListener(host: "127.0.0.1", port: 0, backlog: 8, loop: loop) { _ in
                throw Refused()
            }
        }.get()
        let port = try await loop.submit { listener.localAddress!.port! }.get()
        let peer = try PlainSocket(port: port)
        #expect(await Task.detached { peer.receive() }.value == [])
        peer.close()
        try await loop.shutdownGracefully()
    }
}
