import EtcdWire

/// One watch. Reachable through its hub only, so it is touched by the hub's owner alone.
final class Watcher {
    /// Forgets its watchers before it goes.
    unowned let stream: WatchStream
    let id: Int64
    let range: KeyRange
    let filters: WatchFilters
    let prevKV: Bool
    let fragment: Bool
    let progressNotify: Bool

    /// The first revision not delivered yet. For a synced watcher only a lower bound: it is in the
    /// index and gets whatever is published.
    var nextRevision: Int64
    /// Whether the watcher is in the index.
    var isSynced = false
    /// Whether the revision being published is the first that the watcher misses.
    var isFalling = false
    /// Whether the watcher stands in the queue of those that catch up.
    var isQueued = false
    var isCanceled = false
    /// Whether anything was sent since the last round of progress notifications.
    var wasServed = false
    /// The place in its group of the index.
    var slot = 0
    /// The matching events of the revision being published.
    var batch: [[UInt8]] = []

    init(stream: WatchStream, id: Int64, request: WatchCreateRequest, range: KeyRange, next: Int64)
    {
        self.stream = stream
        self.id = id
        self.range = range
        filters = request.filters
        prevKV = request.prevKV
        fragment = request.fragment
        progressNotify = request.progressNotify
        nextRevision = next
    }

    func wants(_ version: VersionStorage) -> Bool {
        version.modRevision >= nextRevision
            && !filters.contains(version.isTombstone ? .noDelete : .noPut)
    }
}

/// A client's stream with the watches on it. Each watcher knows its own, so that nothing is looked
/// up for each event.
final class WatchStream {
    let id: UInt64
    var watchers: [Int64: Watcher] = [:]
    var nextID: Int64 = 0
    var isPaused = false
    var unsyncedCount = 0
    /// Bytes published to the stream in the hub's turn of that number.
    private var published = (turn: 0, bytes: 0)

    init(id: UInt64) { self.id = id }

    func publishedBytes(inTurn turn: Int) -> Int { published.turn == turn ? published.bytes : 0 }

    func notePublished(_ byteCount: Int, inTurn turn: Int) {
        published = (turn, publishedBytes(inTurn: turn) + byteCount)
    }
}

/// All watches of one member.
///
/// A watcher is *synced* when everything published so far has been delivered to it; it then waits
/// in an index for the next change. Any other catches up from the store's history, in batches, and
/// joins the index when it reaches the published revision. Nothing is kept per watcher meanwhile,
/// so slow streams cost no memory: a paused stream's watchers just fall back to catching up.
///
/// The owner calls `publish` after applying each entry, or `advance` while nobody watches, and
/// `catchUp` while it answers `more`.
///
/// `@unchecked Sendable`: the hub has one owner at a time, and its watchers are reachable through
/// it only, so they move between threads together with it.
public struct WatchHub: ~Copyable, @unchecked Sendable {
    /// Changes of the history that one `catchUp` looks at, at most.
    public static let scanLimit = 16_384
    /// Bytes of events one watcher gets in a row while it catches up, unless one revision has more.
    public static let turnBytes = 128 << 10

    /// Bytes of published events that one stream gets between two calls of `deliveriesTaken`, over
    /// all its watches: a stream whose client doesn't read can't be paused before it has them.
    public static let streamBytes = 1 << 20
    /// The same for all streams together. What is beyond it catches up, a little at a time.
    public static let fanOutBytes = 64 << 20

    /// Whether watchers wait for `catchUp`.
    public var needsCatchUp: Bool { queueStart < queue.count }

    /// The newest revision published.
    public private(set) var revision: Int64
    /// Watches of all streams.
    public private(set) var watcherCount = 0
    /// Bytes of events above which a watch that allows it gets a revision in fragments.
    public let fragmentBytes: Int

    private var streams: [UInt64: WatchStream] = [:]
    private var index = WatchIndex()
    private var queue: [Watcher] = []
    private var queueStart = 0
    /// Bytes published to all streams since the owner took deliveries.
    private var publishedBytes = 0
    /// Counts how often it did.
    private var turn = 1

    /// A hub for a store at this revision.
    public init(revision: Int64, fragmentBytes: Int = 2 << 20) {
        self.revision = revision
        self.fragmentBytes = fragmentBytes
    }

    // MARK: Requests

