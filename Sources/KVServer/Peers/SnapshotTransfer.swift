import DurableLog
import KVCore
import Logging
import NIOCore
import RaftCore
import Replica
import SocketTransport

/// Frames of a connection that carries a snapshot. After the welcome: one header, then pieces of
/// the file in order, then an empty frame. The receiver answers with one byte when the file is
/// durable (1) or couldn't be taken (0).
enum SnapshotFrames {
    static let pieceBytes = 256 << 10
    /// How long a sender waits for a piece to leave, or for the receiver to have loaded it all.
    static let patience = TimeAmount.seconds(60)

    /// Leader's term, index of the snapshot.
    static func header(term: Term, index: LogIndex) -> [UInt8] {
        var buffer = ByteBuffer()
        buffer.writeInteger(term, endianness: .little)
        buffer.writeInteger(index, endianness: .little)
        return [UInt8](buffer: buffer)
    }
}

/// How the sending of a snapshot ended.
enum SnapshotDelivery: Equatable, Sendable {
    /// The peer has it on its disk.
    case taken
    /// It doesn't, for this reason.
    case failed(String)
}

/// Streams one snapshot file to a peer over a connection of its own.
final class SnapshotSender {
    private let loop: SocketLoop
    private let disk: DiskThread
    private let file: String
    private let index: LogIndex
    private let term: Term
    private let hello: PeerHello
    private let patience: TimeAmount
    private let finished: (SnapshotDelivery) -> Void
    private var channel: Channel?
    private var isFinished = false
    private var progressWatch: Scheduled<Void>?

    init(
        file: String, index: LogIndex, term: Term, hello: PeerHello, loop: SocketLoop,
        disk: DiskThread, patience: TimeAmount = SnapshotFrames.patience,
        finished: @escaping (SnapshotDelivery) -> Void
    ) {
        self.file = file
        self.index = index
        self.term = term
        self.hello = hello
        self.loop = loop
        self.disk = disk
        self.patience = patience
        self.finished = finished
    }

    func start(to endpoint: Endpoint) {
        let guarded = NIOLoopBound(self, eventLoop: loop)
        // The kernel's patience is the longer one: it couldn't say why it gave up.
        PeerDialer.connect(to: endpoint, on: loop, patience: patience * 2, callbacks)
            .whenFailure { guarded.value.finish(.failed("it can't be reached: \($0)")) }
    }

    // The connection keeps the sender alive until it is closed.
    private var callbacks: PeerFrameHandler.Callbacks {
        PeerFrameHandler.Callbacks(
            active: { channel in
                self.channel = channel
                self.watchProgress()
                self.write(self.hello.encoded())
            },
            frame: { _, frame in self.answered(frame) },
            malformed: { _, reason in self.finish(.failed("it sent garbage: \(reason)")) },
            inactive: { _ in self.finish(.failed("the connection broke")) })
    }

    private func write(_ payload: [UInt8]) {
        channel?.writeAndFlush(PeerFraming.frame(payload), promise: nil)
    }

    private var isStreaming = false

    private func answered(_ frame: [UInt8]) {
        if isStreaming {
            let isTaken = frame.first == 1
            finish(isTaken ? .taken : .failed("it could not take it, and its own log says why"))
            return
        }
        switch PeerWelcome(frame) {
        case .welcome:
            isStreaming = true
            write(SnapshotFrames.header(term: term, index: index))
            sendPiece(offset: 0)
        case .refused(let reason): finish(.failed("it refused: \(reason)"))
        case nil: finish(.failed("what answers there is no Martlet member"))
        }
    }

    /// Reads the next piece in the background and sends it when the one before has left.
    private func sendPiece(offset: Int) {
        let guarded = NIOLoopBound(self, eventLoop: loop)
        let loop = loop
        disk.submit { [file] disk in
            let piece: Result<[UInt8], DiskError>
            do throws(DiskError) {
                let size = try disk.byteCount(of: file) ?? 0
                let count = min(SnapshotFrames.pieceBytes, size - offset)
                piece = .success(try disk.read(file, offset: offset, byteCount: count))
            } catch {
                piece = .failure(error)
            }
            loop.execute { guarded.value.pieceRead(piece, offset: offset) }
        }
    }

    private func pieceRead(_ result: Result<[UInt8], DiskError>, offset: Int) {
        guard let channel, !isFinished else { return }
        let piece: [UInt8]
        switch result {
        case .success(let bytes): piece = bytes
        case .failure(let error):
            finish(.failed("\(error)"))
            return
        }
        watchProgress()
        let guarded = NIOLoopBound(self, eventLoop: loop)
        channel.writeAndFlush(PeerFraming.frame(piece))
            .whenSuccess {
                // The empty piece behind the last byte is the end.
                if !piece.isEmpty { guarded.value.sendPiece(offset: offset + piece.count) }
            }
    }

