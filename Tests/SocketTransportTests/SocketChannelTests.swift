import Glibc
import NIOCore
import Synchronization
import Testing

@testable import SocketTransport

@Suite("A socket's channel")
struct SocketChannelTests {
    private static func write(
        _ bytes: [UInt8], on connection: Connection
    ) async throws -> EventLoopFuture<Void> {
        try await connection.recorder.with { channel in
            channel.writeAndFlush(ByteBuffer(bytes: bytes))
        }
    }

    @Test("what the peer sends comes in order and whole, however it is cut")
    func reads() async throws {
        let connection = try await Connection()
        let bytes = pattern(1_000_000)
        for start in stride(from: 0, to: bytes.count, by: 77_777) {
            connection.peer.send(Array(bytes[start..<min(start + 77_777, bytes.count)]))
        }
        try await connection.recorder.wait { $0.bytes.count == 1_000_000 }
        #expect(connection.recorder.bytes == bytes)
        try await connection.end()
    }

    @Test("what a handler keeps of a read isn't overwritten by the next one")
    func kept() async throws {
        // `@unchecked Sendable`: used on the loop only.
        final class Keeper: ChannelInboundHandler, @unchecked Sendable {
            typealias InboundIn = ByteBuffer
            typealias InboundOut = ByteBuffer
            var kept: [ByteBuffer] = []

            func channelRead(context: ChannelHandlerContext, data: NIOAny) {
                kept.append(unwrapInboundIn(data))
                context.fireChannelRead(data)
            }
        }
        let keeper = Keeper()
        let connection = try await Connection { [keeper] }
        for number in 1...20 {
            connection.peer.send([UInt8](repeating: UInt8(number), count: 1_000))
            try await connection.recorder.wait { $0.bytes.count == number * 1_000 }
        }
        let kept = try await connection.loop.submit { keeper.kept }.get()
        #expect(kept.flatMap { Array($0.readableBytesView) } == connection.recorder.bytes)
        try await connection.end()
    }

    @Test("a handler that reads past the pipeline gets all, and nothing while it asks for nothing")
    func readDirectly() async throws {
        // `@unchecked Sendable`: used on the loop only.
        final class Passed: ChannelInboundHandler, @unchecked Sendable {
            typealias InboundIn = ByteBuffer
            var byteCount = 0

            func channelRead(context: ChannelHandlerContext, data: NIOAny) {
                byteCount += unwrapInboundIn(data).readableBytes
                context.fireChannelRead(data)
            }
        }
        let passed = Passed()
        let connection = try await Connection { [passed] }
        let recorder = connection.recorder
        connection.peer.send([1])
        try await recorder.wait { $0.bytes == [1] }
        try await recorder.with { ($0 as! SocketChannel).read(by: recorder) }
        let bytes = pattern(1_000_000)
        connection.peer.send(bytes)
        try await recorder.wait { $0.bytes.count == 1 + bytes.count }
        #expect(recorder.bytes == [1] + bytes)

        // The read that it asked for before still comes.
        try await recorder.with { _ in recorder.isHungry = false }
        connection.peer.send([2])
        try await recorder.wait { $0.bytes.last == 2 }
        connection.peer.send([3])
        // Each is a turn of the loop, which looks at the socket.
        for _ in 0..<2 { try await connection.loop.submit {}.get() }
        #expect(recorder.bytes.last == 2)
        try await recorder.with { $0.pipeline.syncOperations.read() }
        try await recorder.wait { $0.bytes.last == 3 }
        #expect(try await connection.loop.submit { passed.byteCount }.get() == 1)
        #expect(recorder.heard == [.active])
        try await connection.end()
    }

    @Test("a peer that doesn't read: unwritable, and all arrives when it does; promises in order")
    func slowReader() async throws {
        let connection = try await Connection()
        let bytes = pattern(16 << 20)
        let written = Mutex<[Int]>([])
        for half in 0..<2 {
            let piece = Array(bytes[(half * (8 << 20))..<((half + 1) * (8 << 20))])
            try await Self.write(piece, on: connection).whenSuccess {
                written.withLock { $0.append(half) }
            }
        }
        try await connection.recorder.wait { $0.heard == [.active, .writability(false)] }
        let unsent = try await connection.recorder.with {
            try $0.syncOptions!.getOption(.bufferedWritableBytes)
        }
        #expect(unsent > 1 << 20)
        let received = await Task.detached { connection.peer.receive(16 << 20) }.value
        #expect(received == bytes)
        try await connection.recorder.wait {
            $0.heard == [.active, .writability(false), .writability(true)]
        }
        #expect(written.withLock { $0 } == [0, 1])
        try await connection.end()
    }

