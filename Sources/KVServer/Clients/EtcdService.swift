import EtcdWire
import HTTP2
import KVCore
import Logging
import NIOCore
import RaftCore
import Replica

/// The etcd v3 services over gRPC: turns streams into the replica's requests and its answers into
/// messages. One object serves all connections of the event loop.
final class EtcdService: GRPCService {
    /// Unsent bytes at which a watch stream is held back; its client catches up from history.
    private static let maxUnsentWatchBytes = 1 << 20
    /// Unsent bytes of all connections together above which a watch stream is held back already
    /// when it has more to send than `drainedBytes`: many slow clients hold no more than this, and
    /// that much for each stream.
    private static let maxUnsentBytesInAll = 64 << 20

    /// A call that is owed an answer.
    private struct Call {
        enum Stage {
            /// Its message hasn't come.
            case begun
            /// It is on its way to the replica or waits there.
            case submitted
            /// Its answer is a large range on its way.
            case answering
        }

        let session: Session
        let stream: StreamID
        /// How long the client waits; nil if it didn't say.
        var timeoutMicroseconds: Microseconds?
        /// The keep-alive stream whose renewal this is; nil for a unary call.
        var keepAlive: KeepAliveID?
        var stage = Stage.begun
    }

    /// What a stream's tag holds: the method in its low byte, above it the id of a unary call's
    /// request, of a watch stream or of a keep-alive stream.
    private struct Tag {
        var method: RPCMethod
        var above: UInt64

        init(_ method: RPCMethod, _ above: UInt64 = 0) {
            self.method = method
            self.above = above
        }

        init(_ number: UInt64) {
            guard let method = RPCMethod(rawValue: UInt8(truncatingIfNeeded: number)) else {
                preconditionFailure("a tag holds the method it was made from")
            }
            self.init(method, number >> 8)
        }

        /// Ids are counted, so that nothing is cut off.
        var number: UInt64 { above << 8 | UInt64(method.rawValue) }
    }

    private struct WatchStream {
        var connection: GRPCServerConnection
        var stream: StreamID
        var isPaused = false
    }

    private typealias KeepAliveID = UInt64

    private struct KeepAliveStream {
        /// How long the client waits for each answer; nil if it didn't say.
        var timeoutMicroseconds: Microseconds?
        /// Renewals that aren't answered.
        var owedCount = 0
        /// The client has said all, but may be owed answers.
        var hasEnded = false
    }

    private final class Session {
        let connection: GRPCServerConnection
        var watches: [StreamID: WatchStreamID] = [:]
        /// Bytes that waited when they were last looked at.
        var unsentBytes = 0
        /// Streams whose client wants to be told when there is no leader, with their tags.
        @exclusivity(unchecked) var leaderBound: [StreamID: Tag] = [:]
        // Unchecked for the same reason as `calls`.
        @exclusivity(unchecked) var isDirty = false

        /// The stream of a unary call is over. Most connections have none that asked for a leader.
        func forgetUnary(_ stream: StreamID) {
            if !leaderBound.isEmpty { leaderBound[stream] = nil }
        }

        /// The stream is over.
        func forget(_ stream: StreamID) {
            watches[stream] = nil
            leaderBound[stream] = nil
        }

        init(_ connection: GRPCServerConnection) { self.connection = connection }
    }

    private let replica: ReplicaLoop
    private let logger: Logger
    private let nodeName: String
    private let electionTimeout: TimeAmount
    private let maxRequestBytes: Int
    private var sessions: [ObjectIdentifier: Session] = [:]
    // Accesses end with their statements and so can't overlap; to check that at run time took 80
    // instructions for each.
    @exclusivity(unchecked) private var calls = NumberedRing<Call>(firstNumber: 1)
    @exclusivity(unchecked) private var keepAlives = NumberedRing<KeepAliveStream>(firstNumber: 1)
    @exclusivity(unchecked) private var submittedCount = 0
    private var watches: [WatchStreamID: WatchStream] = [:]
    @exclusivity(unchecked) private var dirty: [Session] = []
    /// The array that `dirty` changes places with while its sessions are flushed.
    @exclusivity(unchecked) private var spareDirty: [Session] = []
    private var leader: MemberID?
    private var isDownloading = false
    private let drainedBytes: Int
    private var unsentBytesInAll = 0
    private let ranges: RangeStreams

