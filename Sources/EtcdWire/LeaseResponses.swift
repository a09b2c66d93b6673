/// `etcdserverpb.LeaseGrantResponse`.
public enum LeaseGrantResponse {
    /// Appends the message: the granted id and time to live in seconds.
    @inlinable
    public static func append(
        _ header: ResponseHeader, id: Int64, ttl: Int64, to out: inout [UInt8]
    ) {
        header.appendField(to: &out)
        WireWriter.appendInt64(2, id, to: &out)
        WireWriter.appendInt64(3, ttl, to: &out)
    }
}

/// `etcdserverpb.LeaseRevokeResponse`.
public enum LeaseRevokeResponse {
    /// Appends the message.
    @inlinable
    public static func append(_ header: ResponseHeader, to out: inout [UInt8]) {
        header.appendField(to: &out)
    }
}

/// `etcdserverpb.LeaseKeepAliveResponse`.
public enum LeaseKeepAliveResponse {
    /// Appends the message; `ttl` in seconds, 0 when the lease is gone.
    public static func append(
        _ header: ResponseHeader, id: Int64, ttl: Int64, to out: inout [UInt8]
    ) {
        let size =
            header.fieldSize + WireWriter.int64Size(2, id) + WireWriter.int64Size(3, ttl)
        FieldRoom.append(byteCount: size, to: &out) { room in
            header.writeField(to: &room)
            room.write(2, id)
            room.write(3, ttl)
        }
    }
}

/// `etcdserverpb.LeaseTimeToLiveResponse`: the numbers, then each attached key.
public enum LeaseTimeToLiveResponse {
    /// Appends header and numbers; `ttl` is what remains, -1 when the lease is gone, and
    /// `grantedTTL` what was granted, both in seconds.
    @inlinable
    public static func append(
        _ header: ResponseHeader, id: Int64, ttl: Int64, grantedTTL: Int64, to out: inout [UInt8]
    ) {
        header.appendField(to: &out)
        WireWriter.appendInt64(2, id, to: &out)
        WireWriter.appendInt64(3, ttl, to: &out)
        WireWriter.appendInt64(4, grantedTTL, to: &out)
    }

    /// Appends one element of `keys`.
    @inlinable
    public static func appendKey(_ key: UnsafeRawBufferPointer, to out: inout [UInt8]) {
        WireWriter.appendPresentBytes(5, key, to: &out)
    }
}

/// `etcdserverpb.LeaseLeasesResponse`: the header, then each lease.
public enum LeaseLeasesResponse {
    /// Appends the header.
    @inlinable
    public static func append(_ header: ResponseHeader, to out: inout [UInt8]) {
        header.appendField(to: &out)
    }

    /// Appends one element of `leases`.
    @inlinable
    public static func appendLease(id: Int64, to out: inout [UInt8]) {
        WireWriter.appendMessageHead(2, size: WireWriter.int64Size(1, id), to: &out)
        WireWriter.appendInt64(1, id, to: &out)
    }
}
