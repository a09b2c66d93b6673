import DurableLog
import Foundation
import KVCore
import Logging
import NIOCore
import NIOPosix
import RaftCore
import SocketTransport
import Synchronization
import Testing

@testable import KVServer

/// The connections that carry snapshots, with the other side played by the test.
@Suite("Snapshot links", .serialized)
struct SnapshotLinkTests {
    private static let patience = TimeAmount.milliseconds(400)
    private static let sender: MemberID = 1
    private static let receiver: MemberID = 2
    private static let clusterID: UInt64 = 99

    private let folder: URL
    private let disk: DiskThread
    private let loop = SocketLoop()

    init() throws {
        folder = FileManager.default.temporaryDirectory
            .appendingPathComponent("martlet-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        disk = DiskThread(directory: folder.path)
    }

    private func end() {
        disk.close()
        loop.shutdownGracefully { _ in }
        try? FileManager.default.removeItem(at: folder)
    }

    private static func hello(_ kind: PeerHello.LinkKind) -> PeerHello {
        PeerHello(
            kind: kind, clusterID: clusterID, sender: sender, receiver: receiver,
            directoryID: DirectoryID(high: 1, low: 2), incarnation: 3)
    }

    // MARK: - The sending side

    private enum Reading {
        case atOnce
        case after(TimeAmount)
        case never
    }

    /// A peer that says welcome; then it reads on or doesn't, and acknowledges or doesn't.
    private func peer(reads reading: Reading, acknowledges: Bool) async throws -> any Channel {
        try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelOption(
                .recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 4_096)
            )
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    var isGreeted = false
                    func pause(_ channel: any Channel, _ reading: Reading) {
                        if case .atOnce = reading { return }
                        channel.setOption(.autoRead, value: false).whenComplete { _ in }
                        guard case .after(let pause) = reading else { return }
                        channel.eventLoop.scheduleTask(in: pause) {
                            channel.setOption(.autoRead, value: true).whenComplete { _ in }
                        }
                    }
                    func answer(_ channel: any Channel, _ payload: [UInt8]) {
                        channel.writeAndFlush(
                            PeerFraming.frame(payload), promise: nil)
                    }
                    try channel.pipeline.syncOperations.addHandler(
                        PeerFrameHandler(
                            .init(
                                frame: { channel, frame in
                                    if !isGreeted {
                                        isGreeted = true
                                        pause(channel, reading)
                                        answer(
                                            channel,
                                            PeerWelcome.welcome(
                                                version: PeerHello.version, incarnation: 5
                                            )
                                            .encoded())
                                    } else if frame.isEmpty, acknowledges {
                                        answer(channel, [1])
                                    }
                                }, malformed: { _, _ in }, inactive: { _ in })))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
    }