    init(
        replica: ReplicaLoop, configuration: ServerConfiguration, limits: HTTP2Limits,
        logger: Logger
    ) {
        self.replica = replica
        drainedBytes = limits.drainedBytes
        nodeName = configuration.name
        maxRequestBytes = configuration.maxRequestBytes
        electionTimeout = .microseconds(
            Int64(configuration.replica.raft.electionTimeoutMicroseconds))
        self.logger = logger
        ranges = RangeStreams(loop: replica.loop, drainedBytes: limits.drainedBytes) {
            replica.view()
        }
        ranges.ended = { [unowned self] in rangeEnded($0, $1) }
    }

    /// Whether every accepted call has been answered.
    var isIdle: Bool { submittedCount == 0 && ranges.isIdle }

    // MARK: - Connections

    func connectionOpened(_ connection: GRPCServerConnection) {
        let session = Session(connection)
        sessions[ObjectIdentifier(connection)] = session
        connection.attachment = session
    }

    private func session(of connection: GRPCServerConnection) -> Session {
        guard let session = connection.attachment as? Session else {
            preconditionFailure("a connection has its session from its opening to its end")
        }
        return session
    }

    func connectionFailed(_ connection: GRPCServerConnection, _ error: HTTP2ConnectionError) {
        logger.warning(
            "closing a client's connection: \(error.reason)",
            metadata: ["from": "\(connection.remoteAddress?.description ?? "?")"])
    }

    func connectionClosed(_ connection: GRPCServerConnection) {
        guard let session = sessions.removeValue(forKey: ObjectIdentifier(connection)) else {
            return
        }
        unsentBytesInAll -= session.unsentBytes
    }

    private func noteUnsentBytes(_ session: Session) {
        let unsent = session.connection.unsentBytes
        unsentBytesInAll += unsent - session.unsentBytes
        session.unsentBytes = unsent
    }

    /// Gives a request up whose client is gone.
    private func forget(_ request: RequestID) {
        switch calls.remove(request)?.stage {
        case .submitted:
            submittedCount -= 1
            replica.submit(.cancelled(request))
        case .answering: ranges.cancel(request)
        case .begun, nil: break
        }
    }

    // MARK: - Streams

    func requestStarted(
        _ stream: StreamID, _ head: RequestHead, on connection: GRPCServerConnection
    ) -> UInt64 {
        guard let method = head.method else {
            connection.finish(stream, .unknownMethod(path: head.path))
            return 0
        }
        if head.requiresLeader, leader == nil {
            fail(stream, RequestFailure(.noLeader), on: connection)
            return 0
        }
        guard let kind = ServedCall(method) else {
            connection.finish(stream, .unimplemented(method))
            return 0
        }
        let session = session(of: connection)
        let tag = Tag(method, begin(kind, stream, head, of: session))
        if head.requiresLeader { session.leaderBound[stream] = tag }
        return tag.number
    }

    /// What the tag of a stream that begins holds above its method.
    private func begin(
        _ kind: ServedCall, _ stream: StreamID, _ head: RequestHead, of session: Session
    ) -> UInt64 {
        let timeout = head.timeoutNanoseconds.map { Microseconds(max($0 / 1_000, 1)) }
        switch kind {
        case .replica:
            let id = replica.newRequestID()
            calls.insert(
                Call(session: session, stream: stream, timeoutMicroseconds: timeout), at: id)
            return id
        case .watch:
            let id = replica.newWatchStreamID()
            watches[id] = WatchStream(connection: session.connection, stream: stream)
            session.watches[stream] = id
            return id
        case .keepAlive:
            return keepAlives.append(KeepAliveStream(timeoutMicroseconds: timeout))
        case .status, .defragment, .snapshot: return 0
        }
    }

