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
        let full = try FullListener()
        defer { full.close() }
        let start = ContinuousClock.now
        let error = await #expect(throws: ConnectError.self) {
            try await connect("127.0.0.1", full.address.port!, timeout: .milliseconds(100))
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

    @Test("an address that is silent keeps the next one waiting for a quarter of a second only")
    func silentFirst() async throws {
        let full = try FullListener()
        defer { full.close() }
        let server = try await echo(on: "127.0.0.1")
        let addresses = [full.address, server.localAddress!]
        let start = ContinuousClock.now
        let channel = try await loop.flatSubmit { [loop] in
            let connector = SocketConnector(
                timeout: .seconds(5), patience: .seconds(5), loop: loop, addHandlers: { _ in })
            connector.attempt(addresses[...])
            return connector.promise.futureResult
        }.get()
        #expect(ContinuousClock.now - start < .seconds(3))
        #expect(try await loop.submit { channel.remoteAddress }.get() == server.localAddress)
        try await server.close()
        try await loop.shutdownGracefully()
    }

    @Test("a connection whose handlers can't be added counts as failed")
    func badHandlersOfOwn() async throws {
        struct Refused: Error {}
        let server = try await echo(on: "127.0.0.1")
        let port = server.localAddress!.port!
        let error = await #expect(throws: ConnectError.self) {
            _ = try await loop.flatSubmit { [loop] in
                SocketConnector.connect(
                    host: "127.0.0.1", port: port, timeout: .seconds(2), patience: .seconds(5),
                    loop: loop
                ) { _ in throw Refused() }
            }.get()
        }
        #expect(error?.failures.first?.error is Refused)
        #expect(error?.isRefusal == false)
        try await server.close()
        try await loop.shutdownGracefully()
    }

    @Test("all addresses of IPv6 are those of IPv4, too") func bothFamilies() async throws {
        let recorder = Recorder(loop: loop)
        let listener: SocketListener
        do {
            listener = try await loop.submit { [loop] in
                try SocketListener(host: "::", port: 0, backlog: 8, loop: loop) { channel in
                    try channel.pipeline.syncOperations.addHandler(recorder)
                }
            }.get()
        } catch let error as IOError where error.errnoCode == EAFNOSUPPORT {
            return  // A machine without IPv6.
        }
        let port = try await loop.submit { listener.localAddress!.port! }.get()
        let peer = try PlainSocket(port: port)
        peer.send([1])
        try await recorder.wait { $0.bytes == [1] }
        peer.close()
        try await loop.shutdownGracefully()
    }
}

/// A port that answers nobody any more: its queue is full, and nobody accepts.
private struct FullListener {
    let address: SocketAddress
    private let descriptor: Int32
    private let queued: [PlainSocket]

    init() throws {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        let any = try SocketAddress(ipAddress: "127.0.0.1", port: 0)
        let isBound = any.withSockAddr { bind(listener, $0, socklen_t($1)) } == 0
        try #require(isBound && listen(listener, 0) == 0)
        descriptor = listener
        address = SocketAddress(nameOf: listener, getsockname)!
        // The kernel takes one more than it was told.
        queued = [try PlainSocket(port: address.port!)]
    }

    func close() {
        for socket in queued { socket.close() }
        Glibc.close(descriptor)
    }
}
