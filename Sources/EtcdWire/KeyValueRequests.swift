/// How a range is ordered (`etcdserverpb.RangeRequest.SortOrder`).
public enum SortOrder: Equatable, Sendable {
    /// No explicit order.
    case none
    /// Smallest first.
    case ascend
    /// Largest first.
    case descend
    /// A number that this version does not know.
    case unrecognized(Int32)

    /// The meaning of a number on the wire.
    public init(rawValue: Int32) {
        switch rawValue {
        case 0: self = .none
        case 1: self = .ascend
        case 2: self = .descend
        default: self = .unrecognized(rawValue)
        }
    }

    /// The number on the wire.
    public var rawValue: Int32 {
        switch self {
        case .none: 0
        case .ascend: 1
        case .descend: 2
        case .unrecognized(let value): value
        }
    }
}

/// What a range is ordered by (`etcdserverpb.RangeRequest.SortTarget`).
public enum SortTarget: Equatable, Sendable {
    /// By key, bytewise.
    case key
    /// By number of changes since creation.
    case version
    /// By create revision.
    case create
    /// By modification revision.
    case mod
    /// By value, bytewise.
    case value
    /// A number that this version does not know.
    case unrecognized(Int32)

    /// The meaning of a number on the wire.
    public init(rawValue: Int32) {
        switch rawValue {
        case 0: self = .key
        case 1: self = .version
        case 2: self = .create
        case 3: self = .mod
        case 4: self = .value
        default: self = .unrecognized(rawValue)
        }
    }

    /// The number on the wire.
    public var rawValue: Int32 {
        switch self {
        case .key: 0
        case .version: 1
        case .create: 2
        case .mod: 3
        case .value: 4
        case .unrecognized(let value): value
        }
    }
}

/// `etcdserverpb.RangeRequest`, read in place.
public struct RangeRequest: Equatable, Sendable {
    /// The key, or the first key of the range.
    public var key: ArraySlice<UInt8>
    /// Empty: one key. `\0`: every key from `key` on. Otherwise the first key behind the range.
    public var rangeEnd: ArraySlice<UInt8>
    /// Most key-values to return; 0 means no limit.
    public var limit: Int64 = 0
    /// The revision to read at; 0 or less means the newest.
    public var revision: Int64 = 0
    /// The order of the result.
    public var sortOrder: SortOrder = .none
    /// What the order is by.
    public var sortTarget: SortTarget = .key
    /// Answer from the member's own state, which may be behind.
    public var serializable = false
    /// Leave values out.
    public var keysOnly = false
    /// Return only the count.
    public var countOnly = false
    /// Leave out key-values with a smaller modification revision; 0 means none.
    public var minModRevision: Int64 = 0
    /// Leave out key-values with a larger modification revision; 0 means none.
    public var maxModRevision: Int64 = 0
    /// Leave out key-values with a smaller create revision; 0 means none.
    public var minCreateRevision: Int64 = 0
    /// Leave out key-values with a larger create revision; 0 means none.
    public var maxCreateRevision: Int64 = 0

    /// A request for nothing yet.
    public init() {
        key = []
        rangeEnd = []
    }

    /// Reads a whole message; byte fields are slices of it.
    public init(decoding bytes: ArraySlice<UInt8>) throws(WireError) {
        var reader = WireReader(bytes)
        try self.init(reading: &reader)
    }

    init(reading reader: inout WireReader) throws(WireError) {
        // Each slice counts a reference: none is made that another takes the place of.
        var keyRange = reader.position..<reader.position
        var endRange = keyRange
        while let tag = try reader.nextTag() {
            switch tag.fieldNumber {
            case 1: keyRange = try reader.readRange(tag)
            case 2: endRange = try reader.readRange(tag)
            case 3: limit = try reader.readInt64(tag)
            case 4: revision = try reader.readInt64(tag)
            case 5: sortOrder = SortOrder(rawValue: try reader.readEnum(tag))
            case 6: sortTarget = SortTarget(rawValue: try reader.readEnum(tag))
            case 7: serializable = try reader.readBool(tag)
            case 8: keysOnly = try reader.readBool(tag)
            case 9: countOnly = try reader.readBool(tag)
            case 10: minModRevision = try reader.readInt64(tag)
            case 11: maxModRevision = try reader.readInt64(tag)
            case 12: minCreateRevision = try reader.readInt64(tag)
            case 13: maxCreateRevision = try reader.readInt64(tag)
            default: try reader.skip(tag)
            }
        }
        key = reader.bytes[keyRange]
        rangeEnd = reader.bytes[endRange]
    }

    /// Bytes that `encode` appends.
    public var encodedSize: Int {
        WireWriter.bytesSize(1, count: key.count) + WireWriter.bytesSize(2, count: rangeEnd.count)
            + WireWriter.int64Size(3, limit) + WireWriter.int64Size(4, revision)
            + WireWriter.enumSize(5, sortOrder.rawValue)
            + WireWriter.enumSize(6, sortTarget.rawValue)
            + WireWriter.boolSize(7, serializable) + WireWriter.boolSize(8, keysOnly)
            + WireWriter.boolSize(9, countOnly)
            + WireWriter.int64Size(10, minModRevision) + WireWriter.int64Size(11, maxModRevision)
            + WireWriter.int64Size(12, minCreateRevision)
            + WireWriter.int64Size(13, maxCreateRevision)
    }

