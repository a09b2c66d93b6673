/// `etcdserverpb.LeaseGrantRequest`.
public struct LeaseGrantRequest: Equatable, Sendable {
    /// The wished time to live, in seconds.
    public var ttl: Int64 = 0
    /// The wished id; 0 lets the server choose.
    public var id: Int64 = 0

    /// A request for nothing yet.
    public init() {}

    /// Reads a whole message.
    public init(decoding bytes: ArraySlice<UInt8>) throws(WireError) {
        var reader = WireReader(bytes)
        while let tag = try reader.nextTag() {
            switch tag.fieldNumber {
            case 1: ttl = try reader.readInt64(tag)
            case 2: id = try reader.readInt64(tag)
            default: try reader.skip(tag)
            }
        }
    }

    /// Bytes that `encode` appends.
    public var encodedSize: Int { WireWriter.int64Size(1, ttl) + WireWriter.int64Size(2, id) }

    /// Appends the message.
    public func encode(into out: inout [UInt8]) {
        WireWriter.appendInt64(1, ttl, to: &out)
        WireWriter.appendInt64(2, id, to: &out)
    }
}

/// `etcdserverpb.LeaseRevokeRequest`.
public struct LeaseRevokeRequest: Equatable, Sendable {
    /// The lease to revoke.
    public var id: Int64 = 0

    /// A request for nothing yet.
    public init() {}

    /// Reads a whole message.
    public init(decoding bytes: ArraySlice<UInt8>) throws(WireError) {
        var reader = WireReader(bytes)
        while let tag = try reader.nextTag() {
            switch tag.fieldNumber {
            case 1: id = try reader.readInt64(tag)
            default: try reader.skip(tag)
            }
        }
    }

    /// Bytes that `encode` appends.
    public var encodedSize: Int { WireWriter.int64Size(1, id) }

    /// Appends the message.
    public func encode(into out: inout [UInt8]) {
        WireWriter.appendInt64(1, id, to: &out)
    }
}

/// `etcdserverpb.LeaseKeepAliveRequest`.
public struct LeaseKeepAliveRequest: Equatable, Sendable {
    /// The lease to renew.
    public var id: Int64 = 0

    /// A request for nothing yet.
    public init() {}

    /// Reads a whole message.
    public init(decoding bytes: ArraySlice<UInt8>) throws(WireError) {
        var reader = WireReader(bytes)
        while let tag = try reader.nextTag() {
            switch tag.fieldNumber {
            case 1: id = try reader.readInt64(tag)
            default: try reader.skip(tag)
            }
        }
    }

    /// Bytes that `encode` appends.
    public var encodedSize: Int { WireWriter.int64Size(1, id) }

    /// Appends the message.
    public func encode(into out: inout [UInt8]) {
        WireWriter.appendInt64(1, id, to: &out)
    }
}

/// `etcdserverpb.LeaseTimeToLiveRequest`.
public struct LeaseTimeToLiveRequest: Equatable, Sendable {
    /// The lease to look at.
    public var id: Int64 = 0
    /// Also return the keys attached to it.
    public var keys = false

    /// A request for nothing yet.
    public init() {}

    /// Reads a whole message.
    public init(decoding bytes: ArraySlice<UInt8>) throws(WireError) {
        var reader = WireReader(bytes)
        while let tag = try reader.nextTag() {
            switch tag.fieldNumber {
            case 1: id = try reader.readInt64(tag)
            case 2: keys = try reader.readBool(tag)
            default: try reader.skip(tag)
            }
        }
    }

    /// Bytes that `encode` appends.
    public var encodedSize: Int { WireWriter.int64Size(1, id) + WireWriter.boolSize(2, keys) }

    /// Appends the message.
    public func encode(into out: inout [UInt8]) {
        WireWriter.appendInt64(1, id, to: &out)
        WireWriter.appendBool(2, keys, to: &out)
    }
}