    /// What became of a create request.
    public enum CreateResult: Equatable, Sendable {
        /// The watch has this id.
        case created(watchID: Int64)
        /// The watch was created and, since it begins below the compaction, cancelled at once.
        case compacted(watchID: Int64)
        /// The request was refused.
        case refused
    }

    /// Creates a watch on a stream, which begins to exist with its first watch. The answer is
    /// appended to `deliveries`.
    public mutating func create(
        stream: UInt64, _ request: WatchCreateRequest, store: borrowing Store,
        into deliveries: inout [WatchDelivery]
    ) -> CreateResult {
        func refuse(_ reason: String) -> CreateResult {
            deliveries.append(
                WatchDelivery(
                    stream: stream, watchID: WatchDelivery.noWatchID, revision: revision,
                    kind: .refused(reason: reason)))
            return .refused
        }
        if request.startRevision < 0 { return refuse(EtcdError.compacted.message) }
        // The empty key is the smallest there can be. The copies let go of the request's buffer.
        let key: ArraySlice<UInt8> = request.key.isEmpty ? [0] : [UInt8](request.key)[...]
        let range = KeyRange(key: key, rangeEnd: [UInt8](request.rangeEnd)[...])
        if range.isEmpty { return refuse("mvcc: watcher range is empty") }
        let state = streams[stream] ?? WatchStream(id: stream)
        streams[stream] = state
        guard let id = takeID(on: state, wish: request.watchID) else {
            return refuse("mvcc: duplicate watch ID provided on the WatchStream")
        }
        let watcher = Watcher(
            stream: state, id: id, request: request, range: range,
            next: request.startRevision == 0 ? revision + 1 : request.startRevision)
        deliver(.created, to: watcher, into: &deliveries)
        state.watchers[id] = watcher
        state.unsyncedCount += 1
        watcherCount += 1
        if watcher.nextRevision < store.compactedRevision {
            cancel(watcher, compactedAt: store.compactedRevision, into: &deliveries)
            return .compacted(watchID: id)
        }
        if watcher.nextRevision > revision { synchronize(watcher) } else { enqueue(watcher) }
        return .created(watchID: id)
    }

    /// Answers a create request whose permission check failed, with this reason.
    public func refuse(stream: UInt64, reason: String, into deliveries: inout [WatchDelivery]) {
        deliveries.append(
            WatchDelivery(
                stream: stream, watchID: WatchDelivery.noWatchID, revision: revision,
                kind: .refused(reason: reason)))
    }

    /// The wished id if it is free, or the next free one for 0.
    private func takeID(on stream: WatchStream, wish: Int64) -> Int64? {
        guard wish == 0 else { return stream.watchers[wish] == nil ? wish : nil }
        while stream.watchers[stream.nextID] != nil { stream.nextID += 1 }
        defer { stream.nextID += 1 }
        return stream.nextID
    }

    /// Ends a watch at its client's wish. An id nobody has is passed over silently, as in etcd.
    public mutating func cancel(
        stream: UInt64, watchID: Int64, into deliveries: inout [WatchDelivery]
    ) {
        guard let watcher = streams[stream]?.watchers[watchID] else { return }
        deliver(.canceled(compactRevision: 0, reason: ""), to: watcher, into: &deliveries)
        remove(watcher)
    }

    /// Forgets a stream and all its watches.
    public mutating func closeStream(_ stream: UInt64) {
        for watcher in watchers(of: stream) { remove(watcher) }
        streams[stream] = nil
    }

    /// Answers a progress request if every watcher of the stream is synced; drops it otherwise, as
    /// the client may take the answer for a bookmark.
    public func progress(stream: UInt64, into deliveries: inout [WatchDelivery]) {
        guard let state = streams[stream], !state.watchers.isEmpty, state.unsyncedCount == 0
        else { return }
        deliveries.append(
            WatchDelivery(
                stream: stream, watchID: WatchDelivery.noWatchID, revision: revision,
                kind: .progress))
    }

    /// Sends progress to each synced watch that asked for it and got nothing since the last call.
    /// The owner calls it about every ten minutes.
    public mutating func notifyProgress(into deliveries: inout [WatchDelivery]) {
        for stream in streams.keys.sorted() {
            let isPaused = streams[stream]?.isPaused ?? false
            for watcher in watchers(of: stream) {
                if watcher.progressNotify, watcher.isSynced, !isPaused, !watcher.wasServed {
                    deliver(.progress, to: watcher, into: &deliveries)
                }
                watcher.wasServed = false
            }
        }
    }

