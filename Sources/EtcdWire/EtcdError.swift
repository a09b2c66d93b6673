/// A failed call as clients know it: the gRPC code and the exact text, which client libraries
/// match literally to tell one error from another.
public struct EtcdError: Error, Equatable, Sendable {
    /// The gRPC status code.
    public let code: GRPCStatusCode
    /// The gRPC status message.
    public let message: String

    /// An error with a text of its own, for what the table does not have.
    public init(code: GRPCStatusCode, message: String) {
        self.code = code
        self.message = message
    }
}

// MARK: InvalidArgument

extension EtcdError {
    /// A request names no key.
    public static let emptyKey = EtcdError(
        code: .invalidArgument,
        message: "etcdserver: key is not provided")
    /// A put that keeps value or lease found no key; also an empty transaction operation.
    public static let keyNotFound = EtcdError(
        code: .invalidArgument,
        message: "etcdserver: key not found")
    /// `ignore_value` was given together with a value.
    public static let valueProvided = EtcdError(
        code: .invalidArgument,
        message: "etcdserver: value is provided")
    /// `ignore_lease` was given together with a lease.
    public static let leaseProvided = EtcdError(
        code: .invalidArgument,
        message: "etcdserver: lease is provided")
    /// A transaction list is longer than allowed.
    public static let tooManyOperations = EtcdError(
        code: .invalidArgument,
        message: "etcdserver: too many operations in txn request")
    /// A transaction branch writes one key twice.
    public static let duplicateKey = EtcdError(
        code: .invalidArgument,
        message: "etcdserver: duplicate key given in txn request")
    /// The client announced an API version that is not served.
    public static let invalidClientAPIVersion = EtcdError(
        code: .invalidArgument,
        message: "etcdserver: invalid client api version")
    /// A sort order or target is unknown.
    public static let invalidSortOption = EtcdError(
        code: .invalidArgument,
        message: "etcdserver: invalid sort option")
    /// A member URL cannot be used.
    public static let invalidMemberURLs = EtcdError(
        code: .invalidArgument,
        message: "etcdserver: given member URLs are invalid")
    /// The request is larger than the server accepts.
    public static let requestTooLarge = EtcdError(
        code: .invalidArgument,
        message: "etcdserver: request is too large")
    /// A user needs a name.
    public static let userNameEmpty = EtcdError(
        code: .invalidArgument,
        message: "etcdserver: user name is empty")
    /// A role needs a name.
    public static let roleNameEmpty = EtcdError(
        code: .invalidArgument,
        message: "etcdserver: role name is empty")
    /// Wrong name or wrong password; which of them is not told.
    public static let authenticationFailed = EtcdError(
        code: .invalidArgument,
        message: "etcdserver: authentication failed, invalid user ID or password")
    /// A permission is missing from the request.
    public static let permissionNotGiven = EtcdError(
        code: .invalidArgument,
        message: "etcdserver: permission not given")
    /// The change would lock everybody out.
    public static let invalidAuthManagement = EtcdError(
        code: .invalidArgument,
        message: "etcdserver: invalid auth management")
    /// The request was made under rules that have changed since; repeat it.
    public static let authRevisionOld = EtcdError(
        code: .invalidArgument,
        message: "etcdserver: revision of auth store is old")
    /// The downgrade target is no version.
    public static let wrongDowngradeVersionFormat = EtcdError(
        code: .invalidArgument,
        message: "etcdserver: wrong downgrade target version format")
    /// The downgrade target is not one minor version below.
    public static let invalidDowngradeTargetVersion = EtcdError(
        code: .invalidArgument,
        message: "etcdserver: invalid downgrade target version")
}

// MARK: OutOfRange

extension EtcdError {
    /// The revision is gone.
    public static let compacted = EtcdError(
        code: .outOfRange,
        message: "etcdserver: mvcc: required revision has been compacted")
    /// The revision does not exist yet.
    public static let futureRevision = EtcdError(
        code: .outOfRange,
        message: "etcdserver: mvcc: required revision is a future revision")
    /// The time to live is beyond 9,000,000,000 s.
    public static let leaseTTLTooLarge = EtcdError(
        code: .outOfRange,
        message: "etcdserver: too large lease TTL")
}

// MARK: ResourceExhausted

extension EtcdError {
    /// The store has reached its quota.
    public static let noSpace = EtcdError(
        code: .resourceExhausted,
        message: "etcdserver: mvcc: database space exceeded")
    /// Too many requests wait to be applied.
    public static let tooManyRequests = EtcdError(
        code: .resourceExhausted,
        message: "etcdserver: too many requests")
}

// MARK: NotFound

extension EtcdError {
    /// The lease does not exist.
    public static let leaseNotFound = EtcdError(
        code: .notFound,
        message: "etcdserver: requested lease not found")
    /// The member does not exist.
    public static let memberNotFound = EtcdError(
        code: .notFound,
        message: "etcdserver: member not found")
}

// MARK: FailedPrecondition

