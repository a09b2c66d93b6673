import EtcdWire
import HTTP2
import KVCore
import NIOCore
import RaftCore
import Replica

/// Large ranges on their way to clients: a thread reads them step by step, no faster than each
/// client takes the bytes. Belongs to the event loop.
///
/// The thread owns every view, so that the loop never has to take one apart. What slow clients can
/// hold is bounded: `maxUnsentBytes` and then `crowdedChunkBytes` a range, and no view.
final class RangeStreams {
    /// Ranges under way; more are refused.
    static let maxOpen = 512
    /// Keys visited in one step, which is a millisecond or two of the thread's time.
    static let visitsPerStep = 16_384
    /// Bytes of one step.
    static let chunkBytes = 256 << 10
    /// Unsent bytes of all ranges together above which the steps become small.
    static let maxUnsentBytes = 32 << 20
    /// Bytes of one step then.
    static let crowdedChunkBytes = 16 << 10
    /// Age at which a view is replaced by a newer one.
    static let viewAge = TimeAmount.seconds(1)
    /// How long a client may take nothing.
    static let stallLimit = TimeAmount.seconds(60)
    /// How long a range in an order of its own, which refers to all its key-values, may take.
    static let sortedLimit = TimeAmount.seconds(60)
    /// The longest message, as in etcd.
    static let maxMessageBytes = Int(Int32.max)
    private static let sweepInterval = TimeAmount.seconds(1)

    /// A stream and what it holds.
    private struct Outlet {
        let connection: GRPCServerConnection
        let stream: StreamID
        /// When the client last took something.
        var progressAt: NIODeadline
        /// Bytes that waited when they were last looked at.
        var unsentBytes = 0

        func isStalled(_ now: NIODeadline) -> Bool { now - progressAt > RangeStreams.stallLimit }
    }

    private struct Open {
        var outlet: Outlet
        let isSorted: Bool
        let startedAt: NIODeadline
        let deadline: NIODeadline
        /// Whether the thread is at a step of it.
        var isReading = false
    }

    /// Told when a range was given out as a whole (nil), or why it wasn't.
    var ended: ((RequestID, RequestFailure?) -> Void)?

    private let loop: any EventLoop
    private let drainedBytes: Int
    private let takeView: () -> StoreView
    private let thread = WorkThread<RangeReaders>(
        niceness: Node.bulkNiceness, makeState: { RangeReaders() })
    private var open: [RequestID: Open] = [:]
    /// Given out as a whole, but not taken by their clients yet.
    private var leaving: [Outlet] = []
    /// Connections that may still hold the ends of ranges which count no more.
    private var sending: [ObjectIdentifier: GRPCServerConnection] = [:]
    private var unsentBytes = 0
    /// When the thread got its newest view; nil if it has none.
    private var viewTakenAt: NIODeadline?
    private var hasReadSinceSweep = false
    private var isSweepScheduled = false

    /// `takeView` gives the present state of the map. Time is the loop's.
    init(loop: any EventLoop, drainedBytes: Int, takeView: @escaping () -> StoreView) {
        self.loop = loop
        self.drainedBytes = drainedBytes
        self.takeView = takeView
    }

    /// Whether every range has left as a whole.
    var isIdle: Bool {
        forgetLeft()
        return open.isEmpty && leaving.isEmpty && sending.isEmpty
    }

    func close() { thread.close() }

    // MARK: - One range

    /// Takes a range up; its call is answered bit by bit, and `ended` in the end.
    func start(
        _ request: RequestID, _ range: LargeRange, on view: StoreView, to stream: StreamID,
        of connection: GRPCServerConnection, timeoutMicroseconds: Microseconds?
    ) {
        if open.count + leaving.count >= Self.maxOpen { forgetLeft() }
        guard open.count + leaving.count < Self.maxOpen else {
            let detail = """
                \(Self.maxOpen) large ranges are being read; try again later, or read fewer keys \
                at once with a limit
                """
            ended?(request, RequestFailure(.tooManyRequests, detail: detail))
            return
        }
        let now = loop.now
        let patience = timeoutMicroseconds.map { TimeAmount.microseconds(Int64($0)) }
        open[request] = Open(
            outlet: Outlet(connection: connection, stream: stream, progressAt: now),
            isSorted: range.isSorted, startedAt: now,
            deadline: patience.map { now + $0 } ?? .distantFuture)
        viewTakenAt = now
        thread.submit { $0.start(request, range, on: view) }
        readOn(request)
        scheduleSweep()
    }

    /// Gives a range up.
    func cancel(_ request: RequestID) {
        guard remove(request) != nil else { return }
        thread.submit { $0.end(request) }
    }

    /// The client has taken nearly all it was given.
    func drained(_ request: RequestID) {
        guard let range = open[request], !range.isReading else { return }
        noteUnsentBytes(request)
        readOn(request)
    }

    private func remove(_ request: RequestID) -> Open? {
        guard let range = open.removeValue(forKey: request) else { return nil }
        unsentBytes -= range.outlet.unsentBytes
        if open.isEmpty { viewTakenAt = nil }
        return range
    }

    private func noteUnsentBytes(_ request: RequestID) {
        if let outlet = open[request]?.outlet { open[request]?.outlet = looked(at: outlet) }
    }

    /// The stream as it is now; whether it made progress shows in what it holds.
    private func looked(at before: Outlet, _ now: NIODeadline? = nil) -> Outlet {
        var outlet = before
        outlet.unsentBytes = outlet.connection.unsentBytes(outlet.stream)
        unsentBytes += outlet.unsentBytes - before.unsentBytes
        if let now, outlet.unsentBytes < before.unsentBytes { outlet.progressAt = now }
        return outlet
    }

