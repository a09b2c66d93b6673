// The snapshot body: a store as bytes.
//
// The body is a sequence of blocks; all integers are little-endian.
//
//     block    = length u32, kind u8, payload (length − 1 bytes), hash u64
//
// `hash` is `RollingHash` over the hash of the block before (0 for the first), then over kind and
// payload as one byte string: a block that is damaged, missing or moved is found. Blocks come in
// this order:
//
//     1 header   = format version u32 (2), revision i64, compacted revision i64, applied index u64,
//                  applied term u64, state hash u64
//     2 members  = count u32, count × {id u64, role u8, name text, peer URLs list of text,
//                  client URLs list of text, directory id length u8 (0 or 16) and bytes},
//                  removed count u32, removed × id u64; both ascending by id
//     3 leases   = count × {id i64, granted seconds i64, remaining seconds i64}, ascending by id;
//                  any number of blocks
//     4 versions = versions, see below; any number of blocks
//     5 end      = leases u64, keys u64, versions u64
//
//     text       = length u32, UTF-8
//     list       = count u32, elements
//
//     version    = flags u8, [key length u32, key], mod revision i64, sub-revision u32,
//                  [create revision i64, version i64, lease i64, value length u32, value]
//
// Flag 1: the version belongs to the same key as the one before, and the key is left out. Flag 2:
// the version is a deletion, and the last part is left out. Keys ascend; the versions of a key
// descend. Only what the compaction leaves is there: all versions above the compacted revision and
// for each key the newest at or below it, unless that is a deletion below it. So the bytes are a
// function of the applied entries, whatever has been trimmed so far.
//
// A block of leases or versions ends with the first item that makes it 64 KiB or more.

package enum SnapshotFormat {
    static let version: UInt32 = 2
    /// Payload from which on a block of items is closed.
    static let blockBytes = 64 << 10
    /// The longest block a decoder accepts: far above any request, so above any version.
    static let maximumBlockBytes = 1 << 30
    /// Indexes, terms and revisions that a decoder accepts, at most.
    static let maximumNumber: Int64 = 1 << 62
    /// Bytes of a block that are not payload.
    static let blockOverhead = 4 + 1 + 8

    enum BlockKind: UInt8 {
        case header = 1
        case members = 2
        case leases = 3
        case versions = 4
        case end = 5
    }

    static let sameKeyFlag: UInt8 = 1
    static let deletionFlag: UInt8 = 2

    /// The hash behind a block whose kind and payload are `bytes`.
    package static func hash(previous: UInt64, _ bytes: UnsafeRawBufferPointer) -> UInt64 {
        var hasher = RollingHash()
        hasher.combine(previous)
        hasher.combine(bytes)
        return hasher.value
    }
}
