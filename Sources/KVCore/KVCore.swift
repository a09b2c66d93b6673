// KVCore: the replicated map.
//
// A `Store` is what all committed entries, applied in order, amount to: keys with every version
// since the last compaction, leases, members. `WatchHub` tells watchers what changed, and
// `SnapshotEncoder` and `SnapshotDecoder` turn a store into bytes and back.
//
// Promises. The same entries give the same store, bit for bit, on every member: there is no clock,
// no randomness, no I/O here, and nothing depends on the iteration order of a dictionary. Apply is
// total: whatever an entry contains, the answer is an outcome, and a failure changes nothing. A
// view costs O(1) to take and can be read on another thread while the store goes on; a put copies
// at most the nodes of one path after it, and none otherwise. Compaction shows at once in every
// answer and is carried out later, in steps; no answer, hash or snapshot tells how far it came.
// A version of a key is one allocation, and nothing stored holds on to a received buffer.
//
// Caveats. A range counts its keys by visiting them. A read in the past walks a key's versions from
// the newest back, so a key changed a million times since the last compaction is slow to read far
// back. `stateHash` and `hashKV` find accidents, not forgers. The quota is a limit given at start
// and must be the same on all members. A transaction may not put a key in one nested transaction
// and delete it in a sibling; etcd refuses it only in the opposite order.
