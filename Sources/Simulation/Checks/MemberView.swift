import RaftCore
import Replica

/// What the checks look at after each event of a member. `Replica` in the world, and a stand-in in
/// the tests in which each check must fail.
protocol MemberView: ~Copyable {
    var id: MemberID { get }
    var boot: UInt64 { get }
    var term: Term { get }
    var vote: MemberID? { get }
    var role: Raft.Role { get }
    var isLeader: Bool { get }
    /// The leader of its term, as far as it knows.
    var leader: MemberID? { get }
    /// The configuration it goes by.
    var configuration: Configuration { get }
    /// Index of the entry that brought it.
    var configurationIndex: LogIndex { get }
    var commitIndex: LogIndex { get }
    var appliedIndex: LogIndex { get }
    var lastIndex: LogIndex { get }
    /// Up to where it takes its log for durable.
    var durableIndex: LogIndex { get }
    var stateHash: UInt64 { get }
    var revision: Int64 { get }
    /// What a leader believes of its peers' logs.
    var peerMatches: [(member: MemberID, match: LogIndex)] { get }
    func position(at index: LogIndex) -> LogPosition?
    func configurations(behind index: LogIndex) -> Int
}

extension Replica: MemberView {}
