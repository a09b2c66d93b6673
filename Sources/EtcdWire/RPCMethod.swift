/// Every method of the API, with its gRPC path.
public enum RPCMethod: UInt8, CaseIterable, Sendable {
    // etcdserverpb.KV
    /// `etcdserverpb.KV/Range`.
    case range
    /// `etcdserverpb.KV/RangeStream`, answers with a stream.
    case rangeStream
    /// `etcdserverpb.KV/Put`.
    case put
    /// `etcdserverpb.KV/DeleteRange`.
    case deleteRange
    /// `etcdserverpb.KV/Txn`.
    case txn
    /// `etcdserverpb.KV/Compact`.
    case compact
    // etcdserverpb.Watch
    /// `etcdserverpb.Watch/Watch`, a stream both ways.
    case watch
    // etcdserverpb.Lease
    /// `etcdserverpb.Lease/LeaseGrant`.
    case leaseGrant
    /// `etcdserverpb.Lease/LeaseRevoke`.
    case leaseRevoke
    /// `etcdserverpb.Lease/LeaseKeepAlive`, a stream both ways.
    case leaseKeepAlive
    /// `etcdserverpb.Lease/LeaseTimeToLive`.
    case leaseTimeToLive
    /// `etcdserverpb.Lease/LeaseLeases`.
    case leaseLeases
    // etcdserverpb.Cluster
    /// `etcdserverpb.Cluster/MemberAdd`.
    case memberAdd
    /// `etcdserverpb.Cluster/MemberRemove`.
    case memberRemove
    /// `etcdserverpb.Cluster/MemberUpdate`.
    case memberUpdate
    /// `etcdserverpb.Cluster/MemberList`.
    case memberList
    /// `etcdserverpb.Cluster/MemberPromote`.
    case memberPromote
    // etcdserverpb.Maintenance
    /// `etcdserverpb.Maintenance/Alarm`.
    case alarm
    /// `etcdserverpb.Maintenance/Status`.
    case status
    /// `etcdserverpb.Maintenance/Defragment`.
    case defragment
    /// `etcdserverpb.Maintenance/Hash`.
    case hash
    /// `etcdserverpb.Maintenance/HashKV`.
    case hashKV
    /// `etcdserverpb.Maintenance/Snapshot`, answers with a stream.
    case snapshot
    /// `etcdserverpb.Maintenance/MoveLeader`.
    case moveLeader
    /// `etcdserverpb.Maintenance/Downgrade`.
    case downgrade
    // etcdserverpb.Auth
    /// `etcdserverpb.Auth/AuthEnable`.
    case authEnable
    /// `etcdserverpb.Auth/AuthDisable`.
    case authDisable
    /// `etcdserverpb.Auth/AuthStatus`.
    case authStatus
    /// `etcdserverpb.Auth/Authenticate`.
    case authenticate
    /// `etcdserverpb.Auth/UserAdd`.
    case authUserAdd
    /// `etcdserverpb.Auth/UserGet`.
    case authUserGet
    /// `etcdserverpb.Auth/UserList`.
    case authUserList
    /// `etcdserverpb.Auth/UserDelete`.
    case authUserDelete
    /// `etcdserverpb.Auth/UserChangePassword`.
    case authUserChangePassword
    /// `etcdserverpb.Auth/UserGrantRole`.
    case authUserGrantRole
    /// `etcdserverpb.Auth/UserRevokeRole`.
    case authUserRevokeRole
    /// `etcdserverpb.Auth/RoleAdd`.
    case authRoleAdd
    /// `etcdserverpb.Auth/RoleGet`.
    case authRoleGet
    /// `etcdserverpb.Auth/RoleList`.
    case authRoleList
    /// `etcdserverpb.Auth/RoleDelete`.
    case authRoleDelete
    /// `etcdserverpb.Auth/RoleGrantPermission`.
    case authRoleGrantPermission
    /// `etcdserverpb.Auth/RoleRevokePermission`.
    case authRoleRevokePermission
    // v3lockpb.Lock
    /// `v3lockpb.Lock/Lock`.
    case lock
    /// `v3lockpb.Lock/Unlock`.
    case unlock
    // v3electionpb.Election
    /// `v3electionpb.Election/Campaign`.
    case campaign
    /// `v3electionpb.Election/Proclaim`.
    case proclaim
    /// `v3electionpb.Election/Leader`.
    case leader
    /// `v3electionpb.Election/Observe`, answers with a stream.
    case observe
    /// `v3electionpb.Election/Resign`.
    case resign

