// KVClient: a client of Martlet, and of any server that speaks the etcd v3 API.
//
// One `KVClient` holds one connection per endpoint it uses and may be shared by all tasks of a
// program. Calls go to the endpoint that answered last; the others are tried when it fails.
//
// Promises. A call ends by its deadline. Only reads, and writes that certainly never reached a
// server, are repeated by the client itself: a write whose outcome can't be known throws
// `KVClientError` of the kind `outcomeUnknown` instead of being sent twice. A `Watch` delivers every
// revision once and in order, across lost connections and other endpoints; if history it needs has
// been compacted it says so instead of leaving a gap. A `LeaseSession` keeps a lease alive, grants
// and registers again when it was lost, and always tells in which state it is. Every error names
// the endpoint, the cause and what to do.
//
// Caveats. No TLS and no users yet. An endpoint is one host and port; names are resolved each time
// a connection is made. Answers of a call are whole messages: read large ranges in pages (`limit`).

import EtcdMessages
import EtcdWire
import HTTP2
import NIOCore
import NIOPosix
import SwiftProtobuf

/// The messages of the API under short names.
public enum Etcd {
    /// A key with its value and revisions.
    public typealias KeyValue = Mvccpb_KeyValue
    /// A change of one key.
    public typealias Event = Mvccpb_Event
    /// What every answer says about server and store.
    public typealias ResponseHeader = Etcdserverpb_ResponseHeader
    /// Reads keys.
    public typealias RangeRequest = Etcdserverpb_RangeRequest
    /// The keys that were read.
    public typealias RangeResponse = Etcdserverpb_RangeResponse
    /// Writes a key.
    public typealias PutRequest = Etcdserverpb_PutRequest
    /// The answer to a put.
    public typealias PutResponse = Etcdserverpb_PutResponse
    /// Deletes keys.
    public typealias DeleteRangeRequest = Etcdserverpb_DeleteRangeRequest
    /// What was deleted.
    public typealias DeleteRangeResponse = Etcdserverpb_DeleteRangeResponse
    /// A condition of a transaction.
    public typealias Compare = Etcdserverpb_Compare
    /// An operation of a transaction.
    public typealias RequestOp = Etcdserverpb_RequestOp
    /// The answer to an operation of a transaction.
    public typealias ResponseOp = Etcdserverpb_ResponseOp
    /// Conditions, and what to do if they hold or not.
    public typealias TxnRequest = Etcdserverpb_TxnRequest
    /// Which branch of a transaction ran, and its answers.
    public typealias TxnResponse = Etcdserverpb_TxnResponse
    /// The answer to a compaction.
    public typealias CompactionResponse = Etcdserverpb_CompactionResponse
    /// A new lease.
    public typealias LeaseGrantResponse = Etcdserverpb_LeaseGrantResponse
    /// The answer to a revocation.
    public typealias LeaseRevokeResponse = Etcdserverpb_LeaseRevokeResponse
    /// A renewal; a TTL of 0 means that the lease is gone.
    public typealias LeaseKeepAliveResponse = Etcdserverpb_LeaseKeepAliveResponse
    /// A lease's remaining time and keys; a TTL of -1 means that the lease is gone.
    public typealias LeaseTimeToLiveResponse = Etcdserverpb_LeaseTimeToLiveResponse
    /// All leases.
    public typealias LeaseLeasesResponse = Etcdserverpb_LeaseLeasesResponse
    /// A member of the cluster.
    public typealias Member = Etcdserverpb_Member
    /// The cluster's members.
    public typealias MemberListResponse = Etcdserverpb_MemberListResponse
    /// The state of one member.
    public typealias StatusResponse = Etcdserverpb_StatusResponse
    /// A hash of one member's store.
    public typealias HashKVResponse = Etcdserverpb_HashKVResponse
    /// The answer to a defragmentation.
    public typealias DefragmentResponse = Etcdserverpb_DefragmentResponse
}

/// How a client behaves.
public struct KVClientConfiguration: Sendable {
    /// The servers, in the order in which they are tried; at least one.
    public var endpoints: [Endpoint]
    /// How long making a connection may take.
    public var dialTimeout: Duration
    /// How long a call may take, tries at several endpoints included.
    public var commandTimeout: Duration
    /// What servers are told about the program.
    public var userAgent: String

    /// A configuration with etcd's defaults.
    public init(
        endpoints: [Endpoint], dialTimeout: Duration = .seconds(2),
        commandTimeout: Duration = .seconds(5), userAgent: String = "martlet"
    ) {
        self.endpoints = endpoints
        self.dialTimeout = dialTimeout
        self.commandTimeout = commandTimeout
        self.userAgent = userAgent
    }
}

/// A client of a cluster. See the essay at the top of this file for what it promises.
public final class KVClient: Sendable {
    /// How it behaves.
    public let configuration: KVClientConfiguration
    let pool: ConnectionPool

    /// A client; connections are made when calls need them.
    ///
    /// - Parameter eventLoops: what connections run on; by default the process's shared ones.
    public init(
        _ configuration: KVClientConfiguration,
        eventLoops: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton
    ) {
        precondition(!configuration.endpoints.isEmpty, "a client needs an endpoint")
        self.configuration = configuration
        pool = ConnectionPool(configuration, eventLoops: eventLoops)
    }

    /// Closes all connections; open calls fail, later ones too.
    public func shutdown() async {
        await pool.shutdown()
    }
}
