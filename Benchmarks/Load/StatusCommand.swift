import ArgumentParser
import EtcdMessages
import NIOCore
import SwiftProtobuf

/// What the server says of itself and of its keys.
struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Revision, number of keys, and whether this member leads; linearizable.")

    @OptionGroup var serverOptions: ServerOptions

    func run() async throws {
        let server = try serverOptions.server
        let count = try await call(
            server, Work.range.path,
            Etcdserverpb_RangeRequest.with {
                $0.key = .init([0])
                $0.rangeEnd = .init([0])
                $0.countOnly = true
            }, Etcdserverpb_RangeResponse.self)
        let status = try await call(
            server, "/etcdserverpb.Maintenance/Status", Etcdserverpb_StatusRequest(),
            Etcdserverpb_StatusResponse.self)
        let isLeader = status.leader == status.header.memberID
        print(
            """
            {"revision": \(count.header.revision), "keys": \(count.count), \
            "isLeader": \(isLeader), "term": \(status.raftTerm)}
            """)
    }

    private func call<Answer: SwiftProtobuf.Message & Sendable>(
        _ server: Server, _ path: String, _ request: some SwiftProtobuf.Message & Sendable,
        _ type: Answer.Type
    ) async throws -> Answer {
        let bytes: [UInt8] = try request.serializedBytes()
        let answer = try await SingleCall.run { loop in
            SingleCall(server, path, bytes, on: loop)
        }
        return try Answer(serializedBytes: answer)
    }
}

/// One unary call, on a connection of its own.
final class SingleCall: Load {
    private let server: Server
    private let path: String
    private let request: [UInt8]
    private let loop: any EventLoop
    private var answer: [UInt8] = []
    private var done: ((Result<[UInt8], LoadError>) -> Void)?

    init(_ server: Server, _ path: String, _ request: [UInt8], on loop: any EventLoop) {
        self.server = server
        self.path = path
        self.request = request
        self.loop = loop
    }

    func start(done: @escaping (Result<[UInt8], LoadError>) -> Void) {
        self.done = done
        LoadConnection.connect(number: 0, to: server, on: loop, receiver: self)
    }

    func open(_ connection: LoadConnection) {
        connection.call(path, request, tag: 0)
    }

    func receive(
        _ message: [UInt8], tag: UInt64, at time: NIODeadline, on connection: LoadConnection
    ) {
        answer = message
    }

    func finish(tag: UInt64, failure: String?, on connection: LoadConnection) {
        connection.close()
        done?(failure.map { .failure(LoadError(description: $0)) } ?? .success(answer))
        done = nil
    }

    func lose(_ connection: LoadConnection, reason: String) {
        done?(.failure(LoadError(description: reason)))
        done = nil
    }
}