    /// Has the thread go a step further.
    private func readOn(_ request: RequestID) {
        let now = loop.now
        var view: StoreView?
        if viewTakenAt.map({ now - $0 > Self.viewAge }) ?? true {
            view = takeView()
            viewTakenAt = now
        }
        open[request]?.isReading = true
        hasReadSinceSweep = true
        let bytes = unsentBytes > Self.maxUnsentBytes ? Self.crowdedChunkBytes : Self.chunkBytes
        let guarded = NIOLoopBound(self, eventLoop: loop)
        thread.submit { [view, loop] readers in
            if let view { readers.use(view) }
            let step = Result { () throws(EtcdError) in
                try readers.step(request, visits: Self.visitsPerStep, bytes: bytes)
            }
            loop.execute { guarded.value.stepped(request, step) }
        }
    }

    private func stepped(_ request: RequestID, _ result: Result<LargeRange.Step?, EtcdError>) {
        guard var range = open[request] else { return }
        range.isReading = false
        // From now on it is the client's turn.
        range.outlet.progressAt = loop.now
        open[request] = range
        switch result {
        case .failure(let error): end(request, RequestFailure(error, detail: Self.detail(error)))
        case .success(nil): preconditionFailure("a range that nobody ended is gone")
        case .success(.measuring): readOn(request)
        case .success(.measured(let byteCount)): begin(request, range, byteCount)
        case .success(.bytes(let bytes, let isLast)):
            range.outlet.connection.continueMessage(range.outlet.stream, bytes)
            if isLast { return leave(request, range.outlet) }
            range.outlet.connection.flush()
            noteUnsentBytes(request)
            // Above it the stream is told as drained later, if it isn't already.
            if let now = open[request], !now.isReading, now.outlet.unsentBytes <= drainedBytes {
                readOn(request)
            }
        }
    }

    /// All bytes are given out; those that wait still count.
    private func leave(_ request: RequestID, _ outlet: Outlet) {
        end(request, nil)
        var outlet = outlet
        outlet.unsentBytes = 0
        leaving.append(looked(at: outlet))
        if leaving[leaving.count - 1].unsentBytes == 0 { forgetLeft() }
    }

    private func begin(_ request: RequestID, _ range: Open, _ byteCount: Int) {
        guard byteCount <= Self.maxMessageBytes else {
            let error = EtcdError(
                code: .resourceExhausted,
                message: """
                    grpc: trying to send message larger than max (\(byteCount) vs. \
                    \(Self.maxMessageBytes))
                    """)
            cancelAtThread(
                request, RequestFailure(error, detail: "read fewer keys at once with a limit"))
            return
        }
        range.outlet.connection.beginMessage(range.outlet.stream, byteCount: byteCount)
        readOn(request)
    }

    private func end(_ request: RequestID, _ failure: RequestFailure?) {
        _ = remove(request)
        ended?(request, failure)
    }

    private func cancelAtThread(_ request: RequestID, _ failure: RequestFailure) {
        thread.submit { $0.end(request) }
        end(request, failure)
    }

    private static func detail(_ error: EtcdError) -> String {
        switch error {
        case .compacted:
            """
            a compaction overtook the range while its client was reading it; read it again, or in \
            parts with a limit
            """
        case .tooManyRequests:
            """
            sorted ranges refer to \(RangeReaders.maxSortedKeys) keys already; try again later, or \
            read in the order of keys
            """
        default: ""
        }
    }

    // MARK: - All of them

    /// A range counts until the last of it is at the socket. What the socket holds is its
    /// connection's, and a busy connection always holds something.
    private func forgetLeft() {
        leaving.removeAll { outlet in
            guard outlet.connection.unsentBytes(outlet.stream) == 0 else { return false }
            unsentBytes -= outlet.unsentBytes
            sending[ObjectIdentifier(outlet.connection)] = outlet.connection
            return true
        }
        sending = sending.filter { !$0.value.hasSentAll }
    }

    private func scheduleSweep() {
        guard !isSweepScheduled else { return }
        isSweepScheduled = true
        let guarded = NIOLoopBound(self, eventLoop: loop)
        loop.scheduleTask(in: Self.sweepInterval) { guarded.value.sweep() }
    }

    /// Ends what takes too long, and lets go of the newest view while all clients are slow.
    private func sweep() {
        isSweepScheduled = false
        let now = loop.now
        forgetLeft()
        for index in leaving.indices {
            leaving[index] = looked(at: leaving[index], now)
            if leaving[index].isStalled(now) {
                leaving[index].connection.reset(leaving[index].stream)
            }
        }
        guard !open.isEmpty || !leaving.isEmpty || !sending.isEmpty else { return }
        let isIdle = !hasReadSinceSweep
        hasReadSinceSweep = false
        if isIdle { viewTakenAt = nil }
        thread.submit { $0.sweep(isIdle: isIdle) }
        for (request, range) in open {
            if !range.isReading { open[request]?.outlet = looked(at: range.outlet, now) }
            if let range = open[request], let failure = failure(of: range, now) {
                cancelAtThread(request, failure)
            }
        }
        scheduleSweep()
    }

    private func failure(of range: Open, _ now: NIODeadline) -> RequestFailure? {
        if now >= range.deadline { return RequestFailure(.deadlineExceeded) }
        // While the thread reads, it is the client that waits.
        if !range.isReading, range.outlet.isStalled(now) {
            return RequestFailure(
                .tooManyRequests,
                detail: "the client has taken nothing of a large range for a minute")
        }
        if range.isSorted, now - range.startedAt > Self.sortedLimit {
            return RequestFailure(
                .tooManyRequests,
                detail: """
                    the client took more than a minute for a large sorted range; read in the order \
                    of keys
                    """)
        }
        return nil
    }
}
