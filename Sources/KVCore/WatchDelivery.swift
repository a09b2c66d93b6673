import EtcdWire

/// One message for one watch stream.
public struct WatchDelivery: Sendable {
    /// What the message says.
    public enum Kind: Sendable {
        /// The watch exists now.
        case created
        /// The watch was refused; it never existed.
        case refused(reason: String)
        /// Events in order, each encoded as field 11 of a `WatchResponse` and shared between the
        /// watches that get it. `fragment`: the rest of the last revision follows.
        case events([[UInt8]], fragment: Bool)
        /// The watch is gone: cancelled by the client (compact revision 0, no reason), or because
        /// a compaction passed what it had still to report.
        case canceled(compactRevision: Int64, reason: String)
        /// Every event up to the header's revision has been delivered.
        case progress
    }

    /// The watch id of messages that concern no single watch.
    public static let noWatchID: Int64 = -1

    /// The stream to send it on.
    public let stream: UInt64
    /// The watch, or `noWatchID`.
    public let watchID: Int64
    /// The revision for the header: everything up to it that concerns the watch has been
    /// delivered with or before this message, unless `fragment`.
    public let revision: Int64
    /// What the message says.
    public let kind: Kind

    /// Bytes of the encoded message, roughly: what it counts towards a stream's budget.
    public var byteCount: Int {
        switch kind {
        case .events(let events, _): events.reduce(64) { $0 + $1.count }
        case .created, .refused, .canceled, .progress: 64
        }
    }

    /// Appends the `WatchResponse`. The header's revision is the delivery's, whatever the one given.
    public func encodeResponse(_ header: ResponseHeader, into out: inout [UInt8]) {
        var header = header
        header.revision = revision
        var response = WatchResponse(watchID: watchID)
        var encoded: [[UInt8]] = []
        switch kind {
        case .created:
            response.created = true
        case .refused(let reason):
            response.created = true
            response.canceled = true
            response.cancelReason = reason
        case .canceled(let compactRevision, let reason):
            response.canceled = true
            response.compactRevision = compactRevision
            response.cancelReason = reason
        case .events(let events, let fragment):
            response.fragment = fragment
            encoded = events
        case .progress:
            break
        }
        response.encode(header, events: UnsafeRawBufferPointer(start: nil, count: 0), into: &out)
        // Events are the message's last field.
        for event in encoded { out.append(contentsOf: event) }
    }
}

/// Encodes the events of one change, each variant at most once.
struct EventEncoder {
    private let version: VersionStorage
    private let previous: VersionStorage?
    private var plain: [UInt8]?
    private var withPrevious: [UInt8]?

    /// An encoder for a change; the value before it may be shown if no compaction covers it.
    init(_ version: VersionStorage, compactedRevision: Int64) {
        self.version = version
        let isVisible = version.modRevision - 1 >= compactedRevision
        previous = isVisible ? version.previous.flatMap { $0.isTombstone ? nil : $0 } : nil
    }

    /// The event as a watcher wants it.
    mutating func event(prevKV: Bool) -> [UInt8] {
        guard prevKV, let previous else {
            if let plain { return plain }
            let bytes = EventEncoder.encode(version, nil)
            plain = bytes
            return bytes
        }
        if let withPrevious { return withPrevious }
        let bytes = EventEncoder.encode(version, previous)
        withPrevious = bytes
        return bytes
    }

    private static func encode(_ version: VersionStorage, _ previous: VersionStorage?) -> [UInt8] {
        var out: [UInt8] = []
        // Enough for every number of both key-values.
        let bytes = version.keyLength + version.valueLength
        out.reserveCapacity(
            bytes + 80 + (previous.map { $0.keyLength + $0.valueLength + 64 } ?? 0))
        let event = WatchResponse.beginEvent(version.isTombstone ? .delete : .put, to: &out)
        version.appendKeyValue(2, to: &out)
        previous?.appendKeyValue(3, to: &out)
        WireWriter.endMessage(event, to: &out)
        return out
    }
}