    /// A peer that vanished without closing its connection must not hold the transfer for ever.
    private func watchProgress() {
        progressWatch?.cancel()
        let guarded = NIOLoopBound(self, eventLoop: loop)
        progressWatch = loop.scheduleTask(in: patience) { [patience] in
            let seconds = Double(patience.nanoseconds) / 1e9
            guarded.value.finish(.failed("it took nothing for \(seconds) s"))
        }
    }

    private func finish(_ delivery: SnapshotDelivery) {
        guard !isFinished else { return }
        isFinished = true
        progressWatch?.cancel()
        channel?.close(promise: nil)
        finished(delivery)
    }
}

/// Takes one snapshot from a peer into a file of its own, verifies it, and gives it its name.
final class SnapshotReceiver {
    private let channel: Channel
    private let disk: DiskThread
    private let clusterID: UInt64
    private let limits: StoreLimits
    private let finished: (LoadedSnapshot, Term) -> Void
    private let logger: Logger
    private var header: (term: Term, index: LogIndex)?
    private var offset = 0
    private var isFinished = false

    init(
        channel: Channel, disk: DiskThread, clusterID: UInt64, limits: StoreLimits, logger: Logger,
        finished: @escaping (LoadedSnapshot, Term) -> Void
    ) {
        self.channel = channel
        self.disk = disk
        self.clusterID = clusterID
        self.limits = limits
        self.logger = logger
        self.finished = finished
    }

    func received(_ frame: [UInt8]) {
        guard !isFinished else { return }
        guard header != nil else {
            var bytes = ByteBuffer(bytes: frame)
            guard let term = bytes.readInteger(endianness: .little, as: Term.self),
                let index = bytes.readInteger(endianness: .little, as: LogIndex.self)
            else {
                channel.close(promise: nil)
                return
            }
            header = (term, index)
            disk.submit { disk in try? disk.remove(SnapshotName.incoming) }
            return
        }
        if frame.isEmpty {
            complete()
        } else {
            take(frame)
        }
    }

    /// Nothing more is read from the peer until the piece is written.
    private func take(_ piece: [UInt8]) {
        let guarded = NIOLoopBound(self, eventLoop: channel.eventLoop)
        let channel = channel
        channel.setOption(.autoRead, value: false).whenComplete { _ in }
        let start = offset
        offset += piece.count
        let isSyncDue = SnapshotJob.isSyncDue(from: start, to: offset)
        disk.submit { disk in
            var failure: DiskError?
            do throws(DiskError) {
                try disk.write(SnapshotName.incoming, offset: start, bytes: piece)
                if isSyncDue { try disk.sync(SnapshotName.incoming) }
            } catch {
                failure = error
            }
            channel.eventLoop.execute { [failure] in
                if let failure { guarded.value.fail("\(failure)") }
                channel.setOption(.autoRead, value: true).whenComplete { _ in }
            }
        }
    }

    private func complete() {
        guard let header else { return }
        let guarded = NIOLoopBound(self, eventLoop: channel.eventLoop)
        let loop = channel.eventLoop
        disk.submit { [clusterID, limits] disk in
            let result: Result<LoadedSnapshot, LogError>
            do throws(LogError) {
                let loaded = try LoadedSnapshot.load(
                    SnapshotName.incoming, from: &disk, clusterID: clusterID, limits: limits)
                do throws(DiskError) {
                    try disk.sync(SnapshotName.incoming)
                    try disk.rename(
                        SnapshotName.incoming, to: SnapshotName.file(loaded.base.index))
                    try disk.syncDirectory()
                } catch {
                    throw .disk(error)
                }
                result = .success(loaded)
            } catch {
                result = .failure(error)
            }
            loop.execute { guarded.value.loaded(result, term: header.term) }
        }
    }

    private func loaded(_ result: Result<LoadedSnapshot, LogError>, term: Term) {
        switch result {
        case .success(let snapshot):
            guard !isFinished else { return }
            isFinished = true
            finished(snapshot, term)
            answer(1)
        case .failure(let error): fail("\(error)")
        }
    }

    private func fail(_ reason: String) {
        guard !isFinished else { return }
        isFinished = true
        logger.warning("a snapshot from the leader could not be taken: \(reason)")
        answer(0)
    }

    private func answer(_ status: UInt8) {
        channel.writeAndFlush(PeerFraming.frame([status]), promise: nil)
    }

    func connectionClosed() { isFinished = true }

    /// Gives up for another snapshot.
    func abandon() {
        isFinished = true
        channel.close(promise: nil)
    }
}
