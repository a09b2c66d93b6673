import FoundationEssentials
import KVClient

/// Reads a watched range as a whole and says what has changed since it was last read or followed.
struct StateReader {
    private static let pageKeys: Int64 = 500

    private let client: KVClient
    private let range: KeyRange
    private var tracker = KeyTracker()

    init(_ client: KVClient, _ range: KeyRange) {
        self.client = client
        self.range = range
    }

    /// The changes since the last time, as events, and the revision that was read.
    mutating func read() async throws -> ChangeBatch {
        var request = Etcd.RangeRequest.keys(range)
        request.limit = Self.pageKeys
        var revision: Int64 = 0
        var pairs: [Etcd.KeyValue] = []
        try await client.pages(request) { page in
            if revision == 0 { revision = page.header.revision }
            pairs += page.kvs
        }
        return tracker.replace(with: pairs, revision: revision)
    }

    /// Notes what the watch told.
    mutating func follow(_ events: [Etcd.Event]) {
        tracker.follow(events)
    }
}

/// Which keys exist, so that a deletion isn't missed when the history that told of it was compacted.
struct KeyTracker {
    private var modRevisions: [Data: Int64] = [:]

    mutating func follow(_ events: [Etcd.Event]) {
        for event in events {
            switch event.type {
            case .put: modRevisions[event.kv.key] = event.kv.modRevision
            case .delete, .UNRECOGNIZED: modRevisions[event.kv.key] = nil
            }
        }
    }

    /// Takes the whole state at a revision; what differs comes back as events, ordered by revision.
    mutating func replace(with pairs: [Etcd.KeyValue], revision: Int64) -> ChangeBatch {
        var vanished = modRevisions
        var events: [Etcd.Event] = []
        for pair in pairs {
            if vanished.removeValue(forKey: pair.key) == pair.modRevision { continue }
            modRevisions[pair.key] = pair.modRevision
            var event = Etcd.Event()
            event.type = .put
            event.kv = pair
            events.append(event)
        }
        events.sort { $0.kv.modRevision < $1.kv.modRevision }
        for key in vanished.keys.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            modRevisions[key] = nil
            var event = Etcd.Event()
            event.type = .delete
            event.kv.key = key
            // When exactly it was deleted is compacted; at this revision it is gone.
            event.kv.modRevision = revision
            events.append(event)
        }
        return ChangeBatch(events: events, revision: revision)
    }
}
