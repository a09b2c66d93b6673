/// Every bound on what a peer can make a connection hold or do. The defaults fit a server; each is
/// generous for a well-behaved client and small for the process.
public struct HTTP2Limits: Sendable {
    /// Streams that the peer may have open at once (advertised).
    public var maximumConcurrentStreams = 100_000
    /// Largest gRPC message accepted, in bytes, without its prefix.
    public var maximumMessageBytes = 2_097_152
    /// Largest header list accepted, in bytes as RFC 9113 section 6.5.2 counts them (advertised).
    public var maximumHeaderListBytes = 16_384
    /// CONTINUATION frames of one header block.
    public var maximumContinuations = 16
    /// Bytes that the peer may send on one stream ahead of us (advertised).
    public var streamReceiveWindowBytes = 1_048_576
    /// Bytes that the peer may send on all streams ahead of us.
    public var connectionReceiveWindowBytes = 16_777_216
    /// Bytes of incomplete messages that one connection may hold.
    public var maximumAssemblyBytes = 67_108_864
    /// Bytes of DATA gathered for one write; more waits in the streams' queues.
    public var outboundBatchBytes = 1_048_576
    /// A stream whose queue was longer is reported as drained when it falls to this.
    public var drainedBytes = 32_768
    /// Control frames (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA, frames on closed
    /// streams) accepted in a burst. A busy etcdctl watch sends about 800 PINGs a second.
    public var controlFrameBurst = 20_000
    /// Control frames a second accepted beyond the burst; each DATA frame sent allows one more.
    public var controlFramesPerSecond = 10_000
    /// Streams that the peer may reset in a burst ("rapid reset", CVE-2023-44487).
    public var streamResetBurst = 20_000
    /// Stream resets a second accepted beyond the burst.
    public var streamResetsPerSecond = 5_000

    /// The defaults.
    public init() {}
}
