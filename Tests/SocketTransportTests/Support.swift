import Glibc
import NIOCore
import SocketTransport
import Testing

/// What a channel's last handler heard, and a way to wait for it.
///
/// `@unchecked Sendable`: touched on the channel's loop only.
final class Recorder: ChannelInboundHandler, DirectHandler, @unchecked Sendable {
    typealias InboundIn = ByteBuffer

    enum Heard: Equatable {
        case active
        case inactive
        case writability(Bool)
        case outputClosed
        case error(Int32)
    }

    private let loop: SocketLoop
    private(set) var heard: [Heard] = []
    private(set) var bytes: [UInt8] = []
    private(set) var channel: (any Channel)!
    /// Whether it asks for more where it is given what comes past the pipeline.
    var isHungry = true
    private var waiting: [(condition: (Recorder) -> Bool, promise: EventLoopPromise<Void>)] = []

    init(loop: SocketLoop) { self.loop = loop }

    func handlerAdded(context: ChannelHandlerContext) { channel = context.channel }

    func channelActive(context: ChannelHandlerContext) { note(.active) }

    func channelInactive(context: ChannelHandlerContext) { note(.inactive) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        received(unwrapInboundIn(data))
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        note(.writability(context.channel.isWritable))
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.outputClosed = event { note(.outputClosed) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        note(.error((error as? IOError)?.errnoCode ?? -1))
    }

    func received(_ more: ByteBuffer) {
        bytes += more.readableBytesView
        look()
    }

    func readEnded() {}

    func asksForBytes() -> Bool { isHungry }

    private func note(_ event: Heard) {
        heard.append(event)
        look()
    }

    private func look() {
        waiting.removeAll { wait in
            guard wait.condition(self) else { return false }
            wait.promise.succeed()
            return true
        }
    }

    /// Waits until the condition holds; fails after ten seconds.
    func wait(until condition: @escaping @Sendable (Recorder) -> Bool) async throws {
        try await loop.flatSubmit { [self] in
            let promise = loop.makePromise(of: Void.self)
            if condition(self) {
                promise.succeed()
            } else {
                waiting.append((condition, promise))
                loop.scheduleTask(in: .seconds(10)) { promise.fail(ChannelError.connectPending) }
            }
            return promise.futureResult
        }.get()
    }

    /// Does something with the channel, on its loop.
    @discardableResult
    func with<T: Sendable>(
        _ action: @escaping @Sendable (any Channel) throws -> T
    ) async throws -> T {
        try await loop.submit { [self] in try action(channel) }.get()
    }
}

/// Sends back what it gets.
final class Echo: ChannelInboundHandler, Sendable {
    typealias InboundIn = ByteBuffer

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        context.writeAndFlush(data, promise: nil)
    }
}

/// The other end of a connection, by plain blocking calls.
struct PlainSocket {
    let descriptor: Int32

    /// Connects to a port of this machine.
    init(port: Int) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        let address = try SocketAddress(ipAddress: "127.0.0.1", port: port)
        let code = address.withSockAddr { connect(descriptor, $0, socklen_t($1)) }
        try #require(code == 0)
    }

    func send(_ bytes: [UInt8]) {
        #expect(Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count)
    }

    /// Reads so many bytes, or all until the end.
    func receive(_ count: Int = .max) -> [UInt8] {
        var received: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while received.count < count {
            let read = recv(descriptor, &buffer, min(buffer.count, count - received.count), 0)
            guard read > 0 else { break }
            received += buffer[..<read]
        }
        return received
    }

    /// Ends the connection so that the other end is reset.
    func reset() {
        var linger = linger(l_onoff: 1, l_linger: 0)
        setsockopt(
            descriptor, SOL_SOCKET, SO_LINGER, &linger,
            socklen_t(MemoryLayout.size(ofValue: linger)))
        close()
    }

    func close() { Glibc.close(descriptor) }
}

/// A connection whose one end is a channel of ours and the other a plain socket.
struct Connection {
    let loop: SocketLoop
    let listener: SocketListener
    let recorder: Recorder
    let peer: PlainSocket

    /// - Parameter before: handlers that stand between the socket and the recorder.
    init(
        on loop: SocketLoop = SocketLoop(),
        before: @escaping @Sendable () -> [any ChannelHandler & Sendable] = { [] }
    ) async throws {
        let recorder = Recorder(loop: loop)
        self.loop = loop
        self.recorder = recorder
        listener = try await loop.submit {
            try SocketListener(host: "127.0.0.1", port: 0, backlog: 8, loop: loop) { channel in
                try channel.pipeline.syncOperations.addHandlers(before())
                try channel.pipeline.syncOperations.addHandler(recorder)
            }
        }.get()
        let listener = listener
        let port = try await loop.submit { listener.localAddress!.port! }.get()
        peer = try PlainSocket(port: port)
        try await recorder.wait { $0.heard == [.active] }
    }

    /// So many on one loop.
    static func several(_ count: Int) async throws -> [Connection] {
        let loop = SocketLoop()
        var connections: [Connection] = []
        for _ in 0..<count { connections.append(try await Connection(on: loop)) }
        return connections
    }

    func end() async throws {
        peer.close()
        try await loop.shutdownGracefully()
    }
}

/// Bytes whose period, a prime, shows a piece that is missing or in the wrong place.
func pattern(_ count: Int) -> [UInt8] {
    let periods = (0..<251 * 64).map { UInt8($0 % 251) }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count + periods.count)
    while bytes.count < count { bytes += periods }
    return Array(bytes[..<count])
}
