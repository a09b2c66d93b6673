import NIOCore
import NIOHTTP1

/// Decides by the first bytes of a connection what is spoken on it: the HTTP/2 preface leads to
/// gRPC, everything else to HTTP/1.1. Put it last in the pipeline; it replaces itself with what the
/// chosen closure adds, so that TLS may stand before it unnoticed.
public final class ProtocolSniffer: ChannelInboundHandler, RemovableChannelHandler {
    /// Bytes from the client.
    public typealias InboundIn = ByteBuffer
    /// The same bytes, for whoever is chosen.
    public typealias InboundOut = ByteBuffer

    /// Adds the handlers of a protocol to the end of the channel's pipeline.
    public typealias Configure = (any Channel) throws -> Void

    private let configureHTTP2: Configure
    private let configureHTTP1: Configure
    private var received = ByteBuffer()
    private var isDecided = false

    /// `http2` usually adds a `GRPCServerHandler`, `http1` calls `addHTTP1Handlers`.
    public init(http2: @escaping Configure, http1: @escaping Configure) {
        configureHTTP2 = http2
        configureHTTP1 = http1
    }

    /// Adds NIO's HTTP/1.1 server pipeline and `handler` behind it. `handler` receives
    /// `HTTPServerRequestPart` and sends `HTTPServerResponsePart`.
    public static func addHTTP1Handlers(
        _ handler: some ChannelHandler, to channel: any Channel
    ) throws {
        try channel.pipeline.syncOperations.configureHTTPServerPipeline()
        try channel.pipeline.syncOperations.addHandler(handler)
    }

    /// Looks at the first bytes until they decide.
    public func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        received.writeBuffer(&bytes)
        guard !isDecided else { return }
        let preface = HTTP2Constant.preface
        let count = min(received.readableBytes, preface.count)
        if !received.readableBytesView.prefix(count).elementsEqual(preface.prefix(count)) {
            decide(context, configureHTTP1)
        } else if count == preface.count {
            decide(context, configureHTTP2)
        }
    }

    private func decide(_ context: ChannelHandlerContext, _ configure: Configure) {
        isDecided = true
        do {
            try configure(context.channel)
        } catch {
            context.fireErrorCaught(error)
            context.close(promise: nil)
            return
        }
        context.fireChannelRead(wrapInboundOut(received))
        received = ByteBuffer()
        context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
    }
}
