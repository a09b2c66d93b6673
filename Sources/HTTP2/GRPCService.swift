/// What a server does with requests. Every call comes on the connection's event loop; a service
/// answers through the connection, at once or later, but always on that event loop.
///
/// One service object usually serves all connections of an event loop. The calls of a stream come
/// in this order: `requestStarted`, any number of `messageReceived`, at most one `requestEnded`;
/// `streamCancelled` may end the order at any point before the service has finished the stream.
public protocol GRPCService: AnyObject {
    /// A client has connected.
    func connectionOpened(_ connection: GRPCServerConnection)

    /// A request has begun. The returned number is the service's own (a method, an index, …) and
    /// comes back with every later call for this stream. The service may finish the stream here
    /// already; nothing more comes for it then.
    func requestStarted(
        _ stream: StreamID, _ head: RequestHead, on connection: GRPCServerConnection
    ) -> UInt64

    /// A message is complete. `isLast` is true when the client has closed its half with it;
    /// `requestEnded` does not come then.
    func messageReceived(
        _ stream: StreamID, tag: UInt64, _ message: [UInt8], isLast: Bool,
        on connection: GRPCServerConnection)

    /// The client has closed its half after its last message, or without one.
    func requestEnded(_ stream: StreamID, tag: UInt64, on connection: GRPCServerConnection)

    /// The client has given the request up, or broke the protocol on it. The stream is gone.
    func streamCancelled(_ stream: StreamID, tag: UInt64, on connection: GRPCServerConnection)

    /// The stream's unsent bytes have fallen to `HTTP2Limits.drainedBytes` after being above it.
    func streamDrained(_ stream: StreamID, tag: UInt64, on connection: GRPCServerConnection)

    /// Everything that one read brought has been handed out. Answers given before this returns
    /// leave in one write.
    func readBatchComplete(on connection: GRPCServerConnection)

    /// The client broke the protocol in a way that ends the connection; it is told why and
    /// `connectionClosed` follows.
    func connectionFailed(_ connection: GRPCServerConnection, _ error: HTTP2ConnectionError)

    /// The connection is closed, and every request on it that was not answered has been cancelled
    /// before; no call follows.
    func connectionClosed(_ connection: GRPCServerConnection)
}
