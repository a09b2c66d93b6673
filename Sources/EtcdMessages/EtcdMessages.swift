// EtcdMessages: etcd's messages as protoc-gen-swift makes them of `proto/`.
//
// The client, the load generator, the simulator's oracle and the tests use them: complete and
// convenient. The server doesn't, and must not: each field is copied out of the message, and
// swift-protobuf brings all of Foundation into the process, which is a third of what a member at
// rest needs. What the server reads and writes is in EtcdWire, and the tests hold the two against
// each other byte for byte.