extension EtcdError {
    /// The wished lease id is in use.
    public static let leaseExists = EtcdError(
        code: .failedPrecondition,
        message: "etcdserver: lease already exists")
    /// The member id is in use.
    public static let memberExists = EtcdError(
        code: .failedPrecondition,
        message: "etcdserver: member ID already exist")
    /// Another member has one of the peer URLs.
    public static let peerURLsExist = EtcdError(
        code: .failedPrecondition,
        message: "etcdserver: Peer URLs already exists")
    /// The change would cost the quorum.
    public static let notEnoughStartedMembers = EtcdError(
        code: .failedPrecondition,
        message: "etcdserver: re-configuration failed due to not enough started members")
    /// The member is a voter already.
    public static let memberNotLearner = EtcdError(
        code: .failedPrecondition,
        message: "etcdserver: can only promote a learner member")
    /// The learner is too far behind.
    public static let learnerNotReady = EtcdError(
        code: .failedPrecondition,
        message: "etcdserver: can only promote a learner member which is in sync with leader")
    /// One learner at a time.
    public static let tooManyLearners = EtcdError(
        code: .failedPrecondition,
        message: "etcdserver: too many learner members in cluster")
    /// The request belongs to another cluster.
    public static let clusterIDMismatch = EtcdError(
        code: .failedPrecondition,
        message: "etcdserver: cluster ID mismatch")
    /// Authentication needs the user root.
    public static let rootUserNotExist = EtcdError(
        code: .failedPrecondition,
        message: "etcdserver: root user does not exist")
    /// The user root needs the role root.
    public static let rootRoleNotGranted = EtcdError(
        code: .failedPrecondition,
        message: "etcdserver: root user does not have root role")
    /// The user exists.
    public static let userExists = EtcdError(
        code: .failedPrecondition,
        message: "etcdserver: user name already exists")
    /// The user does not exist.
    public static let userNotFound = EtcdError(
        code: .failedPrecondition,
        message: "etcdserver: user name not found")
    /// The role exists.
    public static let roleExists = EtcdError(
        code: .failedPrecondition,
        message: "etcdserver: role name already exists")
    /// The role does not exist.
    public static let roleNotFound = EtcdError(
        code: .failedPrecondition,
        message: "etcdserver: role name not found")
    /// The user does not have the role.
    public static let roleNotGranted = EtcdError(
        code: .failedPrecondition,
        message: "etcdserver: role is not granted to the user")
    /// The role does not have the permission.
    public static let permissionNotGranted = EtcdError(
        code: .failedPrecondition,
        message: "etcdserver: permission is not granted to the role")
    /// Authentication is off.
    public static let authNotEnabled = EtcdError(
        code: .failedPrecondition,
        message: "etcdserver: authentication is not enabled")
    /// Only the leader can do this.
    public static let notLeader = EtcdError(
        code: .failedPrecondition,
        message: "etcdserver: not leader")
    /// The cluster version does not support this yet.
    public static let notCapable = EtcdError(
        code: .failedPrecondition,
        message: "etcdserver: not capable")
    /// A learner does not serve this call.
    public static let notSupportedForLearner = EtcdError(
        code: .failedPrecondition,
        message: "etcdserver: rpc not supported for learner")
    /// The chosen next leader cannot be one.
    public static let badLeaderTransferee = EtcdError(
        code: .failedPrecondition,
        message: "etcdserver: bad leader transferee")
    /// The cluster version is not decided yet.
    public static let clusterVersionUnavailable = EtcdError(
        code: .failedPrecondition,
        message: "etcdserver: cluster version not found during downgrade")
    /// A downgrade is under way.
    public static let downgradeInProgress = EtcdError(
        code: .failedPrecondition,
        message: "etcdserver: cluster has a downgrade job in progress")
    /// No downgrade is under way.
    public static let noInflightDowngrade = EtcdError(
        code: .failedPrecondition,
        message: "etcdserver: no inflight downgrade job")
}

// MARK: Canceled

extension EtcdError {
    /// The watch was canceled.
    public static let watchCanceled = EtcdError(
        code: .canceled,
        message: "etcdserver: watch canceled")
    /// The caller gave up.
    public static let requestCanceled = EtcdError(
        code: .canceled,
        message: "etcdserver: request canceled")
}

// MARK: PermissionDenied

extension EtcdError {
    /// The user may not do this.
    public static let permissionDenied = EtcdError(
        code: .permissionDenied,
        message: "etcdserver: permission denied")
}

// MARK: Unauthenticated

extension EtcdError {
    /// The token is unknown or has run out.
    public static let invalidAuthToken = EtcdError(
        code: .unauthenticated,
        message: "etcdserver: invalid auth token")
}

// MARK: Unavailable

extension EtcdError {
    /// The cluster has no leader now.
    public static let noLeader = EtcdError(code: .unavailable, message: "etcdserver: no leader")
    /// The leader changed while the request waited; its outcome is unknown.
    public static let leaderChanged = EtcdError(
        code: .unavailable,
        message: "etcdserver: leader changed")
    /// The server is stopping.
    public static let stopped = EtcdError(code: .unavailable, message: "etcdserver: server stopped")
    /// The request was not decided in time; its outcome is unknown.
    public static let timeout = EtcdError(
        code: .unavailable,
        message: "etcdserver: request timed out")
    /// As `timeout`, and the leader had just failed.
    public static let timeoutDueToLeaderFailure = EtcdError(
        code: .unavailable,
        message: "etcdserver: request timed out, possibly due to previous leader failure")
    /// As `timeout`, and the connection to the leader was lost.
    public static let timeoutDueToConnectionLost = EtcdError(
        code: .unavailable,
        message: "etcdserver: request timed out, possibly due to connection lost")
    /// The member did not catch up in time.
    public static let timeoutWaitingForAppliedIndex = EtcdError(
        code: .unavailable,
        message: "etcdserver: request timed out, waiting for the applied index took too long")
    /// The cluster is not fit for this change.
    public static let unhealthyCluster = EtcdError(
        code: .unavailable,
        message: "etcdserver: unhealthy cluster")
}

// MARK: DataLoss

extension EtcdError {
    /// Members disagree about the data.
    public static let corrupt = EtcdError(code: .dataLoss, message: "etcdserver: corrupt cluster")
}

// MARK: DeadlineExceeded

extension EtcdError {
    /// The caller's deadline passed.
    public static let deadlineExceeded = EtcdError(
        code: .deadlineExceeded,
        message: "etcdserver: context deadline exceeded")
}
