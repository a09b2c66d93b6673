import KVClient

/// The events of one revision, or of several when they are merged.
struct ChangeBatch: Equatable, Sendable {
    var events: [Etcd.Event]
    /// The last revision.
    var revision: Int64
}

/// Changes that wait for the command: one batch per revision, in order. The part without time and
/// processes.
struct PendingChanges {
    /// Batches that may wait; the watch stops reading beyond, and the server holds the rest.
    static let maximumBatches = 1_000
    /// Events of failed runs that are kept for the next one; beyond, the oldest are dropped.
    static let maximumFailedEvents = 10_000

    private var batches: [ChangeBatch] = []
    /// What failed runs were given: the next run gets it again, in front of the new.
    private var failed: [Etcd.Event] = []

    var isEmpty: Bool { batches.isEmpty }
    var isFull: Bool { batches.count >= Self.maximumBatches }

    /// Takes events in order of their revisions.
    mutating func add(_ events: [Etcd.Event]) {
        for event in events {
            let revision = event.kv.modRevision
            if let last = batches.last, last.revision == revision, !last.events.isEmpty {
                batches[batches.count - 1].events.append(event)
            } else {
                batches.append(ChangeBatch(events: [event], revision: revision))
            }
        }
    }

    /// Takes a state that was read: one batch, even if it has no events.
    mutating func add(state: ChangeBatch) {
        batches.append(state)
    }

    /// What the next run gets: the next revision, or all that wait if they are to be merged.
    mutating func next(merging: Bool) -> ChangeBatch? {
        guard let first = batches.first, let last = batches.last else { return nil }
        var batch = first
        if merging {
            batch = ChangeBatch(events: batches.flatMap(\.events), revision: last.revision)
            batches.removeAll()
        } else {
            batches.removeFirst()
        }
        batch.events = failed + batch.events
        failed = []
        return batch
    }

    /// The run failed: its events come again with the next change.
    mutating func putBack(_ batch: ChangeBatch) {
        failed = batch.events.suffix(Self.maximumFailedEvents)
    }
}

/// Hands changes from the watch to the runner, and stops the watch while too many wait.
actor ChangeQueue {
    private var pending = PendingChanges()
    private var taker: CheckedContinuation<Void, Never>?
    private var giver: CheckedContinuation<Void, Never>?
    private var failure: KVClientError?

    func give(_ events: [Etcd.Event]) async {
        while pending.isFull {
            await withCheckedContinuation { giver = $0 }
        }
        pending.add(events)
        wakeTaker()
    }

    func give(state: ChangeBatch) {
        pending.add(state: state)
        wakeTaker()
    }

    func fail(_ error: KVClientError) {
        failure = error
        wakeTaker()
    }

    /// The next batch; waits for one, and then for `debounce` if that is given, to merge what comes.
    func take(debounce: Duration?) async throws -> ChangeBatch {
        while pending.isEmpty {
            if let failure { throw failure }
            await withCheckedContinuation { taker = $0 }
        }
        if let debounce { try await Task.sleep(for: debounce) }
        guard let batch = pending.next(merging: debounce != nil) else {
            preconditionFailure("two tasks take from one queue")
        }
        giver?.resume()
        giver = nil
        return batch
    }

    func putBack(_ batch: ChangeBatch) {
        pending.putBack(batch)
    }

    private func wakeTaker() {
        taker?.resume()
        taker = nil
    }
}
