import HTTP2
import NIOCore

/// Unary calls on one connection, 16 in each read: a client's bytes through the server and back.
/// The client's part is counted too; it sends and receives the same frames.
struct UnaryCalls {
    let count: Int
    private static let batch = 16
    private static let answer = [UInt8](repeating: 7, count: 40)

    struct Failure: Error { let reason: String }

    func run() throws {
        var server = ServerCore(limits: HTTP2Limits())
        var client = ClientCore(limits: HTTP2Limits())
        var blocks = RequestBlocks(
            authority: "127.0.0.1:2379", isSecure: false, userAgent: "kvmicro")
        let message = Parts.put
        var answered = 0
        for _ in 0..<count / Self.batch {
            for _ in 0..<Self.batch {
                guard let stream = client.engine.openStream(tag: 0) else {
                    throw Failure(reason: "stream ids have run out")
                }
                let block = blocks.block(
                    path: "/etcdserverpb.KV/Put", metadata: [], timeoutNanoseconds: nil)
                client.engine.sendMessage(stream, head: block, endStream: true) {
                    $0.writeBytes(message)
                }
            }
            client.engine.pump()
            server.engine.receive(client.engine.takeOutbound(), nowNanoseconds: 0)
            try serve(&server)
            server.engine.pump()
            client.engine.receive(server.engine.takeOutbound(), nowNanoseconds: 0)
            answered += try finish(&client)
        }
        guard answered == count / Self.batch * Self.batch else {
            throw Failure(reason: "\(answered) of \(count) calls were answered")
        }
    }

    private func serve(_ server: inout ServerCore) throws {
        while true {
            switch server.nextEvent() {
            case .needsBytes: return
            case .request(let id, _, _): server.setTag(id, 1)
            case .message(let id, _, _, _): server.sendUnary(id, Self.answer)
            case .failed(let error): throw Failure(reason: error.reason)
            default: break
            }
        }
    }

    private func finish(_ client: inout ClientCore) throws -> Int {
        var answered = 0
        while true {
            switch client.nextEvent() {
            case .needsBytes: return answered
            case .message(let id, _, let bytes): client.engine.consume(id, bytes: bytes.count + 5)
            case .finished(_, .answered(let status, _)) where status.code == .ok: answered += 1
            case .finished(_, let outcome): throw Failure(reason: "\(outcome)")
            case .failed(let error): throw Failure(reason: error.reason)
            default: break
            }
        }
    }
}
