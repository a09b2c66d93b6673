import EtcdWire
import NIOCore
import NIOPosix
import Testing

@testable import HTTP2

/// Behaves by the path of the request.
private final class PathService: GRPCService {
    private var paths: [ObjectIdentifier: [StreamID: String]] = [:]
    private var sources: [StreamID: Int] = [:]

    func connectionOpened(_ connection: GRPCServerConnection) {}

    func connectionFailed(_ connection: GRPCServerConnection, _ error: HTTP2ConnectionError) {}

    func requestStarted(
        _ stream: StreamID, _ head: RequestHead, on connection: GRPCServerConnection
    ) -> UInt64 {
        paths[ObjectIdentifier(connection), default: [:]][stream] = head.path
        switch head.path {
        case "/token":
            connection.finish(stream, GRPCStatus(.unauthenticated, head.token ?? "none"))
        case "/deadline":
            connection.finish(stream, GRPCStatus(.aborted, "\(head.timeoutNanoseconds ?? -1)"))
        case "/source":
            sources[stream] = 0
            fill(stream, connection)
        case "/shutdown":
            connection.shutDownGracefully()
        case "/close":
            connection.close()
        default: break
        }
        return 0
    }

    func messageReceived(
        _ stream: StreamID, tag: UInt64, _ message: [UInt8], isLast: Bool,
        on connection: GRPCServerConnection
    ) {
        switch paths[ObjectIdentifier(connection)]?[stream] {
        case "/echo": connection.sendUnary(stream, message)
        case "/progress":
            let sent = sources.values.max() ?? 0
            connection.sendUnary(stream) { $0.writeInteger(UInt32(sent)) }
        case "/stream":
            connection.sendMessage(stream, message)
            if isLast { connection.finish(stream, .ok) }
        case "/error":
            connection.finish(
                stream, GRPCStatus(.leaseNotFound), trailers: [("martlet-detail", "lease 7")])
        case "/twice":
            connection.sendMessage(stream, message)
            connection.sendUnary(stream, message)
        default: break
        }
    }

    func requestEnded(_ stream: StreamID, tag: UInt64, on connection: GRPCServerConnection) {
        if paths[ObjectIdentifier(connection)]?[stream] == "/stream" {
            connection.finish(stream, .ok)
        }
    }

    func streamCancelled(_ stream: StreamID, tag: UInt64, on connection: GRPCServerConnection) {
        sources[stream] = nil
    }

    func streamDrained(_ stream: StreamID, tag: UInt64, on connection: GRPCServerConnection) {
        fill(stream, connection)
    }

    /// An endless answer that respects back-pressure.
    private func fill(_ stream: StreamID, _ connection: GRPCServerConnection) {
        while let sent = sources[stream], connection.unsentBytes(stream) < 100_000 {
            sources[stream] = sent + 1
            connection.sendMessage(stream) {
                $0.writeInteger(UInt32(sent))
                $0.writeRepeatingByte(7, count: 10_000)
            }
        }
    }

    func readBatchComplete(on connection: GRPCServerConnection) {}
    func connectionClosed(_ connection: GRPCServerConnection) {
        paths[ObjectIdentifier(connection)] = nil
    }
}