    /// Stops deliveries to a stream whose client doesn't keep up: its watchers fall behind and
    /// catch up after `resume`.
    public mutating func pause(stream: UInt64) {
        streams[stream]?.isPaused = true
    }

    /// Goes on delivering to a stream.
    public mutating func resume(stream: UInt64) {
        guard streams[stream]?.isPaused == true else { return }
        streams[stream]?.isPaused = false
        for watcher in watchers(of: stream) where !watcher.isSynced { enqueue(watcher) }
    }

    // MARK: Changes

    /// Takes note of a store's newest revision while nobody watches. `publish` would come to the same,
    /// but to lend it a store that is being changed costs a copy of it.
    public mutating func advance(to newRevision: Int64) {
        precondition(watcherCount == 0, "watchers would miss what changed")
        revision = newRevision
    }

    /// Delivers the changes that were made since the last call to the synced watchers. To be called
    /// before any of them is compacted.
    public mutating func publish(
        changesOf store: borrowing Store, into deliveries: inout [WatchDelivery]
    ) {
        func changeRevision(_ number: Int) -> Int64 { store.history[number].version.modRevision }
        var start = store.history.end
        while start > store.history.start, changeRevision(start - 1) > revision { start -= 1 }
        while start < store.history.end {
            revision += 1
            precondition(
                changeRevision(start) == revision, "revisions are published in order, each once")
            var end = start
            while end < store.history.end, changeRevision(end) == revision { end += 1 }
            publishRevision(start..<end, of: store, into: &deliveries)
            start = end
        }
        precondition(revision == store.revision, "changes were compacted before their publication")
    }

    private mutating func publishRevision(
        _ numbers: Range<Int>, of store: borrowing Store, into deliveries: inout [WatchDelivery]
    ) {
        var served: [Watcher] = []
        var falling: [Watcher] = []
        for number in numbers {
            let version = store.history[number].version
            var encoder = EventEncoder(version, compactedRevision: store.compactedRevision)
            version.withKey { key in
                index.visit(key) { watcher in
                    guard watcher.wants(version) else { return }
                    if watcher.stream.isPaused {
                        if !watcher.isFalling { falling.append(watcher) }
                        watcher.isFalling = true
                        return
                    }
                    if watcher.batch.isEmpty { served.append(watcher) }
                    watcher.batch.append(encoder.event(prevKV: watcher.prevKV))
                }
            }
        }
        for watcher in falling {
            watcher.isFalling = false
            watcher.nextRevision = revision
            desynchronize(watcher)
        }
        for watcher in served {
            let batch = watcher.batch
            watcher.batch = []
            let stream = watcher.stream
            guard stream.publishedBytes(inTurn: turn) < WatchHub.streamBytes,
                publishedBytes < WatchHub.fanOutBytes
            else {
                // The share is used up: the rest catches up, and the owner may pause streams first.
                watcher.nextRevision = revision
                desynchronize(watcher)
                enqueue(watcher)
                continue
            }
            let byteCount = batch.reduce(0) { $0 + $1.count }
            stream.notePublished(byteCount, inTurn: turn)
            publishedBytes += byteCount
            deliver(events: batch, to: watcher, through: revision, into: &deliveries)
        }
    }

    /// The owner has taken all deliveries, to hand them to those who pause streams.
    public mutating func deliveriesTaken() {
        guard publishedBytes > 0 else { return }
        publishedBytes = 0
        turn += 1
    }

    /// Tells the hub that the store was replaced, by an installed snapshot for instance. Watchers
    /// go on where they were: what they missed they get from the new store's history.
    public mutating func storeReplaced(revision newRevision: Int64) {
        precondition(newRevision >= revision, "a member never goes back")
        for stream in streams.keys.sorted() {
            for watcher in watchers(of: stream) where watcher.isSynced {
                if watcher.nextRevision > newRevision { continue }
                watcher.nextRevision = max(watcher.nextRevision, revision + 1)
                desynchronize(watcher)
                enqueue(watcher)
            }
        }
        revision = newRevision
    }

    // MARK: States of a watcher

    private func watchers(of stream: UInt64) -> [Watcher] {
        // Sorted: the order reaches the deliveries.
        (streams[stream]?.watchers.values.map { $0 } ?? []).sorted { $0.id < $1.id }
    }

