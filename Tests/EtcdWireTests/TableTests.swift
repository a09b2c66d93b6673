import EtcdWire
import Testing

@Suite("Tables that clients match literally")
struct TableTests {
    @Test("every method is found by its path and by nothing near it") func paths() {
        #expect(RPCMethod.put.path == "/etcdserverpb.KV/Put")
        #expect(RPCMethod.authenticate.path == "/etcdserverpb.Auth/Authenticate")
        #expect(RPCMethod.authUserList.path == "/etcdserverpb.Auth/UserList")
        #expect(RPCMethod.lock.path == "/v3lockpb.Lock/Lock")
        #expect(RPCMethod.observe.path == "/v3electionpb.Election/Observe")
        #expect(Set(RPCMethod.allCases.map(\.path)).count == RPCMethod.allCases.count)
        #expect(RPCMethod.allCases.count == 49)
        for method in RPCMethod.allCases {
            #expect(RPCMethod(path: method.path) == method)
            #expect(RPCMethod(path: String(method.path.dropLast())) == nil)
            #expect(RPCMethod(path: method.path + "x") == nil)
            #expect(RPCMethod(path: "/" + method.path.dropFirst().uppercased()) == nil)
        }
        #expect(RPCMethod(path: "") == nil)
        #expect(RPCMethod(path: String(repeating: "x", count: 5000)) == nil)
    }

    @Test("streaming methods are known") func streaming() {
        #expect(RPCMethod.allCases.filter(\.isClientStreaming) == [.watch, .leaseKeepAlive])
        #expect(
            RPCMethod.allCases.filter(\.isServerStreaming)
                == [.rangeStream, .watch, .leaseKeepAlive, .snapshot, .observe])
    }

    @Test("status codes have gRPC's numbers and the gateway's HTTP statuses") func statusCodes() {
        #expect(GRPCStatusCode.allCases.map(\.rawValue) == Array(0...16))
        #expect(
            GRPCStatusCode.allCases.map(\.httpStatus) == [
                200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401,
            ])
    }

    @Test("errors carry the texts that client libraries compare") func errors() {
        let samples: [(EtcdError, GRPCStatusCode, String)] = [
            (.emptyKey, .invalidArgument, "etcdserver: key is not provided"),
            (.keyNotFound, .invalidArgument, "etcdserver: key not found"),
            (.duplicateKey, .invalidArgument, "etcdserver: duplicate key given in txn request"),
            (.compacted, .outOfRange, "etcdserver: mvcc: required revision has been compacted"),
            (
                .futureRevision, .outOfRange,
                "etcdserver: mvcc: required revision is a future revision"
            ),
            (.leaseTTLTooLarge, .outOfRange, "etcdserver: too large lease TTL"),
            (.noSpace, .resourceExhausted, "etcdserver: mvcc: database space exceeded"),
            (.leaseNotFound, .notFound, "etcdserver: requested lease not found"),
            (.leaseExists, .failedPrecondition, "etcdserver: lease already exists"),
            (.permissionDenied, .permissionDenied, "etcdserver: permission denied"),
            (.invalidAuthToken, .unauthenticated, "etcdserver: invalid auth token"),
            (.noLeader, .unavailable, "etcdserver: no leader"),
            (
                .timeoutDueToLeaderFailure, .unavailable,
                "etcdserver: request timed out, possibly due to previous leader failure"
            ),
            (.corrupt, .dataLoss, "etcdserver: corrupt cluster"),
            (.deadlineExceeded, .deadlineExceeded, "etcdserver: context deadline exceeded"),
        ]
        for (error, code, text) in samples {
            #expect(error.code == code)
            #expect(error.message == text)
        }
    }
}