    /// The method's path, as in the `:path` of a request.
    public var path: String {
        switch self {
        case .range: "/etcdserverpb.KV/Range"
        case .rangeStream: "/etcdserverpb.KV/RangeStream"
        case .put: "/etcdserverpb.KV/Put"
        case .deleteRange: "/etcdserverpb.KV/DeleteRange"
        case .txn: "/etcdserverpb.KV/Txn"
        case .compact: "/etcdserverpb.KV/Compact"
        case .watch: "/etcdserverpb.Watch/Watch"
        case .leaseGrant: "/etcdserverpb.Lease/LeaseGrant"
        case .leaseRevoke: "/etcdserverpb.Lease/LeaseRevoke"
        case .leaseKeepAlive: "/etcdserverpb.Lease/LeaseKeepAlive"
        case .leaseTimeToLive: "/etcdserverpb.Lease/LeaseTimeToLive"
        case .leaseLeases: "/etcdserverpb.Lease/LeaseLeases"
        case .memberAdd: "/etcdserverpb.Cluster/MemberAdd"
        case .memberRemove: "/etcdserverpb.Cluster/MemberRemove"
        case .memberUpdate: "/etcdserverpb.Cluster/MemberUpdate"
        case .memberList: "/etcdserverpb.Cluster/MemberList"
        case .memberPromote: "/etcdserverpb.Cluster/MemberPromote"
        case .alarm: "/etcdserverpb.Maintenance/Alarm"
        case .status: "/etcdserverpb.Maintenance/Status"
        case .defragment: "/etcdserverpb.Maintenance/Defragment"
        case .hash: "/etcdserverpb.Maintenance/Hash"
        case .hashKV: "/etcdserverpb.Maintenance/HashKV"
        case .snapshot: "/etcdserverpb.Maintenance/Snapshot"
        case .moveLeader: "/etcdserverpb.Maintenance/MoveLeader"
        case .downgrade: "/etcdserverpb.Maintenance/Downgrade"
        case .authEnable: "/etcdserverpb.Auth/AuthEnable"
        case .authDisable: "/etcdserverpb.Auth/AuthDisable"
        case .authStatus: "/etcdserverpb.Auth/AuthStatus"
        case .authenticate: "/etcdserverpb.Auth/Authenticate"
        case .authUserAdd: "/etcdserverpb.Auth/UserAdd"
        case .authUserGet: "/etcdserverpb.Auth/UserGet"
        case .authUserList: "/etcdserverpb.Auth/UserList"
        case .authUserDelete: "/etcdserverpb.Auth/UserDelete"
        case .authUserChangePassword: "/etcdserverpb.Auth/UserChangePassword"
        case .authUserGrantRole: "/etcdserverpb.Auth/UserGrantRole"
        case .authUserRevokeRole: "/etcdserverpb.Auth/UserRevokeRole"
        case .authRoleAdd: "/etcdserverpb.Auth/RoleAdd"
        case .authRoleGet: "/etcdserverpb.Auth/RoleGet"
        case .authRoleList: "/etcdserverpb.Auth/RoleList"
        case .authRoleDelete: "/etcdserverpb.Auth/RoleDelete"
        case .authRoleGrantPermission: "/etcdserverpb.Auth/RoleGrantPermission"
        case .authRoleRevokePermission: "/etcdserverpb.Auth/RoleRevokePermission"
        case .lock: "/v3lockpb.Lock/Lock"
        case .unlock: "/v3lockpb.Lock/Unlock"
        case .campaign: "/v3electionpb.Election/Campaign"
        case .proclaim: "/v3electionpb.Election/Proclaim"
        case .leader: "/v3electionpb.Election/Leader"
        case .observe: "/v3electionpb.Election/Observe"
        case .resign: "/v3electionpb.Election/Resign"
        }
    }

    /// True when the caller may send more than one message.
    public var isClientStreaming: Bool {
        self == .watch || self == .leaseKeepAlive
    }

    /// True when the answer may be more than one message.
    public var isServerStreaming: Bool {
        isClientStreaming || self == .rangeStream || self == .snapshot || self == .observe
    }

    /// The method that a request's `:path` names, or nil.
    public init?(path: String) {
        guard let method = Self.byPath[path] else { return nil }
        self = method
    }

    private static let byPath = Dictionary(uniqueKeysWithValues: allCases.map { ($0.path, $0) })
}