    func messageReceived(
        _ stream: StreamID, tag: UInt64, _ message: [UInt8], isLast: Bool,
        on connection: GRPCServerConnection
    ) {
        let tag = Tag(tag)
        guard let call = ServedCall(tag.method) else { return }
        switch call {
        case .replica(let kind):
            return submit(kind, message, request: tag.above)
        case .keepAlive: renew(message, on: tag.above, stream, of: session(of: connection))
        case .watch: replica.submit(.watch(tag.above, message))
        case .status:
            session(of: connection).forget(stream)
            connection.sendUnary(stream, replica.status.response())
        case .defragment:
            // Memory is given back as it becomes free; there is nothing to do, and that succeeds.
            connection.sendUnary(stream, replica.status.header())
        case .snapshot: sendSnapshot(on: stream, of: connection)
        }
        if isLast { requestEnded(stream, tag: tag.number, on: connection) }
    }

    private func submit(_ kind: ClientRequest.Kind, _ message: [UInt8], request: RequestID) {
        // A unary call has one message; what a client sends behind it isn't looked at.
        var isFirst = false
        var timeout: Microseconds?
        calls.update(request) { call in
            guard call.stage == .begun else { return }
            isFirst = true
            timeout = call.timeoutMicroseconds
            call.stage = .submitted
        }
        guard isFirst else { return }
        submittedCount += 1
        guard message.count <= maxRequestBytes else {
            let detail = """
                the request has \(message.count) bytes, --max-request-bytes allows \(maxRequestBytes)
                """
            _ = fail(request, RequestFailure(.requestTooLarge, detail: detail))
            return
        }
        replica.submit(
            ClientRequest(id: request, kind: kind, body: message, timeoutMicroseconds: timeout))
    }

    private func renew(
        _ message: [UInt8], on keepAlive: KeepAliveID, _ stream: StreamID, of session: Session
    ) {
        let id = replica.newRequestID()
        var timeout: Microseconds?
        keepAlives.update(keepAlive) {
            $0.owedCount += 1
            timeout = $0.timeoutMicroseconds
        }
        calls.insert(
            Call(session: session, stream: stream, keepAlive: keepAlive, stage: .submitted), at: id)
        submittedCount += 1
        replica.submit(
            ClientRequest(
                id: id, kind: .leaseKeepAlive, body: message, timeoutMicroseconds: timeout))
    }

    /// The client has said all it will. Unary calls are answered by their message; streams end
    /// when nothing more is owed on them.
    func requestEnded(_ stream: StreamID, tag: UInt64, on connection: GRPCServerConnection) {
        let tag = Tag(tag)
        guard let call = ServedCall(tag.method) else { return }
        switch call {
        case .watch:
            closeWatch(tag.above)
            session(of: connection).forget(stream)
            connection.finish(stream, .ok)
        case .keepAlive:
            keepAlives.update(tag.above) { $0.hasEnded = true }
            finishIfAnswered(tag.above, stream, of: session(of: connection))
        case .replica:
            // Without a message there is nothing to answer; a stream that was answered is gone.
            guard let call = calls[tag.above], call.stage == .begun else { return }
            forget(tag.above)
            call.session.forgetUnary(stream)
            connection.finish(stream, GRPCStatus(.internal, "unexpected EOF"))
        case .status, .defragment, .snapshot: break
        }
    }

    func streamCancelled(_ stream: StreamID, tag: UInt64, on connection: GRPCServerConnection) {
        let session = session(of: connection)
        giveUp(stream, Tag(tag), of: session)
        session.forget(stream)
    }

    /// Nobody waits any more for what a stream asked for.
    private func giveUp(_ stream: StreamID, _ tag: Tag, of session: Session) {
        switch ServedCall(tag.method) {
        case .replica: forget(tag.above)
        // Answers to its renewals find it gone.
        case .keepAlive: _ = keepAlives.remove(tag.above)
        case .watch: closeWatch(tag.above)
        case .status, .defragment, .snapshot, nil: break
        }
    }

