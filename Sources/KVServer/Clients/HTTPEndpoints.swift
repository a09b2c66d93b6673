import Logging
import NIOCore
import NIOHTTP1
import Replica

/// `/health` and `/version` over HTTP/1.1, on the clients' port.
final class HTTPEndpoints: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let health: HealthCheck
    private let logger: Logger
    private var head: HTTPRequestHead?

    init(health: HealthCheck, logger: Logger) {
        self.health = health
        self.logger = logger
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): self.head = head
        case .body: break
        case .end:
            guard let head else { return }
            self.head = nil
            answer(head, context)
        }
    }

    private func answer(_ head: HTTPRequestHead, _ context: ChannelHandlerContext) {
        let path = head.uri.prefix { $0 != "?" }
        guard head.method == .GET || head.method == .HEAD else {
            respond(.methodNotAllowed, #"{"error":"only GET is served here"}"#, head, context)
            return
        }
        switch path {
        case "/version":
            let version = Version.etcdAPI
            respond(
                .ok, #"{"etcdserver":"\#(version)","etcdcluster":"\#(version)"}"#, head, context)
        case "/health":
            let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
            health.check { reason in
                let (handler, context) = bound.value
                guard context.channel.isActive else { return }
                if let reason {
                    handler.respond(
                        .serviceUnavailable, #"{"health":"false","reason":"\#(reason)"}"#, head,
                        context)
                } else {
                    handler.respond(.ok, #"{"health":"true","reason":""}"#, head, context)
                }
            }
        default:
            respond(
                .notFound, #"{"error":"there are /health and /version; gRPC needs HTTP/2"}"#, head,
                context)
        }
    }

    private func respond(
        _ status: HTTPResponseStatus, _ body: String, _ request: HTTPRequestHead,
        _ context: ChannelHandlerContext
    ) {
        var buffer = context.channel.allocator.buffer(string: body + "\n")
        var headers = HTTPHeaders()
        headers.add(name: "content-type", value: "application/json")
        headers.add(name: "content-length", value: "\(buffer.readableBytes)")
        if request.method == .HEAD { buffer.clear() }
        let head = HTTPResponseHead(version: request.version, status: status, headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if buffer.readableBytes > 0 {
            context.write(wrapOutboundOut(.body(.byteBuffer(buffer))), promise: nil)
        }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        if !request.isKeepAlive { context.close(promise: nil) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        logger.warning(
            "closing a client's connection: it speaks neither HTTP/1.1 nor HTTP/2",
            metadata: [
                "from": "\(context.remoteAddress?.description ?? "?")", "error": "\(error)",
            ])
        context.close(promise: nil)
    }
}

/// Asks the replica whether it serves linearizable reads.
final class HealthCheck {
    private let replica: ReplicaLoop
    private var waiting: [RequestID: (String?) -> Void] = [:]

    init(replica: ReplicaLoop) { self.replica = replica }

    /// Calls back with nil, or with the reason why the member is unhealthy.
    func check(_ callback: @escaping (String?) -> Void) {
        let id = replica.newRequestID()
        waiting[id] = callback
        replica.submit(ClientRequest(id: id, kind: .barrier, body: []))
    }

    /// Takes an answer, if it is one of these checks'.
    func answer(_ request: RequestID) { waiting.removeValue(forKey: request)?(nil) }

    func fail(_ request: RequestID, _ failure: RequestFailure) {
        waiting.removeValue(forKey: request)?(failure.error.message)
    }
}
