import Logging
import NIOCore
import RaftCore
import SocketTransport

/// The connection this member opened to one peer, kept up for as long as the peer is a member.
///
/// What it reports of a break is the evidence that failover rests on: a process that died resets
/// its connections, and its port refuses. A peer that is only slow, or behind a broken network,
/// doesn't refuse. While a process dies the kernel may close its connections before its listening
/// socket, so that the first reconnect still succeeds and is reset: the refusal counts whenever it
/// comes, as long as the peer hasn't said welcome again.
final class PeerLink {
    /// What a link reports.
    enum Report {
        case connected
        case disconnected
        /// The link broke and a reconnect was refused.
        case processGone
    }

    /// Unsent bytes at which a peer counts as not reading: the window of consensus is far smaller.
    static let maxUnsentBytes = 64 << 20
    /// A link at rest keeps no larger buffer than this.
    private static let keptBufferBytes = 256 << 10
    private static let retryDelays: [TimeAmount] = [
        .milliseconds(1), .milliseconds(10), .milliseconds(20), .milliseconds(50),
        .milliseconds(100), .milliseconds(250), .milliseconds(500),
    ]

    let peer: MemberID
    let endpoint: Endpoint
    private let loop: SocketLoop
    private let hello: PeerHello
    private let logger: Logger
    private let report: (Report) -> Void

    // Accesses of what each flush looks at end with their statements; not checked again each time.
    @exclusivity(unchecked) private var channel: SocketChannel?
    @exclusivity(unchecked) private var isWelcome = false
    private var wasConnected = false
    private var attempts = 0
    @exclusivity(unchecked) private var unsent = ByteBuffer()
    private var isClosed = false
    private var lastRefusal = ""

    init(
        peer: MemberID, endpoint: Endpoint, loop: SocketLoop, hello: PeerHello, logger: Logger,
        report: @escaping (Report) -> Void
    ) {
        self.peer = peer
        self.endpoint = endpoint
        self.loop = loop
        self.hello = hello
        self.report = report
        var logger = logger
        logger[metadataKey: "peer"] = "\(String(peer, radix: 16))"
        logger[metadataKey: "endpoint"] = "\(endpoint)"
        self.logger = logger
    }

    /// Queues a frame; it is dropped when the link is down. `flush` sends what is queued.
    func send(_ frame: [UInt8]) {
        guard isWelcome else { return }
        PeerFraming.append(frame, to: &unsent)
    }

    func flush() {
        guard let channel, isWelcome, unsent.readableBytes > 0 else { return }
        guard channel.isWritable else {
            logger.warning("the peer doesn't read; closing the link to it")
            channel.close(promise: nil)
            return
        }
        var bytes = ByteBuffer()
        swap(&bytes, &unsent)
        channel.writeDirectly(bytes)
        // Mostly all is written by now, and the buffer serves again.
        guard isWelcome, bytes.capacity <= Self.keptBufferBytes else { return }
        bytes.clear(minimumCapacity: bytes.capacity)
        unsent = bytes
    }

    func close() {
        isClosed = true
        channel?.close(promise: nil)
    }

    // MARK: - Connecting

    func connect() {
        guard !isClosed else { return }
        let guarded = NIOLoopBound(self, eventLoop: loop)
        PeerDialer.connect(to: endpoint, on: loop, callbacks)
            .whenFailure { error in guarded.value.connectFailed(error) }
    }

    private var callbacks: PeerFrameHandler.Callbacks {
        PeerFrameHandler.Callbacks(
            active: { [weak self] channel in self?.opened(channel) },
            frame: { [weak self] channel, frame in self?.answered(channel, frame) },
            malformed: { [weak self] _, reason in
                self?.logger.warning("the peer sent garbage: \(reason)")
            },
            inactive: { [weak self] channel in self?.broke(channel) })
    }

    private func opened(_ channel: Channel) {
        // `PeerDialer` makes no other.
        self.channel = (channel as! SocketChannel)
        // From then on the channel isn't writable.
        try? channel.syncOptions?.setOption(
            .writeBufferWaterMark,
            value: .init(low: Self.maxUnsentBytes / 2, high: Self.maxUnsentBytes))
        channel.writeAndFlush(PeerFraming.frame(hello.encoded()), promise: nil)
    }

    private func answered(_ channel: Channel, _ frame: [UInt8]) {
        switch PeerWelcome(frame) {
        case .welcome:
            isWelcome = true
            wasConnected = true
            attempts = 0
            lastRefusal = ""
            unsent.clear()
            logger.info("connected to peer")
            report(.connected)
        case .refused(let reason):
            if reason != lastRefusal {
                logger.error("the peer refuses this member: \(reason)")
            }
            lastRefusal = reason
            channel.close(promise: nil)
        case nil:
            logger.error("what answers there is no Martlet member")
            channel.close(promise: nil)
        }
    }

    private func connectFailed(_ error: any Error) {
        if wasConnected, let error = error as? ConnectError, error.isRefusal {
            wasConnected = false
            logger.info("the peer's process is gone: its port refuses connections")
            report(.processGone)
        }
        retry()
    }

    private func broke(_ channel: Channel) {
        guard self.channel === channel else { return }
        self.channel = nil
        if isWelcome {
            isWelcome = false
            report(.disconnected)
            attempts = 0
            connect()  // At once: a refusal now is evidence.
        } else {
            retry()
        }
    }

    private func retry() {
        guard !isClosed else { return }
        let delay = Self.retryDelays[min(attempts, Self.retryDelays.count - 1)]
        attempts += 1
        let guarded = NIOLoopBound(self, eventLoop: loop)
        loop.scheduleTask(in: delay) { guarded.value.connect() }
    }
}