    /// Sends a file of so many bytes; returns the outcome and how long it took.
    private func send(
        byteCount: Int, to peer: any Channel, patience: TimeAmount = Self.patience
    ) async throws -> (delivery: SnapshotDelivery, time: Duration) {
        try Data(repeating: 7, count: byteCount)
            .write(to: folder.appendingPathComponent(SnapshotName.file(5)))
        let endpoint = Endpoint(host: "127.0.0.1", port: try #require(peer.localAddress?.port))
        let start = ContinuousClock.now
        let outcome = loop.makePromise(of: SnapshotDelivery.self)
        try await loop.submit { [loop, disk] in
            SnapshotSender(
                file: SnapshotName.file(5), index: 5, term: 1, hello: Self.hello(.snapshot),
                loop: loop, disk: disk, patience: patience
            ) { outcome.succeed($0) }.start(to: endpoint)
        }.get()
        let delivery = try await outcome.futureResult.get()
        return (delivery, ContinuousClock.now - start)
    }

    @Test("a sender is done when the peer says that the snapshot is durable")
    func sent() async throws {
        defer { end() }
        let peer = try await peer(reads: .atOnce, acknowledges: true)
        let result = try await send(byteCount: 3 << 20, to: peer)
        #expect(result.delivery == .taken)
        try await peer.close()
    }

    @Test("a sender gives up on a peer that reads and then says nothing")
    func silent() async throws {
        defer { end() }
        let peer = try await peer(reads: .atOnce, acknowledges: false)
        let result = try await send(byteCount: 1_000, to: peer)
        #expect(result.delivery == .failed("it took nothing for 0.4 s"))
        #expect(result.time >= .milliseconds(400))
        #expect(result.time < .seconds(5))
        try await peer.close()
    }

    @Test("a sender gives up on a peer that stops reading")
    func stalled() async throws {
        defer { end() }
        let peer = try await peer(reads: .never, acknowledges: false)
        // Far more than the sockets between them hold.
        let result = try await send(byteCount: 64 << 20, to: peer)
        #expect(result.delivery == .failed("it took nothing for 0.4 s"))
        #expect(result.time >= .milliseconds(400))
        #expect(result.time < .seconds(20))
        try await peer.close()
    }

    @Test("a sender waits for a peer whose disk is busy longer than a main link would wait")
    func pausing() async throws {
        defer { end() }
        let peer = try await peer(reads: .after(.seconds(7)), acknowledges: true)
        let result = try await send(byteCount: 64 << 20, to: peer, patience: .seconds(30))
        #expect(result.delivery == .taken)
        #expect(result.time >= .seconds(7))
        try await peer.close()
    }

    // MARK: - The receiving side

    /// A connection as a sender makes one: it says hello and tells when it was welcomed, closed.
    private func connect(
        port: Int, welcomed: EventLoopPromise<Void>, closed: EventLoopPromise<Void>
    ) async throws -> SocketChannel {
        try await loop.flatSubmit { [loop] in
            PeerDialer.connect(
                to: Endpoint(host: "127.0.0.1", port: port), on: loop,
                .init(
                    active: { channel in
                        channel.writeAndFlush(
                            PeerFraming.frame(Self.hello(.snapshot).encoded()),
                            promise: nil)
                    },
                    frame: { _, frame in
                        if case .welcome? = PeerWelcome(frame) { welcomed.succeed() }
                    },
                    malformed: { _, _ in },
                    inactive: { _ in
                        welcomed.fail(ChannelError.eof)
                        closed.succeed()
                    }))
        }.get()
    }

    private func isActive(_ channel: SocketChannel) async throws -> Bool {
        try await loop.submit { channel.isActive }.get()
    }

    @Test("a newer snapshot replaces one that is being received, whose sender may be gone")
    func replaced() async throws {
        defer { end() }
        let port = try ProcessCluster.freePorts(1)[0]
        let members = [
            ClusterMember(id: Self.sender, peerURLs: ["http://127.0.0.1:1"], role: .voter),
            ClusterMember(
                id: Self.receiver, peerURLs: ["http://127.0.0.1:\(port)"], role: .voter),
        ]
        let network = try await loop.submit { [loop, disk] in
            let network = PeerNetwork(
                identity: DirectoryIdentity(
                    clusterID: Self.clusterID, memberID: Self.receiver,
                    directoryID: DirectoryID(high: 3, low: 4)),
                incarnation: 1, limits: StoreLimits(), loop: loop,
                directory: folder.path, readDisk: disk, logger: Logger(label: "test"))
            let bound = NIOLoopBound(network, eventLoop: loop)
            try network.start(
                listeningOn: [Endpoint(host: "127.0.0.1", port: port)], members: members)
            return bound
        }.get()
        let welcomes = (0..<2).map { _ in loop.makePromise(of: Void.self) }
        let closings = (0..<2).map { _ in loop.makePromise(of: Void.self) }
        let first = try await connect(port: port, welcomed: welcomes[0], closed: closings[0])
        try await welcomes[0].futureResult.get()
        #expect(try await isActive(first))
        let second = try await connect(port: port, welcomed: welcomes[1], closed: closings[1])
        try await welcomes[1].futureResult.get()
        try await closings[0].futureResult.get()
        #expect(try await !isActive(first))
        #expect(try await isActive(second))
        try await second.close()
        try await closings[1].futureResult.get()
        try await loop.submit { network.value.close() }.get()
    }
}
