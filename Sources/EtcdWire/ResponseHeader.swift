/// `etcdserverpb.ResponseHeader`: where and when an answer was made.
public struct ResponseHeader: Equatable, Sendable {
    /// The cluster's id.
    public var clusterID: UInt64
    /// The id of the member that answered.
    public var memberID: UInt64
    /// The store's revision when the answer was made.
    public var revision: Int64
    /// The member's Raft term when the answer was made.
    public var raftTerm: UInt64

    /// A header from its four numbers.
    @inlinable
    public init(
        clusterID: UInt64 = 0, memberID: UInt64 = 0, revision: Int64 = 0, raftTerm: UInt64 = 0
    ) {
        self.clusterID = clusterID
        self.memberID = memberID
        self.revision = revision
        self.raftTerm = raftTerm
    }

    /// Bytes that `encode` appends.
    @inlinable
    public var encodedSize: Int {
        WireWriter.uint64Size(1, clusterID) + WireWriter.uint64Size(2, memberID)
            + WireWriter.int64Size(3, revision) + WireWriter.uint64Size(4, raftTerm)
    }

    /// Appends the message.
    @inlinable
    public func encode(into out: inout [UInt8]) {
        WireWriter.appendUInt64(1, clusterID, to: &out)
        WireWriter.appendUInt64(2, memberID, to: &out)
        WireWriter.appendInt64(3, revision, to: &out)
        WireWriter.appendUInt64(4, raftTerm, to: &out)
    }

    /// Bytes that `appendField` appends.
    @inlinable
    public var fieldSize: Int { WireWriter.presentBytesSize(1, count: encodedSize) }

    /// Appends the header as field 1, which it is in every response.
    @inlinable
    public func appendField(to out: inout [UInt8]) {
        WireWriter.appendMessageHead(1, size: encodedSize, to: &out)
        encode(into: &out)
    }
}