    private func closeWatch(_ id: WatchStreamID) {
        if watches.removeValue(forKey: id) != nil { replica.submit(.watchClosed(id)) }
    }

    func streamDrained(_ stream: StreamID, tag: UInt64, on connection: GRPCServerConnection) {
        noteUnsentBytes(session(of: connection))
        let tag = Tag(tag)
        if tag.method == .range { return ranges.drained(tag.above) }
        guard tag.method == .watch, let watch = watches[tag.above], watch.isPaused else { return }
        watches[tag.above]?.isPaused = false
        replica.submit(.watchResumed(tag.above))
    }

    func readBatchComplete(on connection: GRPCServerConnection) {}

    // MARK: - Answers

    /// Takes the replica's answer to a call; false if none of these waits for it.
    func answer(_ request: RequestID, _ message: [UInt8]) -> Bool {
        guard let call = calls.remove(request) else { return false }
        submittedCount -= 1
        let session = call.session
        if let keepAlive = call.keepAlive {
            guard noteAnswered(keepAlive) else { return true }
            session.connection.sendMessage(call.stream, message)
            finishIfAnswered(keepAlive, call.stream, of: session)
        } else {
            session.forgetUnary(call.stream)
            session.connection.sendUnary(call.stream, message)
        }
        markDirty(session)
        return true
    }

    /// Takes the replica's refusal of a call; false if none of these waits for it.
    func fail(_ request: RequestID, _ failure: RequestFailure) -> Bool {
        guard let call = calls.remove(request) else { return false }
        submittedCount -= 1
        let session = call.session
        if let keepAlive = call.keepAlive {
            guard noteAnswered(keepAlive) else { return true }
            giveUp(call.stream, Tag(.leaseKeepAlive, keepAlive), of: session)
            session.forget(call.stream)
        } else {
            session.forgetUnary(call.stream)
        }
        fail(call.stream, failure, on: session.connection)
        markDirty(session)
        return true
    }

    /// One renewal less is owed; false if the stream is gone.
    private func noteAnswered(_ keepAlive: KeepAliveID) -> Bool {
        var isHere = false
        keepAlives.update(keepAlive) {
            $0.owedCount -= 1
            isHere = true
        }
        return isHere
    }

    /// Takes the replica's answer to a range that is too large to be read at once.
    func read(_ request: RequestID, _ range: LargeRange, on view: StoreView) {
        guard let call = calls[request] else { return }
        submittedCount -= 1
        calls.update(request) { $0.stage = .answering }
        ranges.start(
            request, range, on: view, to: call.stream, of: call.session.connection,
            timeoutMicroseconds: call.timeoutMicroseconds)
    }

    /// A large range is given out as a whole, or failed.
    private func rangeEnded(_ request: RequestID, _ failure: RequestFailure?) {
        guard let call = calls.remove(request) else { return }
        call.session.forgetUnary(call.stream)
        let connection = call.session.connection
        if let failure {
            fail(call.stream, failure, on: connection)
        } else {
            connection.finish(call.stream, .ok)
        }
        connection.flush()
    }

    /// Ends a keep-alive stream whose client has said all and is owed nothing.
    private func finishIfAnswered(
        _ id: KeepAliveID, _ stream: StreamID, of session: Session
    ) {
        guard let keepAlive = keepAlives[id], keepAlive.hasEnded, keepAlive.owedCount == 0 else {
            return
        }
        _ = keepAlives.remove(id)
        session.forget(stream)
        session.connection.finish(stream, .ok)
    }

