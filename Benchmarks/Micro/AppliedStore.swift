import EtcdWire
import KVCore

/// A map that entries are applied to, and those who watch it.
final class AppliedStore {
    private var store = Store()
    private var hub = WatchHub(revision: 1)
    private var index: UInt64 = 0
    private var deliveries: [WatchDelivery] = []
    private var watcherCount: UInt64 = 0

    struct Failure: Error {}

    /// Applies a put and hands out its event.
    func apply(_ put: [UInt8]) throws {
        index += 1
        let bytes = Envelope.encode(
            kind: .put, origin: Origin(member: 1, boot: 1, sequence: index), body: put)
        let result = store.apply(try Envelope(decoding: bytes), index: index, term: 1)
        hub.publish(changesOf: store, into: &deliveries)
        guard case .put = result.outcome, deliveries.count == watcherCount else { throw Failure() }
        hub.deliveriesTaken()
        deliveries.removeAll(keepingCapacity: true)
    }

    /// Watches a key on a stream of its own.
    func watch(_ key: [UInt8]) {
        var request = WatchCreateRequest()
        request.key = key[...]
        watcherCount += 1
        _ = hub.create(stream: watcherCount, request, store: store, into: &deliveries)
        deliveries.removeAll(keepingCapacity: true)
    }
}
