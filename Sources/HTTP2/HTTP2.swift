// HTTP2: a lean HTTP/2 (RFC 9113) for gRPC, server and client halves.
//
// A request here is one HEADERS and usually one DATA frame, its answer three frames; what matters
// is what happens between the socket and the store, a hundred thousand times a second. So there is
// no channel, no future and no handler chain per stream. `Engine` is the protocol as a value: bytes
// go in with `receive`, events come out one at a time with `nextEvent`, bytes to send gather in one
// buffer that the caller writes once per batch. It never touches a socket, a clock or a thread,
// which is what lets tests and fuzzers drive it byte by byte. `GRPCServerHandler` and
// `GRPCClientHandler` are the thin SwiftNIO ends; HPACK decoding stays with NIOHPACK.
//
// Promises. A peer can make a connection fail, never the process: every length is checked, every
// state a frame may arrive in is decided (RFC 9113 section 5.1), and everything a peer can make
// grow has a named bound in `HTTP2Limits`. Answers given before one `flush` leave in one write.
// Data waits in its stream's queue while the peer's windows or the socket are full, and the
// service sees how much (`unsentBytes`). A client call that failed says whether its request can
// have reached the server.
//
// Caveats. One HTTP/2 per connection with prior knowledge or behind `ProtocolSniffer`; no upgrade
// from HTTP/1.1, no push, no priorities. Compressed messages are refused. The header encoder never
// uses the dynamic table: blocks are constant, or literals. A request without `te: trailers` is
// served (the header only detects old proxies); one with another `te` is malformed.
