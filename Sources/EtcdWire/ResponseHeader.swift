/// `etcdserverpb.ResponseHeader`: where and when an answer was made.
public struct ResponseHeader: Equatable, Sendable {
    /// Which member of which cluster answers. It stands in every header, two long numbers that never
    /// change: so they are encoded once, which spares each answer 350 instructions.
    public struct Identity: Equatable, Sendable {
        /// The cluster's id.
        public let clusterID: UInt64
        /// The id of the member that answers.
        public let memberID: UInt64
        // Two fields of a tag and at most ten bytes each, in the order of memory.
        private let fields: SIMD32<UInt8>
        @usableFromInline let encodedSize: Int

        /// The identity of these ids.
        public init(clusterID: UInt64 = 0, memberID: UInt64 = 0) {
            self.clusterID = clusterID
            self.memberID = memberID
            guard clusterID | memberID != 0 else {
                // As in the headers inside a transaction's answer.
                fields = SIMD32()
                encodedSize = 0
                return
            }
            var encoded: [UInt8] = []
            WireWriter.appendUInt64(1, clusterID, to: &encoded)
            WireWriter.appendUInt64(2, memberID, to: &encoded)
            var fields = SIMD32<UInt8>()
            for (place, byte) in encoded.enumerated() { fields[place] = byte }
            self.fields = fields
            encodedSize = encoded.count
        }

        fileprivate func write(to room: inout FieldRoom) {
            withUnsafeBytes(of: fields) {
                room.write(encoded: UnsafeRawBufferPointer(rebasing: $0[..<encodedSize]))
            }
        }
    }

    /// Who answers.
    public let identity: Identity
    /// The store's revision when the answer was made.
    public var revision: Int64
    /// The member's Raft term when the answer was made.
    public var raftTerm: UInt64

    /// A header from its parts.
    @inlinable
    public init(identity: Identity, revision: Int64, raftTerm: UInt64) {
        self.identity = identity
        self.revision = revision
        self.raftTerm = raftTerm
    }

    /// A header from its four numbers.
    public init(
        clusterID: UInt64 = 0, memberID: UInt64 = 0, revision: Int64 = 0, raftTerm: UInt64 = 0
    ) {
        self.init(
            identity: Identity(clusterID: clusterID, memberID: memberID), revision: revision,
            raftTerm: raftTerm)
    }

    /// Bytes of the message, without the tag and length of the field it is in.
    @inlinable
    public var encodedSize: Int {
        identity.encodedSize + WireWriter.int64Size(3, revision)
            + WireWriter.uint64Size(4, raftTerm)
    }

    /// Bytes that `appendField` appends.
    @inlinable
    public var fieldSize: Int { WireWriter.presentBytesSize(1, count: encodedSize) }

    /// Appends the header as field 1, which it is in every response. So it is written in one piece: 40
    /// bytes appended one by one took 1,560 instructions, a twentieth of a whole put.
    public func appendField(to out: inout [UInt8]) {
        FieldRoom.append(byteCount: fieldSize, to: &out) { room in writeField(to: &room) }
    }

    /// The same where more follows in one piece with it.
    @inline(__always)
    func writeField(to room: inout FieldRoom) {
        room.writeHead(1, size: encodedSize)
        identity.write(to: &room)
        room.write(3, revision)
        room.write(4, raftTerm)
    }
}
