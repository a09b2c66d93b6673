import RaftCore

@testable import Simulation

/// A member that says what a test wants it to say.
struct StandIn: MemberView {
    var id: MemberID = 1
    var boot: UInt64 = 1
    var term: Term = 1
    var vote: MemberID?
    var role = Raft.Role.follower
    var commitIndex: LogIndex = 0
    var appliedIndex: LogIndex = 0
    var stateHash: UInt64 = 0
    var revision: Int64 = 1
    var log: [LogPosition] = []
    var configurationIndexes: [LogIndex] = []
    var peerMatches: [(member: MemberID, match: LogIndex)] = []

    var following: MemberID?
    var configuration = Configuration(voters: [1, 2, 3])
    var durable: LogIndex?

    var isLeader: Bool { role == .leader }
    var leader: MemberID? { isLeader ? id : following }
    var configurationIndex: LogIndex { configurationIndexes.last ?? 0 }
    var durableIndex: LogIndex { durable ?? lastIndex }
    var lastIndex: LogIndex { log.last?.index ?? 0 }

    func position(at index: LogIndex) -> LogPosition? {
        if index == 0 { return .zero }
        return log.first { $0.index == index }
    }

    func configurations(behind index: LogIndex) -> Int {
        configurationIndexes.count { $0 > index }
    }

    /// A log of entries of these terms; the chain tells logs of other terms, or of another branch.
    static func log(terms: [Term], branch: UInt64 = 0) -> [LogPosition] {
        var chain = branch
        return terms.enumerated().map { place, term in
            chain = chain &* 31 &+ term
            return LogPosition(index: LogIndex(place + 1), term: term, chain: chain)
        }
    }
}
