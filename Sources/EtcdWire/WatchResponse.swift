/// `etcdserverpb.WatchResponse`. Events are encoded once per revision with `appendEvent` into a
/// buffer of their own, which every watcher's response then shares as its last part.
public struct WatchResponse: Equatable, Sendable {
    /// The watch that the response belongs to; -1 for a stream's progress or a refused create.
    public var watchID: Int64 = 0
    /// Answers a create request.
    public var created = false
    /// The watch is over.
    public var canceled = false
    /// When a watch is canceled because its start was compacted: the compacted revision.
    public var compactRevision: Int64 = 0
    /// Why the watch was canceled.
    public var cancelReason = ""
    /// More events of the same revision follow in the next response.
    public var fragment = false

    /// A response that says nothing yet.
    public init(watchID: Int64 = 0) {
        self.watchID = watchID
    }

    /// Bytes that `encode` appends.
    public func encodedSize(_ header: ResponseHeader, eventsSize: Int) -> Int {
        header.fieldSize + WireWriter.int64Size(2, watchID)
            + WireWriter.boolSize(3, created) + WireWriter.boolSize(4, canceled)
            + WireWriter.int64Size(5, compactRevision)
            + WireWriter.bytesSize(6, count: cancelReason.utf8.count)
            + WireWriter.boolSize(7, fragment) + eventsSize
    }

    /// Appends the message; `events` is what `appendEvent` made, possibly empty.
    public func encode(
        _ header: ResponseHeader, events: UnsafeRawBufferPointer, into out: inout [UInt8]
    ) {
        header.appendField(to: &out)
        WireWriter.appendInt64(2, watchID, to: &out)
        WireWriter.appendBool(3, created, to: &out)
        WireWriter.appendBool(4, canceled, to: &out)
        WireWriter.appendInt64(5, compactRevision, to: &out)
        WireWriter.appendString(6, cancelReason, to: &out)
        WireWriter.appendBool(7, fragment, to: &out)
        out.append(contentsOf: events)
    }

    /// The kinds of `mvccpb.Event`.
    public enum EventKind: Int32, Sendable {
        /// The key was written.
        case put = 0
        /// The key was deleted: its key-value has key and modification revision only.
        case delete = 1
    }

    /// Starts one element of `events`: append its key-value with `WireWriter.appendKeyValue(2, …)`
    /// and, when it is wanted and known, the one before with field 3; then
    /// `WireWriter.endMessage`.
    @inlinable
    public static func beginEvent(
        _ kind: EventKind, to out: inout [UInt8]
    ) -> WireWriter.OpenMessage {
        let event = WireWriter.beginMessage(11, to: &out)
        WireWriter.appendEnum(1, kind.rawValue, to: &out)
        return event
    }

    /// Appends one element of `events` without a previous key-value.
    @inlinable
    public static func appendEvent(
        _ kind: EventKind, key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer,
        _ numbers: KeyValueNumbers, to out: inout [UInt8]
    ) {
        let event = beginEvent(kind, to: &out)
        WireWriter.appendKeyValue(2, key: key, value: value, numbers, to: &out)
        WireWriter.endMessage(event, to: &out)
    }
}