    @Test("what is written past the handlers stands in line, and is lost once the channel closes")
    func writtenDirectly() async throws {
        let connection = try await Connection()
        let bytes = pattern(16 << 20)
        _ = try await Self.write(Array(bytes[..<(8 << 20)]), on: connection)
        try await connection.recorder.with {
            ($0 as! SocketChannel).writeDirectly(ByteBuffer(bytes: bytes[(8 << 20)...]))
        }
        let received = await Task.detached { connection.peer.receive(16 << 20) }.value
        #expect(received == bytes)
        try await connection.recorder.with {
            $0.close(promise: nil)
            ($0 as! SocketChannel).writeDirectly(ByteBuffer(bytes: [1]))
        }
        #expect(connection.peer.receive() == [])
        try await connection.end()
    }

    @Test("closing the output waits for what is unsent; the peer may still send")
    func halfClosed() async throws {
        let connection = try await Connection()
        let bytes = pattern(16 << 20)
        _ = try await Self.write(bytes, on: connection)
        let closed = try await connection.recorder.with { $0.close(mode: .output) }
        let late = try await Self.write([1], on: connection)
        await #expect(throws: ChannelError.outputClosed) { try await late.get() }
        #expect(
            try await connection.loop.submit { connection.recorder.heard.last }.get()
                == .writability(false))
        let received = await Task.detached { connection.peer.receive() }.value
        #expect(received == bytes)
        try await closed.get()
        connection.peer.send([1, 2, 3])
        try await connection.recorder.wait { $0.bytes == [1, 2, 3] }
        #expect(
            try await connection.loop.submit { connection.recorder.heard.last }.get()
                == .outputClosed)
        try await connection.end()
    }

    @Test("a peer that ends closes the channel, behind what it sent before")
    func ended() async throws {
        let connection = try await Connection()
        connection.peer.send([1, 2, 3])
        connection.peer.close()
        try await connection.recorder.wait { $0.heard.last == .inactive }
        #expect(connection.recorder.bytes == [1, 2, 3])
        #expect(connection.recorder.heard == [.active, .inactive])
        try await connection.loop.shutdownGracefully()
    }

    @Test("a reset is an error, then the end", arguments: [true, false])
    func reset(isReading: Bool) async throws {
        let connection = try await Connection()
        try await connection.recorder.with {
            try $0.syncOptions!.setOption(.autoRead, value: isReading)
        }
        connection.peer.reset()
        try await connection.recorder.wait { $0.heard.last == .inactive }
        #expect(
            connection.recorder.heard
                == (isReading ? [.active, .error(ECONNRESET), .inactive] : [.active, .inactive]))
        try await connection.loop.shutdownGracefully()
    }

    @Test("a write to a peer that is gone gives what it said last to the handlers, then ends")
    func lastWords() async throws {
        let connection = try await Connection()
        try await connection.recorder.with { channel in
            // The loop stands still meanwhile: words and reset have both come when it writes.
            connection.peer.send([7, 8, 9])
            connection.peer.reset()
            usleep(20_000)
            _ = channel.writeAndFlush(ByteBuffer(bytes: [1]))
        }
        try await connection.recorder.wait { $0.heard.last == .inactive }
        #expect(connection.recorder.bytes == [7, 8, 9])
        try await connection.loop.shutdownGracefully()
    }

    @Test("closing fails what is unsent and can be done once")
    func closed() async throws {
        let connection = try await Connection()
        let unsent = try await Self.write(pattern(32 << 20), on: connection)
        try await connection.recorder.with { $0.close() }.get()
        await #expect(throws: ChannelError.alreadyClosed) {
            try await connection.recorder.with { $0.close() }.get()
        }
        await #expect(throws: (any Error).self) { try await unsent.get() }
        let late = try await Self.write([1], on: connection)
        await #expect(throws: ChannelError.ioOnClosedChannel) { try await late.get() }
        try await connection.recorder.with { $0.closeFuture }.get()
        try await connection.end()
    }

    @Test("nothing is read while reading is off, and everything when it is on again")
    func autoRead() async throws {
        let connection = try await Connection()
        try await connection.recorder.with {
            try $0.syncOptions!.setOption(.autoRead, value: false)
        }
        connection.peer.send([1, 2, 3])
        // Time for a channel to read what it mustn't.
        try await Task.sleep(for: .milliseconds(20))
        #expect(try await connection.loop.submit { connection.recorder.bytes }.get() == [])
        try await connection.recorder.with {
            try $0.syncOptions!.setOption(.autoRead, value: true)
        }
        try await connection.recorder.wait { $0.bytes == [1, 2, 3] }
        try await connection.end()
    }

    @Test("a handler that holds the question for bytes back gets none until it asks")
    func heldBack() async throws {
        // `@unchecked Sendable`: used on the loop only.
        final class Holder: ChannelDuplexHandler, @unchecked Sendable {
            typealias InboundIn = ByteBuffer
            typealias OutboundIn = ByteBuffer
            var context: ChannelHandlerContext?

            func read(context: ChannelHandlerContext) { self.context = context }
        }
        let holder = Holder()
        let connection = try await Connection { [holder] }
        for number in 1...3 {
            connection.peer.send([UInt8](repeating: 1, count: 100))
            // Time for a channel to read what nobody asked for.
            try await Task.sleep(for: .milliseconds(10))
            #expect(
                try await connection.loop.submit { connection.recorder.bytes.count }.get()
                    == (number - 1) * 100)
            try await connection.loop.submit { holder.context!.read() }.get()
            try await connection.recorder.wait { $0.bytes.count == number * 100 }
        }
        try await connection.end()
    }

    @Test("answers that a handler gives while it reads leave at once, whole and in order")
    func echo() async throws {
        let connection = try await Connection { [Echo()] }
        let bytes = pattern(4 << 20)
        let sender = Task.detached { connection.peer.send(bytes) }
        let received = await Task.detached { connection.peer.receive(bytes.count) }.value
        await sender.value
        #expect(received == bytes)
        try await connection.end()
    }

    @Test("a handler may close while it reads; nothing more is given to it")
    func closesWhileReading() async throws {
        final class Closer: ChannelInboundHandler, Sendable {
            typealias InboundIn = ByteBuffer

            func channelRead(context: ChannelHandlerContext, data: NIOAny) {
                context.fireChannelRead(data)
                context.writeAndFlush(NIOAny(ByteBuffer(bytes: [9])), promise: nil)
                context.close(promise: nil)
            }
        }
        let connection = try await Connection { [Closer()] }
        connection.peer.send([1, 2, 3])
        #expect(await Task.detached { connection.peer.receive() }.value == [9])
        try await connection.recorder.wait { $0.heard == [.active, .inactive] }
        #expect(connection.recorder.bytes == [1, 2, 3])
        try await connection.end()
    }

    @Test("a handler may close when the socket has room again, though the output was to end")
    func closesWhenWritable() async throws {
        final class Closer: ChannelInboundHandler, Sendable {
            typealias InboundIn = ByteBuffer

            func channelWritabilityChanged(context: ChannelHandlerContext) {
                context.fireChannelWritabilityChanged()
                if context.channel.isWritable { context.close(promise: nil) }
            }
        }
        let connection = try await Connection { [Closer()] }
        let bytes = pattern(16 << 20)
        _ = try await Self.write(bytes, on: connection)
        let ended = try await connection.recorder.with { $0.close(mode: .output) }
        _ = await Task.detached { connection.peer.receive() }.value
        try await connection.recorder.wait { $0.heard.last == .inactive }
        #expect(!connection.recorder.heard.contains(.outputClosed))
        await #expect(throws: (any Error).self) { try await ended.get() }
        try await connection.end()
    }

    @Test("senders that never pause don't keep tasks waiting for more than a bounded many bytes")
    func flooded() async throws {
        let connections = try await Connection.several(8)
        let loop = connections[0].loop
        let bytes = pattern(8 << 20)
        let most = Mutex(0)
        @Sendable func look(_ before: Int) {
            let now = connections.reduce(0) { $0 + $1.recorder.bytes.count }
            most.withLock { $0 = max($0, now - before) }
            if now < 8 * bytes.count { loop.execute { look(now) } }
        }
        loop.execute { look(0) }
        await withTaskGroup { group in
            for connection in connections {
                group.addTask { connection.peer.send(bytes) }
            }
        }
        for connection in connections {
            try await connection.recorder.wait { $0.bytes.count == bytes.count }
        }
        // A look begins below 1 MiB, and each connection reads four times 64 KiB in it at most.
        #expect(most.withLock { $0 } <= (1 << 20) + 8 * 4 * (64 << 10))
        for connection in connections { connection.peer.close() }
        try await loop.shutdownGracefully()
    }
}