    /// Takes a message for a watch stream; a client that doesn't read makes the stream pause.
    func watchResponse(_ id: WatchStreamID, _ message: [UInt8]) {
        guard let watch = watches[id] else { return }
        watch.connection.sendMessage(watch.stream, message)
        let session = session(of: watch.connection)
        noteUnsentBytes(session)
        markDirty(session)
        // A stream that has more to send than `drainedBytes` is sure to be told as drained.
        let isCrowded = unsentBytesInAll > Self.maxUnsentBytesInAll
        guard !watch.isPaused,
            watch.connection.unsentBytes(watch.stream)
                > (isCrowded ? drainedBytes : Self.maxUnsentWatchBytes)
        else { return }
        watches[id]?.isPaused = true
        replica.submit(.watchPaused(id))
    }

    func watchFailed(_ id: WatchStreamID, _ error: EtcdError) {
        guard let watch = watches[id] else { return }
        closeWatch(id)
        fail(watch.stream, RequestFailure(error), on: watch.connection)
        let session = session(of: watch.connection)
        session.forget(watch.stream)
        markDirty(session)
    }

    /// Clients match the status text literally; node, cause and remedy travel beside it.
    private func fail(
        _ stream: StreamID, _ failure: RequestFailure, on connection: GRPCServerConnection
    ) {
        var trailers: [(name: String, value: String)] = []
        if !failure.detail.isEmpty {
            trailers.append(("martlet-detail", "node \(nodeName): \(failure.detail)"))
            logger.info(
                "a call failed: \(failure.error.message)", metadata: ["detail": "\(failure.detail)"]
            )
        }
        connection.finish(stream, GRPCStatus(failure.error), trailers: trailers)
    }

    private func markDirty(_ session: Session) {
        guard !session.isDirty else { return }
        session.isDirty = true
        dirty.append(session)
    }

    /// One write per connection for everything a turn of the replica answered.
    func turnEnded() {
        guard !dirty.isEmpty else { return }
        swap(&dirty, &spareDirty)
        for session in spareDirty {
            session.isDirty = false
            session.connection.flush()
            if session.connection.isOpen { noteUnsentBytes(session) }
        }
        spareDirty.removeAll(keepingCapacity: true)
    }

    // MARK: - Leadership

    /// Streams that asked for a leader end when there has been none for an election timeout.
    func leaderChanged(_ newLeader: MemberID?) {
        leader = newLeader
        guard newLeader == nil else { return }
        let guarded = NIOLoopBound(self, eventLoop: replica.loop)
        replica.loop.scheduleTask(in: electionTimeout) { guarded.value.endLeaderBoundStreams() }
    }

    private func endLeaderBoundStreams() {
        guard leader == nil else { return }
        for session in sessions.values {
            let streams = session.leaderBound.sorted { $0.key.rawValue < $1.key.rawValue }
            for (stream, tag) in streams {
                giveUp(stream, tag, of: session)
                session.forget(stream)
                fail(stream, RequestFailure(.noLeader), on: session.connection)
            }
            session.connection.flush()
        }
    }

    // MARK: - The end

    /// Takes no more streams; those that never end by themselves are ended.
    func stopAccepting() {
        for watch in watches.values {
            fail(watch.stream, RequestFailure(.stopped), on: watch.connection)
        }
        for id in watches.keys { replica.submit(.watchClosed(id)) }
        watches.removeAll()
        for session in sessions.values {
            session.watches.removeAll()
            session.connection.shutDownGracefully()
        }
    }

    func closeAll() {
        for session in sessions.values {
            session.connection.flush()
            session.connection.close()
        }
        ranges.close()
    }

    // MARK: - Snapshots

    /// One at a time: each writes the whole state to disk once.
    private func sendSnapshot(on stream: StreamID, of connection: GRPCServerConnection) {
        guard !isDownloading else {
            let failure = RequestFailure(
                .tooManyRequests, detail: "another snapshot is being downloaded; try again later")
            fail(stream, failure, on: connection)
            return
        }
        isDownloading = true
        SnapshotDownload(
            replica: replica, connection: connection, stream: stream, header: replica.status
        ) { [weak self] in self?.isDownloading = false }.start()
    }
}
