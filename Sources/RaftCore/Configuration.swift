/// Who takes part in consensus.
///
/// Voters form quorums; learners receive the log and count for nothing (thesis 4.2.1).
public struct Configuration: Equatable, Sendable {
    /// Voting members, ascending.
    public private(set) var voters: [MemberID]
    /// Members that only follow, ascending, disjoint from the voters.
    public private(set) var learners: [MemberID]
    /// Voters and learners, ascending.
    public private(set) var members: [MemberID]

    /// Creates a configuration; the order of the arguments doesn't matter.
    public init(voters: [MemberID], learners: [MemberID] = []) {
        self.voters = voters.sorted()
        self.learners = learners.sorted()
        self.members = (voters + learners).sorted()
        precondition(
            zip(members, members.dropFirst()).allSatisfy { $0 < $1 },
            "a member stands twice in a configuration")
    }

    /// Whether the member's vote and acknowledgements count.
    public func isVoter(_ member: MemberID) -> Bool { voters.contains(member) }

    /// Whether the member belongs to the cluster at all.
    public func contains(_ member: MemberID) -> Bool {
        voters.contains(member) || learners.contains(member)
    }

    /// The least number of voters of which any two sets intersect.
    public var quorumSize: Int { voters.count / 2 + 1 }

    /// Whether every quorum of this configuration meets every quorum of the other: true when
    /// they differ by at most one voter (thesis 4.1).
    func isOneStep(from other: Configuration) -> Bool {
        let added = voters.filter { !other.voters.contains($0) }.count
        let removed = other.voters.filter { !voters.contains($0) }.count
        return added + removed <= 1
    }

    /// The largest index that a quorum of voters has reached.
    func quorumIndex(_ reached: (MemberID) -> LogIndex) -> LogIndex {
        // Each against each: voters are few, and a list to sort would be made anew for each answer.
        var largest: LogIndex = 0
        for voter in voters {
            let index = reached(voter)
            if index > largest, hasQuorum({ reached($0) >= index }) { largest = index }
        }
        return largest
    }

    /// Whether the voters for which the predicate holds are a quorum.
    func hasQuorum(_ predicate: (MemberID) -> Bool) -> Bool {
        var count = 0
        for voter in voters where predicate(voter) { count += 1 }
        return count >= quorumSize
    }
}

/// A configuration and the entry that brought it.
public struct ConfigurationEntry: Equatable, Sendable {
    /// Index of the entry; zero for the configuration the cluster was created with.
    public var index: LogIndex
    /// What it says.
    public var configuration: Configuration

    /// Creates a configuration entry.
    public init(index: LogIndex, configuration: Configuration) {
        self.index = index
        self.configuration = configuration
    }
}
