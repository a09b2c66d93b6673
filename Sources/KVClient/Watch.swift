import EtcdMessages
import EtcdWire
import FoundationEssentials
import HTTP2

/// What to watch.
public struct WatchOptions: Equatable, Sendable {
    /// Which keys.
    public var range: KeyRange
    /// The first revision whose changes are wanted; 0 means what happens from now on.
    public var startRevision: Int64 = 0
    /// Tell each key's value before the change, too.
    public var previousValues = false
    /// Tell about every ten minutes how far the watch is, even if nothing happens.
    public var progressNotifications = false

    /// A watch of these keys from now on.
    public init(_ range: KeyRange) {
        self.range = range
    }
}

/// What a watch tells.
public enum WatchNotice: Equatable, Sendable {
    /// The watch stands, at the start and again after each interruption.
    case established(endpoint: Endpoint, revision: Int64)
    /// Changes, in order; a revision is never split over two notices.
    case events([Etcd.Event], revision: Int64)
    /// Everything up to this revision has been told.
    case progress(revision: Int64)
    /// The connection or the server failed; the watch goes on elsewhere by itself, without a gap.
    case interrupted(KVClientError)
    /// The history that is wanted next has been compacted up to before this revision. Read the
    /// state, then call `restart` with the revision that was read, plus one.
    case compacted(revision: Int64)
}

/// Follows changes, across lost connections and other endpoints.
public actor Watch {
    private let client: KVClient
    private var options: WatchOptions
    private var resumption: WatchResumption
    private var stream: GRPCClientStream?
    private var endpointIndex = 0
    private var hasConnected = false
    private var backoff = Backoff()
    /// True from an interruption until the watch stands again; only the first failure is told.
    private var isInterrupted = false
    private var needsPause = false

    init(_ client: KVClient, _ options: WatchOptions) {
        self.client = client
        self.options = options
        resumption = WatchResumption(startRevision: options.startRevision)
    }

    /// The next notice. Throws when the server refuses the watch, or when the task is cancelled.
    public func next() async throws(KVClientError) -> WatchNotice {
        while true {
            if Task.isCancelled { throw .cancelledByCaller }
            do throws(KVClientError) {
                guard let stream else {
                    try await open()
                    continue
                }
                let response = try await receive(stream)
                if let notice = try take(response) { return notice }
            } catch {
                if Task.isCancelled { throw .cancelledByCaller }
                guard error.mayPass else { throw error }
                stream?.cancel()
                stream = nil
                endpointIndex = (endpointIndex + 1) % client.endpoints.count
                if !isInterrupted {
                    isInterrupted = true
                    return .interrupted(error)
                }
                needsPause = true
            }
        }
    }

    /// Goes on from another revision, after the state was read again.
    public func restart(from revision: Int64) {
        stream?.cancel()
        stream = nil
        resumption = WatchResumption(startRevision: revision)
    }

    /// Ends the watch; a pending `next` throws.
    public func cancel() {
        stream?.cancel()
        stream = nil
    }

    private func open() async throws(KVClientError) {
        if needsPause {
            needsPause = false
            try? await Task.sleep(for: backoff.next())
            if Task.isCancelled { throw .cancelledByCaller }
        }
        if !hasConnected {
            hasConnected = true
            endpointIndex = await client.pool.preferred
        }
        let connection = try await client.pool.connection(endpointIndex)
        let opened = connection.openStream(
            GRPCRequest(path: RPCMethod.watch.path, metadata: [("hasleader", "true")]))
        var create = Etcdserverpb_WatchCreateRequest()
        create.key = Data(options.range.start)
        create.rangeEnd = Data(options.range.end)
        create.startRevision = resumption.nextRevision
        create.prevKv = options.previousValues
        create.progressNotify = options.progressNotifications
        var request = Etcdserverpb_WatchRequest()
        request.requestUnion = .createRequest(create)
        do throws(GRPCCallError) {
            try await opened.send(KVClient.encode(request))
        } catch {
            throw await failure(error)
        }
        stream = opened
    }

    private func receive(
        _ stream: GRPCClientStream
    ) async throws(KVClientError) -> Etcdserverpb_WatchResponse {
        let message: [UInt8]?
        do throws(GRPCCallError) {
            message = try await stream.receive()
        } catch {
            throw await failure(error)
        }
        guard let message else {
            throw KVClientError(
                .unreachable, endpoint: endpoint.description, cause: "the server ended the watch")
        }
        return try KVClient.decode(message, endpoint: endpoint)
    }

    /// Nil if there is nothing to tell.
    private func take(_ response: Etcdserverpb_WatchResponse) throws(KVClientError) -> WatchNotice?
    {
        switch resumption.take(response) {
        case .established(let revision):
            isInterrupted = false
            backoff = Backoff()
            return .established(endpoint: endpoint, revision: revision)
        case .tell(let notice): return notice
        case .nothing: return nil
        case .ended(let notice):
            stream?.cancel()
            stream = nil
            return notice
        case .refused(let reason):
            stream?.cancel()
            stream = nil
            throw KVClientError(
                .refused(.canceled), endpoint: endpoint.description,
                cause: reason.isEmpty ? "the server ended the watch" : reason)
        }
    }

    private var endpoint: Endpoint { client.endpoints[endpointIndex] }

    private func failure(_ error: GRPCCallError) async -> KVClientError {
        if error.reach != .answered,
            let connection = try? await client.pool.connection(endpointIndex)
        {
            await client.pool.discard(connection, endpointIndex)
        }
        return FailedTry(error, effect: .reads, endpoint: endpoint.description).cause
    }
}

/// Where a watch stands in the history, and what each response means: the part without I/O.
struct WatchResumption: Equatable {
    /// What a response comes to.
    enum Step: Equatable {
        case established(revision: Int64)
        case tell(WatchNotice)
        case nothing
        case ended(WatchNotice)
        case refused(String)
    }

    /// The revision to ask for next; 0 as long as the watch wants what happens from now on and
    /// doesn't know yet when that is.
    private(set) var nextRevision: Int64

    init(startRevision: Int64) {
        nextRevision = startRevision
    }

    mutating func take(_ response: Etcdserverpb_WatchResponse) -> Step {
        if response.canceled {
            guard response.compactRevision > 0 else { return .refused(response.cancelReason) }
            return .ended(.compacted(revision: response.compactRevision))
        }
        if response.created {
            // "From now on" begins behind the revision that the answer names: from here on the
            // place is fixed, and an interruption can't lose what happens next.
            if nextRevision == 0 { nextRevision = response.header.revision + 1 }
            return .established(revision: response.header.revision)
        }
        guard let last = response.events.last else {
            // Progress of a whole stream names no watch; a lagging member may name the past.
            guard response.header.revision >= nextRevision else { return .nothing }
            nextRevision = response.header.revision + 1
            return .tell(.progress(revision: response.header.revision))
        }
        nextRevision = max(nextRevision, last.kv.modRevision + 1)
        return .tell(.events(response.events, revision: response.header.revision))
    }
}

extension KVClient {
    /// Follows changes; ask for them one by one with `next`.
    public func watch(_ options: WatchOptions) -> Watch {
        Watch(self, options)
    }
}
