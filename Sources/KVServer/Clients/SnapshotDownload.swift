import Crypto
import DurableLog
import EtcdWire
import HTTP2
import NIOCore
import Replica

/// Answers one Maintenance.Snapshot: the present state is written aside in the background, then its
/// file is streamed, and the SHA-256 of it all behind.
final class SnapshotDownload {
    private static let pieceBytes = 64 << 10
    /// Unsent bytes above which the next piece waits.
    private static let maxUnsentBytes = 1 << 20

    private let replica: ReplicaLoop
    private let connection: GRPCServerConnection
    private let stream: StreamID
    private let header: MemberStatus
    private let finished: () -> Void
    private var hash = SHA256()
    private var file = ""
    private var size = 0

    init(
        replica: ReplicaLoop, connection: GRPCServerConnection, stream: StreamID,
        header: MemberStatus, finished: @escaping () -> Void
    ) {
        self.finished = finished
        self.replica = replica
        self.connection = connection
        self.stream = stream
        self.header = header
    }

    func start() {
        let job = replica.snapshotJob()
        file = "download-\(stream.rawValue)-\(ObjectIdentifier(self).hashValue).tmp"
        let guarded = NIOLoopBound(self, eventLoop: replica.loop)
        let loop = replica.loop
        replica.inBackground { [file] disk in
            let result = Result { () throws(DiskError) in try job.write(to: file, on: &disk) }
            loop.execute { guarded.value.written(result) }
        }
    }

    private func written(_ result: Result<Int, DiskError>) {
        switch result {
        case .success(let byteCount):
            size = byteCount
            sendPiece(offset: 0)
        case .failure(let error):
            remove()
            connection.finish(stream, GRPCStatus(.internal, "\(error)"))
            connection.flush()
        }
    }

    private func sendPiece(offset: Int) {
        guard connection.isOpen else { return remove() }
        guard offset < size else { return sendHash() }
        let guarded = NIOLoopBound(self, eventLoop: replica.loop)
        let loop = replica.loop
        guard connection.unsentBytes(stream) < Self.maxUnsentBytes else {
            // Looked at again a little later: the client reads at its own pace.
            loop.scheduleTask(in: .milliseconds(5)) { guarded.value.sendPiece(offset: offset) }
            return
        }
        let count = min(Self.pieceBytes, size - offset)
        replica.inBackground { [file] disk in
            let piece = Result { () throws(DiskError) in
                try disk.read(file, offset: offset, byteCount: count)
            }
            loop.execute { guarded.value.pieceRead(piece, offset: offset) }
        }
    }

    private func pieceRead(_ piece: Result<[UInt8], DiskError>, offset: Int) {
        switch piece {
        case .success(let bytes):
            hash.update(data: bytes)
            let end = offset + bytes.count
            guard send(bytes, remaining: size - end + SHA256.byteCount) else { return remove() }
            sendPiece(offset: end)
        case .failure(let error):
            remove()
            connection.finish(stream, GRPCStatus(.internal, "\(error)"))
            connection.flush()
        }
    }

    private func sendHash() {
        remove()
        _ = send(Array(hash.finalize()), remaining: 0)
        connection.finish(stream, .ok)
        connection.flush()
    }

    /// False when the client is gone.
    private func send(_ blob: [UInt8], remaining: Int) -> Bool {
        var message = header.header()
        WireWriter.appendUInt64(2, UInt64(remaining), to: &message)
        WireWriter.appendBytes(3, blob[...], to: &message)
        WireWriter.appendString(4, Version.etcdAPI, to: &message)
        let isThere = connection.sendMessage(stream, message)
        connection.flush()
        return isThere
    }

    private func remove() {
        finished()
        replica.inBackground { [file] disk in try? disk.remove(file) }
    }
}