@Suite("Calls over a real socket")
struct LoopbackTests {
    private func withConnection(
        serverLimits: HTTP2Limits = HTTP2Limits(),
        configuration: GRPCClientConfiguration = GRPCClientConfiguration(authority: "localhost"),
        _ body: (GRPCClientConnection) async throws -> Void
    ) async throws {
        let group = MultiThreadedEventLoopGroup.singleton
        let server = try await ServerBootstrap(group: group)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        GRPCServerHandler(service: PathService(), limits: serverLimits))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let connection = try await connect(to: server.localAddress, configuration)
        do {
            try await body(connection)
        } catch {
            Issue.record(error)
        }
        await connection.close()
        try await server.close()
    }

    private func connect(
        to address: SocketAddress?, _ configuration: GRPCClientConfiguration
    ) async throws -> GRPCClientConnection {
        let promise = MultiThreadedEventLoopGroup.singleton.next()
            .makePromise(of: GRPCClientConnection.self)
        let bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    promise.succeed(
                        try GRPCClientConnection.add(to: channel, configuration: configuration))
                }
            }
        _ = try await bootstrap.connect(to: try #require(address)).get()
        return try await promise.futureResult.get()
    }

    private func failure(
        _ body: () async throws(GRPCCallError) -> Void
    ) async -> GRPCCallError? {
        do throws(GRPCCallError) {
            try await body()
            return nil
        } catch {
            return error
        }
    }

    @Test("many unary calls at once, small and large") func unary() async throws {
        try await withConnection { connection in
            try await withThrowingTaskGroup { group in
                for index in 0..<300 {
                    group.addTask {
                        let size = index % 50 == 0 ? 1_500_000 : index
                        let message = [UInt8](repeating: UInt8(index % 251), count: size)
                        let answer = try await connection.unary(
                            GRPCRequest(path: "/echo"), message)
                        #expect(answer == message)
                    }
                }
                try await group.waitForAll()
            }
        }
    }

    @Test("an error brings status and detail") func status() async throws {
        try await withConnection { connection in
            let error = await failure { () async throws(GRPCCallError) in
                _ = try await connection.unary(GRPCRequest(path: "/error"), [1])
            }
            #expect(error?.status == GRPCStatus(.leaseNotFound))
            #expect(error?.reach == .answered)
            #expect(error?.trailers.first?.value == "lease 7")
            let twice = await failure { () async throws(GRPCCallError) in
                _ = try await connection.unary(GRPCRequest(path: "/twice"), [1])
            }
            #expect(twice?.status.code == .internal)
        }
    }

    @Test("metadata and timeout reach the server") func metadata() async throws {
        try await withConnection { connection in
            let token = await failure { () async throws(GRPCCallError) in
                _ = try await connection.unary(
                    GRPCRequest(path: "/token", metadata: [("token", "secret")]), [])
            }
            #expect(token?.status == GRPCStatus(.unauthenticated, "secret"))
            let deadline = await failure { () async throws(GRPCCallError) in
                _ = try await connection.unary(
                    GRPCRequest(path: "/deadline", timeoutNanoseconds: 5_000_000_000), [])
            }
            #expect(deadline?.status == GRPCStatus(.aborted, "5000000000"))
        }
    }

    @Test("a deadline that passes ends the call with unknown outcome") func deadline()
        async throws
    {
        try await withConnection { connection in
            let error = await failure { () async throws(GRPCCallError) in
                _ = try await connection.unary(
                    GRPCRequest(path: "/silent", timeoutNanoseconds: 50_000_000), [1])
            }
            #expect(error?.status.code == .deadlineExceeded)
            #expect(error?.reach == .outcomeUnknown)
            let answer = try await connection.unary(GRPCRequest(path: "/echo"), [2])
            #expect(answer == [2])
        }
    }

    @Test("cancelling the task gives a unary call up") func cancelUnary() async throws {
        try await withConnection { connection in
            let task = Task {
                await failure { () async throws(GRPCCallError) in
                    _ = try await connection.unary(GRPCRequest(path: "/silent"), [1])
                }
            }
            // The call is under way by then; the one below is given up before it is.
            try await Task.sleep(for: .milliseconds(30))
            task.cancel()
            #expect(await task.value?.status.code == .canceled)
            let early = Task {
                withUnsafeCurrentTask { $0?.cancel() }
                return await failure { () async throws(GRPCCallError) in
                    _ = try await connection.unary(GRPCRequest(path: "/silent"), [1])
                }
            }
            #expect(await early.value?.reach == .neverSent)
        }
    }

    @Test("a stream carries messages both ways and ends with OK") func stream() async throws {
        try await withConnection { connection in
            let stream = connection.openStream(GRPCRequest(path: "/stream"))
            for index in 0..<50 {
                try await stream.send([UInt8](repeating: UInt8(index), count: index * 100))
                let answer = try await stream.receive()
                #expect(answer?.count == index * 100)
            }
            stream.finishSending()
            #expect(try await stream.receive() == nil)
            #expect(try await stream.receive() == nil)
            let error = await failure { () async throws(GRPCCallError) in
                try await stream.send([1])
            }
            #expect(error?.reach == .answered)
        }
    }

    @Test("sending waits for the server's window and loses nothing") func sendBackPressure()
        async throws
    {
        var limits = HTTP2Limits()
        limits.streamReceiveWindowBytes = 20_000
        try await withConnection(serverLimits: limits) { connection in
            let stream = connection.openStream(GRPCRequest(path: "/stream"))
            let reader = Task {
                var bytes = 0
                for try await message in stream { bytes += message.count }
                return bytes
            }
            for _ in 0..<300 { try await stream.send([UInt8](repeating: 1, count: 10_000)) }
            stream.finishSending()
            let received = try await reader.value
            #expect(received == 3_000_000)
        }
    }

    @Test("an endless answer waits for its reader") func receiveBackPressure() async throws {
        var configuration = GRPCClientConfiguration(authority: "localhost")
        configuration.limits.streamReceiveWindowBytes = 200_000
        try await withConnection(configuration: configuration) { connection in
            let stream = connection.openStream(GRPCRequest(path: "/source"))
            let first = try await stream.receive()
            #expect(first?.prefix(4) == [0, 0, 0, 0])
            // Time for a source that nothing bounds to send too much.
            try await Task.sleep(for: .milliseconds(100))
            // The client's window and the server's queue bound what is under way, besides what
            // the sockets' buffers hold.
            let sent = try await connection.unary(GRPCRequest(path: "/progress"), [])
            #expect(word(sent[...]) <= 32)
            for index in 1..<500 {
                let message = try await stream.receive()
                #expect(message?.prefix(4).elementsEqual(bigEndian(UInt32(index))) == true)
            }
            stream.cancel()
            let error = await failure { () async throws(GRPCCallError) in
                while try await stream.receive() != nil {}
            }
            #expect(error?.status.code == .canceled)
            let answer = try await connection.unary(GRPCRequest(path: "/echo"), [2])
            #expect(answer == [2])
        }
    }

    @Test("a small window is granted again as it is read") func smallWindow() async throws {
        var configuration = GRPCClientConfiguration(authority: "localhost")
        configuration.limits.streamReceiveWindowBytes = 30_000
        try await withConnection(configuration: configuration) { connection in
            let stream = connection.openStream(GRPCRequest(path: "/source"))
            for _ in 0..<50 {
                let message = try await stream.receive()
                #expect(message?.count == 10_004)
            }
            stream.cancel()
        }
    }

    @Test("a call that is given up makes room for one that waits") func waitingBehindCancelled()
        async throws
    {
        var limits = HTTP2Limits()
        limits.maximumConcurrentStreams = 1
        try await withConnection(serverLimits: limits) { connection in
            _ = try await connection.unary(GRPCRequest(path: "/echo"), [0])
            let silent = connection.openStream(GRPCRequest(path: "/silent"))
            async let answer = connection.unary(GRPCRequest(path: "/echo"), [5])
            // Both calls are under way by then.
            try await Task.sleep(for: .milliseconds(30))
            silent.cancel()
            let message = try await answer
            #expect(message == [5])
        }
    }

    @Test("calls beyond the server's stream limit wait their turn") func streamLimit()
        async throws
    {
        var limits = HTTP2Limits()
        limits.maximumConcurrentStreams = 3
        try await withConnection(serverLimits: limits) { connection in
            // Until the server's SETTINGS arrive there is no limit to know of.
            _ = try await connection.unary(GRPCRequest(path: "/echo"), [0])
            try await withThrowingTaskGroup { group in
                for index in 0..<100 {
                    group.addTask {
                        let answer = try await connection.unary(
                            GRPCRequest(path: "/echo"), [UInt8(index)])
                        #expect(answer == [UInt8(index)])
                    }
                }
                try await group.waitForAll()
            }
        }
    }

    @Test("a lost connection leaves sent calls open and proves later ones unsent")
    func lostConnection() async throws {
        try await withConnection { connection in
            let stream = connection.openStream(GRPCRequest(path: "/stream"))
            try await stream.send([1])
            #expect(try await stream.receive() == [1])
            let sent = await failure { () async throws(GRPCCallError) in
                _ = try await connection.unary(GRPCRequest(path: "/close"), [1])
            }
            #expect(sent?.reach == .outcomeUnknown && sent?.status.code == .unavailable)
            let streamError = await failure { () async throws(GRPCCallError) in
                _ = try await stream.receive()
            }
            #expect(streamError?.reach == .outcomeUnknown)
            let later = await failure { () async throws(GRPCCallError) in
                _ = try await connection.unary(GRPCRequest(path: "/echo"), [1])
            }
            #expect(later?.reach == .neverSent)
        }
    }

    @Test("a server that shuts down finishes what runs and takes nothing new") func drain()
        async throws
    {
        try await withConnection { connection in
            let stream = connection.openStream(GRPCRequest(path: "/stream"))
            try await stream.send([1])
            #expect(try await stream.receive() == [1])
            let trigger = connection.openStream(GRPCRequest(path: "/shutdown"))
            // The client knows of the shutdown by then.
            try await Task.sleep(for: .milliseconds(100))
            let refused = await failure { () async throws(GRPCCallError) in
                _ = try await connection.unary(GRPCRequest(path: "/echo"), [1])
            }
            #expect(refused?.reach == .neverSent)
            try await stream.send([2])
            #expect(try await stream.receive() == [2])
            stream.finishSending()
            #expect(try await stream.receive() == nil)
            trigger.cancel()
            try await connection.closeFuture.get()
        }
    }

    @Test("draining the client lets open calls finish and then closes") func clientDrain()
        async throws
    {
        try await withConnection { connection in
            let stream = connection.openStream(GRPCRequest(path: "/stream"))
            try await stream.send([1])
            #expect(try await stream.receive() == [1])
            connection.drain()
            let refused = await failure { () async throws(GRPCCallError) in
                _ = try await connection.unary(GRPCRequest(path: "/echo"), [1])
            }
            #expect(refused?.reach == .neverSent)
            stream.finishSending()
            #expect(try await stream.receive() == nil)
            try await connection.closeFuture.get()
        }
    }

    @Test("a server that does not answer keepalive PINGs is given up") func keepalive()
        async throws
    {
        let group = MultiThreadedEventLoopGroup.singleton
        let silent = try await ServerBootstrap(group: group)
            .bind(host: "127.0.0.1", port: 0).get()
        let configuration = GRPCClientConfiguration(
            authority: "localhost", keepaliveIntervalNanoseconds: 30_000_000,
            keepaliveTimeoutNanoseconds: 30_000_000)
        let connection = try await connect(to: silent.localAddress, configuration)
        let error = await failure { () async throws(GRPCCallError) in
            _ = try await connection.unary(GRPCRequest(path: "/echo"), [1])
        }
        // Whether the call was made before or after that depends on the machine's load.
        #expect(error?.status.message == "the server does not answer")
        try await silent.close()

        // One that answers stays. It has longer to answer, for the machine may be busy.
        let patient = GRPCClientConfiguration(
            authority: "localhost", keepaliveIntervalNanoseconds: 30_000_000,
            keepaliveTimeoutNanoseconds: 300_000_000)
        try await withConnection(configuration: patient) { connection in
            // Long enough for a silent one to be given up.
            try await Task.sleep(for: .milliseconds(500))
            let answer = try await connection.unary(GRPCRequest(path: "/echo"), [2])
            #expect(answer == [2])
        }
    }

    @Test("a connection that never comes up proves its calls unsent") func refusedConnection()
        async throws
    {
        let group = MultiThreadedEventLoopGroup.singleton
        let server = try await ServerBootstrap(group: group)
            .bind(host: "127.0.0.1", port: 0).get()
        let address = try #require(server.localAddress)
        try await server.close()
        let promise = group.next().makePromise(of: GRPCCallError?.self)
        let bootstrap = ClientBootstrap(group: group).channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                let connection = try GRPCClientConnection.add(
                    to: channel, configuration: GRPCClientConfiguration(authority: "x"))
                promise.completeWithTask {
                    await self.failure { () async throws(GRPCCallError) in
                        _ = try await connection.unary(GRPCRequest(path: "/echo"), [1])
                    }
                }
            }
        }
        await #expect(throws: (any Error).self) {
            try await bootstrap.connect(to: address).get()
        }
        let error = try await promise.futureResult.get()
        #expect(error?.reach == .neverSent && error?.status.code == .unavailable)
    }
}
