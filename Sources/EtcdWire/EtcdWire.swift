// EtcdWire: the etcd v3 API as bytes.
//
// Two ways to the same messages stand side by side:
//
// - `Generated/` holds what protoc-gen-swift makes of `proto/`. Cold calls (cluster, maintenance,
//   auth, lock, election), the JSON gateway and the client use it: complete, convenient, and slow
//   by comparison, because every field is copied out of the message.
// - The hot requests (range, put, delete, transaction, compaction, lease, watch) are read in place:
//   their byte fields are slices of the received message, and responses are appended to a buffer
//   that the caller owns and reuses. `WireReader` and `WireWriter` are all the protobuf they need.
//
// Promises. Reading never traps on hostile bytes: every length and varint is checked, nesting and
// element counts are bounded, and the failure is a typed `WireError`. What is written is canonical:
// fields in ascending order, zero values omitted, shortest varints; the tests hold both directions
// against the generated types byte for byte.
//
// Caveats. Unknown fields are skipped, not kept, so a hot request written again loses them (the
// replicated log keeps the request's own bytes). A known field with the wrong wire type is an
// error, where some decoders would treat it as unknown. A singular message field given twice is
// not merged: the last one stands, as in etcd's own decoder. A decoded message holds its input
// alive for as long as it lives.
