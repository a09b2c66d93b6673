import EtcdWire
import KVCore
import RaftCore

/// Watches: matched in the map's hub, encoded here, sent by the shell.
extension Replica {
    /// How often an idle watch that asked for it hears that nothing happened (etcd's interval).
    static let progressIntervalMicroseconds: Microseconds = 600_000_000
    /// Bytes of history that watchers which are behind get in one go.
    static let catchUpBytes = 1 << 20

    mutating func watchRequest(_ bytes: [UInt8], stream: WatchStreamID) {
        let request: WatchRequest
        do throws(WireError) {
            request = try WatchRequest(decoding: bytes[...])
        } catch {
            effects.append(.watchFailed(stream, .malformed(error)))
            return
        }
        switch request {
        case .create(let create):
            _ = hub.create(stream: stream, create, store: store, into: &deliveries)
            watchersAreBehind = true
        case .cancel(let id): hub.cancel(stream: stream, watchID: id, into: &deliveries)
        case .progress: hub.progress(stream: stream, into: &deliveries)
        case .empty: break
        }
    }

    mutating func notifyWatchProgress() {
        guard now >= progressDeadline else { return }
        progressDeadline = now + Replica.progressIntervalMicroseconds
        hub.notifyProgress(into: &deliveries)
    }

    mutating func deliverWatches() {
        if watchersAreBehind {
            watchersAreBehind =
                hub.catchUp(store: store, maxBytes: Replica.catchUpBytes, into: &deliveries)
                == .more
        }
        guard !deliveries.isEmpty else { return }
        for delivery in deliveries {
            var message: [UInt8] = []
            message.reserveCapacity(delivery.byteCount)
            delivery.encodeResponse(responseHeader, into: &message)
            effects.append(.watchResponse(delivery.stream, message: message))
        }
        deliveries.removeAll(keepingCapacity: true)
        hub.deliveriesTaken()
    }
}