    /// Appends the message.
    public func encode(into out: inout [UInt8]) {
        WireWriter.appendBytes(1, key, to: &out)
        WireWriter.appendBytes(2, rangeEnd, to: &out)
        WireWriter.appendInt64(3, limit, to: &out)
        WireWriter.appendInt64(4, revision, to: &out)
        WireWriter.appendEnum(5, sortOrder.rawValue, to: &out)
        WireWriter.appendEnum(6, sortTarget.rawValue, to: &out)
        WireWriter.appendBool(7, serializable, to: &out)
        WireWriter.appendBool(8, keysOnly, to: &out)
        WireWriter.appendBool(9, countOnly, to: &out)
        WireWriter.appendInt64(10, minModRevision, to: &out)
        WireWriter.appendInt64(11, maxModRevision, to: &out)
        WireWriter.appendInt64(12, minCreateRevision, to: &out)
        WireWriter.appendInt64(13, maxCreateRevision, to: &out)
    }
}

/// `etcdserverpb.PutRequest`, read in place.
public struct PutRequest: Equatable, Sendable {
    /// The key to write.
    public var key: ArraySlice<UInt8>
    /// The value to write.
    public var value: ArraySlice<UInt8>
    /// The lease to attach the key to; 0 means none.
    public var lease: Int64 = 0
    /// Return the key-value as it was before.
    public var prevKV = false
    /// Keep the key's current value.
    public var ignoreValue = false
    /// Keep the key's current lease.
    public var ignoreLease = false

    /// A request for nothing yet.
    public init() {
        key = []
        value = []
    }

    /// Reads a whole message; byte fields are slices of it.
    public init(decoding bytes: ArraySlice<UInt8>) throws(WireError) {
        var reader = WireReader(bytes)
        try self.init(reading: &reader)
    }

    init(reading reader: inout WireReader) throws(WireError) {
        // As in `RangeRequest`.
        var keyRange = reader.position..<reader.position
        var valueRange = keyRange
        while let tag = try reader.nextTag() {
            switch tag.fieldNumber {
            case 1: keyRange = try reader.readRange(tag)
            case 2: valueRange = try reader.readRange(tag)
            case 3: lease = try reader.readInt64(tag)
            case 4: prevKV = try reader.readBool(tag)
            case 5: ignoreValue = try reader.readBool(tag)
            case 6: ignoreLease = try reader.readBool(tag)
            default: try reader.skip(tag)
            }
        }
        key = reader.bytes[keyRange]
        value = reader.bytes[valueRange]
    }

    /// Bytes that `encode` appends.
    public var encodedSize: Int {
        WireWriter.bytesSize(1, count: key.count) + WireWriter.bytesSize(2, count: value.count)
            + WireWriter.int64Size(3, lease) + WireWriter.boolSize(4, prevKV)
            + WireWriter.boolSize(5, ignoreValue) + WireWriter.boolSize(6, ignoreLease)
    }

    /// Appends the message.
    public func encode(into out: inout [UInt8]) {
        WireWriter.appendBytes(1, key, to: &out)
        WireWriter.appendBytes(2, value, to: &out)
        WireWriter.appendInt64(3, lease, to: &out)
        WireWriter.appendBool(4, prevKV, to: &out)
        WireWriter.appendBool(5, ignoreValue, to: &out)
        WireWriter.appendBool(6, ignoreLease, to: &out)
    }
}

/// `etcdserverpb.DeleteRangeRequest`, read in place.
public struct DeleteRangeRequest: Equatable, Sendable {
    /// The key, or the first key of the range.
    public var key: ArraySlice<UInt8> = []
    /// Empty: one key. `\0`: every key from `key` on. Otherwise the first key behind the range.
    public var rangeEnd: ArraySlice<UInt8> = []
    /// Return the deleted key-values.
    public var prevKV = false

    /// A request for nothing yet.
    public init() {}

    /// Reads a whole message; byte fields are slices of it.
    public init(decoding bytes: ArraySlice<UInt8>) throws(WireError) {
        var reader = WireReader(bytes)
        try self.init(reading: &reader)
    }

    init(reading reader: inout WireReader) throws(WireError) {
        while let tag = try reader.nextTag() {
            switch tag.fieldNumber {
            case 1: key = try reader.readBytes(tag)
            case 2: rangeEnd = try reader.readBytes(tag)
            case 3: prevKV = try reader.readBool(tag)
            default: try reader.skip(tag)
            }
        }
    }

    /// Bytes that `encode` appends.
    public var encodedSize: Int {
        WireWriter.bytesSize(1, count: key.count) + WireWriter.bytesSize(2, count: rangeEnd.count)
            + WireWriter.boolSize(3, prevKV)
    }

    /// Appends the message.
    public func encode(into out: inout [UInt8]) {
        WireWriter.appendBytes(1, key, to: &out)
        WireWriter.appendBytes(2, rangeEnd, to: &out)
        WireWriter.appendBool(3, prevKV, to: &out)
    }
}

/// `etcdserverpb.CompactionRequest`.
public struct CompactionRequest: Equatable, Sendable {
    /// Everything superseded at or before this revision is dropped.
    public var revision: Int64 = 0
    /// Answer only when the dropping is done.
    public var physical = false

    /// A request for nothing yet.
    public init() {}

    /// Reads a whole message.
    public init(decoding bytes: ArraySlice<UInt8>) throws(WireError) {
        var reader = WireReader(bytes)
        while let tag = try reader.nextTag() {
            switch tag.fieldNumber {
            case 1: revision = try reader.readInt64(tag)
            case 2: physical = try reader.readBool(tag)
            default: try reader.skip(tag)
            }
        }
    }

    /// Bytes that `encode` appends.
    public var encodedSize: Int {
        WireWriter.int64Size(1, revision) + WireWriter.boolSize(2, physical)
    }

    /// Appends the message.
    public func encode(into out: inout [UInt8]) {
        WireWriter.appendInt64(1, revision, to: &out)
        WireWriter.appendBool(2, physical, to: &out)
    }
}
