import Logging
import NIOCore
import RaftCore
import SocketTransport

/// Accepts the connections of other members, checks who they are, and passes their frames on.
final class PeerListener {
    /// What a listener's owner decides and takes.
    struct Callbacks {
        /// Why the sender of a hello isn't welcome; nil when it is.
        var refusal: (PeerHello) -> String?
        var frame: (MemberID, [UInt8]) -> Void
        /// A connection that will carry a snapshot; its frames go to the returned receiver.
        var snapshot: (Channel, MemberID) -> SnapshotReceiver?
    }

    /// Connections that haven't said hello within this time are closed.
    private static let helloTimeout = TimeAmount.seconds(5)

    private let loop: SocketLoop
    private let callbacks: Callbacks
    private let incarnation: UInt64
    private let logger: Logger
    private var connections: [ObjectIdentifier: Connection] = [:]
    private var mainConnections: [MemberID: ObjectIdentifier] = [:]
    private var servers: [SocketListener] = []

    private struct Connection {
        var channel: Channel
        var sender: MemberID?
        var receiver: SnapshotReceiver?
    }

    init(loop: SocketLoop, incarnation: UInt64, logger: Logger, callbacks: Callbacks) {
        self.loop = loop
        self.incarnation = incarnation
        self.logger = logger
        self.callbacks = callbacks
    }

    /// Binds the addresses.
    ///
    /// - Throws: what `SocketListener` throws of the first that can't be bound.
    func listen(on endpoints: [Endpoint]) throws {
        let callbacks = handlerCallbacks
        servers = try SocketListener.all(
            of: endpoints, backlog: 128, loop: loop, logger: logger
        ) { channel in
            try channel.pipeline.syncOperations.addHandler(PeerFrameHandler(callbacks))
        }
    }

    func close() {
        for server in servers { server.close() }
        for connection in connections.values { connection.channel.close(promise: nil) }
    }

    /// Ends the main connection of a member that broke the protocol; it will connect anew.
    func closeMain(of member: MemberID) {
        guard let key = mainConnections[member] else { return }
        connections[key]?.channel.close(promise: nil)
    }

    private var handlerCallbacks: PeerFrameHandler.Callbacks {
        PeerFrameHandler.Callbacks(
            active: { [weak self] channel in self?.opened(channel) },
            frame: { [weak self] channel, frame in self?.received(frame, on: channel) },
            malformed: { [weak self] channel, reason in
                self?.logger.warning(
                    "closing a peer connection: \(reason)",
                    metadata: ["from": "\(channel.remoteAddress?.description ?? "?")"])
            },
            inactive: { [weak self] channel in self?.closed(channel) })
    }

    private func opened(_ channel: Channel) {
        let key = ObjectIdentifier(channel)
        connections[key] = Connection(channel: channel)
        let guarded = NIOLoopBound(self, eventLoop: loop)
        loop.scheduleTask(in: Self.helloTimeout) {
            guard let connection = guarded.value.connections[key], connection.sender == nil else {
                return
            }
            connection.channel.close(promise: nil)
        }
    }

    private func closed(_ channel: Channel) {
        let key = ObjectIdentifier(channel)
        guard let connection = connections.removeValue(forKey: key) else { return }
        connection.receiver?.connectionClosed()
        if let sender = connection.sender, mainConnections[sender] == key {
            mainConnections[sender] = nil
        }
    }

    private func received(_ frame: [UInt8], on channel: Channel) {
        let key = ObjectIdentifier(channel)
        guard let connection = connections[key] else { return }
        if let receiver = connection.receiver {
            receiver.received(frame)
        } else if let sender = connection.sender {
            callbacks.frame(sender, frame)
        } else {
            greeted(frame, on: channel, key: key)
        }
    }

    private func greeted(_ frame: [UInt8], on channel: Channel, key: ObjectIdentifier) {
        guard let hello = PeerHello(frame) else {
            logger.warning(
                "closing a peer connection: it began with something else than a hello",
                metadata: ["from": "\(channel.remoteAddress?.description ?? "?")"])
            channel.close(promise: nil)
            return
        }
        if let reason = callbacks.refusal(hello) {
            logger.warning("refusing a peer: \(reason)")
            answer(.refused(reason: reason), on: channel)
            channel.close(promise: nil)
            return
        }
        connections[key]!.sender = hello.sender
        switch hello.kind {
        case .main:
            // A newer connection replaces an older one: frames of a process that died, still
            // under way, must not arrive among those of its successor.
            if let old = mainConnections[hello.sender] {
                connections[old]?.channel.close(promise: nil)
                connections[old] = nil
            }
            mainConnections[hello.sender] = key
        case .snapshot:
            guard let receiver = callbacks.snapshot(channel, hello.sender) else {
                answer(.refused(reason: "a snapshot is being received already"), on: channel)
                channel.close(promise: nil)
                return
            }
            connections[key]!.receiver = receiver
        }
        answer(.welcome(version: PeerHello.version, incarnation: incarnation), on: channel)
    }

    private func answer(_ welcome: PeerWelcome, on channel: Channel) {
        channel.writeAndFlush(PeerFraming.frame(welcome.encoded()), promise: nil)
    }
}
