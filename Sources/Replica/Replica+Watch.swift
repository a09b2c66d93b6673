import EtcdWire
import KVCore
import RaftCore

/// Watches: matched in the map's hub, encoded here, sent by the shell.
extension Replica {
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
        progressDeadline = now + settings.watchProgressMicroseconds
        hub.notifyProgress(into: &deliveries)
    }

    mutating func deliverWatches() {
        if watchersAreBehind {
            watchersAreBehind =
                hub.catchUp(store: store, maxBytes: settings.watchCatchUpBytes, into: &deliveries)
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