    private mutating func synchronize(_ watcher: Watcher) {
        watcher.isSynced = true
        watcher.stream.unsyncedCount -= 1
        index.insert(watcher)
    }

    private mutating func desynchronize(_ watcher: Watcher) {
        watcher.isSynced = false
        watcher.stream.unsyncedCount += 1
        index.remove(watcher)
    }

    private mutating func enqueue(_ watcher: Watcher) {
        guard !watcher.isQueued else { return }
        watcher.isQueued = true
        queue.append(watcher)
    }

    private mutating func dequeue() -> Watcher? {
        guard queueStart < queue.count else { return nil }
        let watcher = queue[queueStart]
        watcher.isQueued = false
        queueStart += 1
        if queueStart > 64 && queueStart * 2 > queue.count {
            queue.removeFirst(queueStart)
            queueStart = 0
        }
        return watcher
    }

    private mutating func remove(_ watcher: Watcher) {
        watcher.isCanceled = true
        if watcher.isSynced {
            index.remove(watcher)
        } else {
            watcher.stream.unsyncedCount -= 1
        }
        watcher.stream.watchers[watcher.id] = nil
        watcherCount -= 1
    }

    private mutating func cancel(
        _ watcher: Watcher, compactedAt compactRevision: Int64,
        into deliveries: inout [WatchDelivery]
    ) {
        deliver(
            .canceled(compactRevision: compactRevision, reason: EtcdError.compacted.message),
            to: watcher, into: &deliveries)
        remove(watcher)
    }

    // MARK: Deliveries

    private func deliver(
        _ kind: WatchDelivery.Kind, to watcher: Watcher, into deliveries: inout [WatchDelivery]
    ) {
        deliveries.append(
            WatchDelivery(
                stream: watcher.stream.id, watchID: watcher.id, revision: revision, kind: kind))
    }

    /// Delivers the events of whole revisions, in pieces if the watch allows it.
    private func deliver(
        events: [[UInt8]], to watcher: Watcher, through revision: Int64,
        into deliveries: inout [WatchDelivery]
    ) {
        watcher.wasServed = true
        func add(_ events: [[UInt8]], isLast: Bool) {
            deliveries.append(
                WatchDelivery(
                    stream: watcher.stream.id, watchID: watcher.id, revision: revision,
                    kind: .events(events, fragment: !isLast)))
        }
        guard watcher.fragment else { return add(events, isLast: true) }
        var rest = events[...]
        while !rest.isEmpty {
            var bytes = 0
            let fitting = rest.prefix { event in
                bytes += event.count
                return bytes <= fragmentBytes
            }
            let count = max(1, fitting.count)
            add([[UInt8]](rest.prefix(count)), isLast: count == rest.count)
            rest = rest.dropFirst(count)
        }
    }

    // MARK: Catching up

    /// Whether anything is left to do.
    public enum CatchUpResult: Equatable, Sendable {
        /// Every watcher of a stream that isn't paused is synced.
        case synced
        /// Call again.
        case more
    }

    /// Lets watchers that are behind come closer, with about `maxBytes` of events in all.
    public mutating func catchUp(
        store: borrowing Store, maxBytes: Int, into deliveries: inout [WatchDelivery]
    ) -> CatchUpResult {
        var bytes = 0
        var scanned = 0
        while bytes < maxBytes, scanned < WatchHub.scanLimit, let watcher = dequeue() {
            // Paused streams queue their watchers again when they resume.
            if watcher.isCanceled || watcher.isSynced { continue }
            guard !watcher.stream.isPaused else { continue }
            if watcher.nextRevision < store.compactedRevision {
                cancel(watcher, compactedAt: store.compactedRevision, into: &deliveries)
                continue
            }
            var turn = CatchUpTurn(
                watcher: watcher, through: revision,
                byteLimit: min(WatchHub.turnBytes, maxBytes - bytes),
                scanLimit: WatchHub.scanLimit - scanned)
            store.replay(&turn)
            bytes += turn.bytes
            scanned += max(1, turn.scanned)
            watcher.nextRevision = turn.nextRevision
            if !turn.events.isEmpty {
                deliver(
                    events: turn.events, to: watcher, through: turn.nextRevision - 1,
                    into: &deliveries)
            }
            if turn.nextRevision > revision { synchronize(watcher) } else { enqueue(watcher) }
        }
        return queueStart < queue.count ? .more : .synced
    }
}
