// EtcdWire: the etcd v3 API as bytes.
//
// Requests are read in place: their byte fields are slices of the received message. Responses are
// appended to a buffer that the caller owns and reuses. `WireReader` and `WireWriter` are all the
// protobuf that takes. Clients and tests may prefer the generated types of EtcdMessages, which copy
// every field and do more than the server needs.
//
// Promises. Reading never traps on hostile bytes: every length and varint is checked, nesting and
// element counts are bounded, and the failure is a typed `WireError`. What is written is canonical:
// fields in ascending order, zero values omitted, shortest varints; the tests hold both directions
// against EtcdMessages byte for byte.
//
// Caveats. Unknown fields are skipped, not kept, so a hot request written again loses them (the
// replicated log keeps the request's own bytes). A known field with the wrong wire type is an
// error, where some decoders would treat it as unknown. A singular message field given twice is
// not merged: the last one stands, as in etcd's own decoder. A decoded message holds its input
// alive for as long as it lives.
