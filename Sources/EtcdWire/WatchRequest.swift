/// Event kinds a watch leaves out (`etcdserverpb.WatchCreateRequest.FilterType`, as a set: order,
/// repetition and unknown numbers mean nothing).
public struct WatchFilters: OptionSet, Equatable, Sendable {
    /// Bit n stands for filter number n; only the bits of known filters are kept.
    public let rawValue: UInt8

    /// A set from its bits.
    public init(rawValue: UInt8) {
        self.rawValue = rawValue & 0b11
    }

    /// Leave out puts.
    public static let noPut = WatchFilters(rawValue: 1 << 0)
    /// Leave out deletes.
    public static let noDelete = WatchFilters(rawValue: 1 << 1)

    init(number: UInt64) {
        switch number {
        case 0: self = .noPut
        case 1: self = .noDelete
        default: self = []
        }
    }
}

/// `etcdserverpb.WatchCreateRequest`, read in place.
public struct WatchCreateRequest: Equatable, Sendable {
    /// The key, or the first key of the range.
    public var key: ArraySlice<UInt8> = []
    /// Empty: one key. `\0`: every key from `key` on. Otherwise the first key behind the range.
    public var rangeEnd: ArraySlice<UInt8> = []
    /// The first revision to report; 0 means from now on.
    public var startRevision: Int64 = 0
    /// Send an empty response now and then while nothing happens.
    public var progressNotify = false
    /// Event kinds to leave out.
    public var filters: WatchFilters = []
    /// Attach the key-value as it was before each event.
    public var prevKV = false
    /// The wished watch id; 0 lets the server choose.
    public var watchID: Int64 = 0
    /// One revision's events may be split over several responses.
    public var fragment = false

    /// A request for nothing yet.
    public init() {}

    /// Reads a whole message; byte fields are slices of it.
    public init(decoding bytes: ArraySlice<UInt8>) throws(WireError) {
        var reader = WireReader(bytes)
        while let tag = try reader.nextTag() {
            switch tag.fieldNumber {
            case 1: key = try reader.readBytes(tag)
            case 2: rangeEnd = try reader.readBytes(tag)
            case 3: startRevision = try reader.readInt64(tag)
            case 4: progressNotify = try reader.readBool(tag)
            case 5: filters.formUnion(try Self.readFilters(tag, from: &reader))
            case 6: prevKV = try reader.readBool(tag)
            case 7: watchID = try reader.readInt64(tag)
            case 8: fragment = try reader.readBool(tag)
            default: try reader.skip(tag)
            }
        }
    }

    /// A repeated enum arrives packed into one field or as one field each; both are valid.
    private static func readFilters(
        _ tag: WireTag, from reader: inout WireReader
    ) throws(WireError) -> WatchFilters {
        if tag.wireType == .varint { return WatchFilters(number: try reader.varint()) }
        var packed = WireReader(try reader.readBytes(tag))
        var filters: WatchFilters = []
        while !packed.isAtEnd {
            filters.formUnion(WatchFilters(number: try packed.varint()))
        }
        return filters
    }

    private var filterCount: Int { filters.rawValue.nonzeroBitCount }

    /// Bytes that `encode` appends.
    public var encodedSize: Int {
        WireWriter.bytesSize(1, count: key.count) + WireWriter.bytesSize(2, count: rangeEnd.count)
            + WireWriter.int64Size(3, startRevision) + WireWriter.boolSize(4, progressNotify)
            + WireWriter.bytesSize(5, count: filterCount)
            + WireWriter.boolSize(6, prevKV) + WireWriter.int64Size(7, watchID)
            + WireWriter.boolSize(8, fragment)
    }

    /// Appends the message.
    public func encode(into out: inout [UInt8]) {
        WireWriter.appendBytes(1, key, to: &out)
        WireWriter.appendBytes(2, rangeEnd, to: &out)
        WireWriter.appendInt64(3, startRevision, to: &out)
        WireWriter.appendBool(4, progressNotify, to: &out)
        if !filters.isEmpty {
            WireWriter.appendMessageHead(5, size: filterCount, to: &out)
            if filters.contains(.noPut) { out.append(0) }
            if filters.contains(.noDelete) { out.append(1) }
        }
        WireWriter.appendBool(6, prevKV, to: &out)
        WireWriter.appendInt64(7, watchID, to: &out)
        WireWriter.appendBool(8, fragment, to: &out)
    }
}

/// `etcdserverpb.WatchRequest`, read in place: one message of a watch stream.
public enum WatchRequest: Equatable, Sendable {
    /// Nothing was asked, or something that this version does not know.
    case empty
    /// Start a watch.
    case create(WatchCreateRequest)
    /// End the watch with this id.
    case cancel(watchID: Int64)
    /// Report how far the stream's watches have come.
    case progress

    /// Reads a whole message; byte fields are slices of it.
    public init(decoding bytes: ArraySlice<UInt8>) throws(WireError) {
        self = .empty
        var reader = WireReader(bytes)
        while let tag = try reader.nextTag() {
            switch tag.fieldNumber {
            case 1: self = .create(try WatchCreateRequest(decoding: try reader.readBytes(tag)))
            case 2: self = .cancel(watchID: try Self.readWatchID(try reader.readBytes(tag)))
            case 3:
                try Self.checkEmpty(try reader.readBytes(tag))
                self = .progress
            default: try reader.skip(tag)
            }
        }
    }

    private static func readWatchID(_ bytes: ArraySlice<UInt8>) throws(WireError) -> Int64 {
        var watchID: Int64 = 0
        var reader = WireReader(bytes)
        while let tag = try reader.nextTag() {
            switch tag.fieldNumber {
            case 1: watchID = try reader.readInt64(tag)
            default: try reader.skip(tag)
            }
        }
        return watchID
    }

    /// A message without fields of its own may still carry unknown ones, and must be well formed.
    private static func checkEmpty(_ bytes: ArraySlice<UInt8>) throws(WireError) {
        var reader = WireReader(bytes)
        while let tag = try reader.nextTag() { try reader.skip(tag) }
    }

    /// Bytes that `encode` appends.
    public var encodedSize: Int {
        switch self {
        case .empty: 0
        case .create(let request): WireWriter.presentBytesSize(1, count: request.encodedSize)
        case .cancel(let watchID):
            WireWriter.presentBytesSize(2, count: WireWriter.int64Size(1, watchID))
        case .progress: WireWriter.presentBytesSize(3, count: 0)
        }
    }

    /// Appends the message.
    public func encode(into out: inout [UInt8]) {
        switch self {
        case .empty: break
        case .create(let request):
            WireWriter.appendMessageHead(1, size: request.encodedSize, to: &out)
            request.encode(into: &out)
        case .cancel(let watchID):
            WireWriter.appendMessageHead(2, size: WireWriter.int64Size(1, watchID), to: &out)
            WireWriter.appendInt64(1, watchID, to: &out)
        case .progress:
            WireWriter.appendMessageHead(3, size: 0, to: &out)
        }
    }
}
