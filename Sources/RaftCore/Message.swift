/// What members say to one another.
public struct Message: Equatable, Sendable {
    /// Who says it.
    public var from: MemberID
    /// To whom.
    public var to: MemberID
    /// The sender's term; in a pre-vote request and a granted pre-vote, the term campaigned for.
    public var term: Term
    /// What is said.
    public var body: Body

    /// Creates a message.
    public init(from: MemberID, to: MemberID, term: Term, body: Body) {
        self.from = from
        self.to = to
        self.term = term
        self.body = body
    }

    /// The kinds of message.
    public enum Body: Equatable, Sendable {
        /// Would you vote for me? (thesis 9.6)
        case preVoteRequest(VoteRequest)
        /// The answer; it binds nobody.
        case preVoteResponse(granted: Bool)
        /// RequestVote (thesis 3.4).
        case voteRequest(VoteRequest)
        /// The answer to RequestVote.
        case voteResponse(granted: Bool)
        /// AppendEntries with entries, or a probe without (thesis 3.5).
        case append(Append)
        /// The answer to AppendEntries.
        case appendResponse(AppendResponse)
        /// The leader is alive; carries the commit index and a read round.
        case heartbeat(Heartbeat)
        /// The answer to a heartbeat.
        case heartbeatResponse(HeartbeatResponse)
        /// Campaign at once: leadership is handed over (thesis 3.10).
        case timeoutNow
        /// A follower asks up to which index it must have applied to answer a read (thesis 6.4).
        case readIndexRequest(context: UInt64)
        /// The answer; nil when the asked member could not tell.
        case readIndexResponse(context: UInt64, index: LogIndex?)
    }

    /// The log a candidate claims.
    public struct VoteRequest: Equatable, Sendable {
        /// Index of the candidate's last entry.
        public var lastIndex: LogIndex
        /// Term of that entry.
        public var lastTerm: Term
        /// Whether the leader itself asked for this election; then a live leader is no objection.
        public var isTransfer: Bool

        /// Creates a claim.
        public init(lastIndex: LogIndex, lastTerm: Term, isTransfer: Bool = false) {
            self.lastIndex = lastIndex
            self.lastTerm = lastTerm
            self.isTransfer = isTransfer
        }
    }

    /// Entries that follow `previous`.
    public struct Append: Equatable, Sendable {
        /// The position directly before the first entry.
        public var previous: LogPosition
        /// The entries' metadata; their bytes travel beside it.
        public var entries: [EntryMetadata]
        /// Which of the entries are configurations.
        public var configurations: [ConfigurationEntry]
        /// The leader's commit index.
        public var commitIndex: LogIndex
        /// The newest read round of this term.
        public var round: UInt64

        /// Creates an append.
        public init(
            previous: LogPosition, entries: [EntryMetadata],
            configurations: [ConfigurationEntry] = [], commitIndex: LogIndex, round: UInt64
        ) {
            self.previous = previous
            self.entries = entries
            self.configurations = configurations
            self.commitIndex = commitIndex
            self.round = round
        }

        /// Index of the last entry, or of the position before when there is none.
        public var lastIndex: LogIndex { previous.index + LogIndex(entries.count) }
    }

    /// How an append ended.
    public struct AppendResponse: Equatable, Sendable {
        /// Whether the entries now stand on the follower's disk.
        public enum Outcome: Equatable, Sendable {
            /// The follower's durable log agrees with the leader's up to this index.
            case matched(LogIndex)
            /// The follower has no entry like the append's `previous`; the hint is the last place
            /// where both may agree.
            case rejected(previous: LogIndex, hintIndex: LogIndex, hintTerm: Term)
        }
        /// How it ended.
        public var outcome: Outcome
        /// The read round the append carried.
        public var round: UInt64
        /// Whether somebody at the follower waits for commits.
        public var wantsCommits: Bool

        /// Creates a response.
        public init(outcome: Outcome, round: UInt64, wantsCommits: Bool) {
            self.outcome = outcome
            self.round = round
            self.wantsCommits = wantsCommits
        }
    }

    /// A sign of life.
    public struct Heartbeat: Equatable, Sendable {
        /// The leader's commit index, but never beyond what this follower is known to hold.
        public var commitIndex: LogIndex
        /// The newest read round of this term.
        public var round: UInt64

        /// Creates a heartbeat.
        public init(commitIndex: LogIndex, round: UInt64) {
            self.commitIndex = commitIndex
            self.round = round
        }
    }

    /// The answer to a sign of life.
    public struct HeartbeatResponse: Equatable, Sendable {
        /// The round the heartbeat carried; zero answers a leader of a past term.
        public var round: UInt64
        /// Whether somebody at the follower waits for commits.
        public var wantsCommits: Bool

        /// Creates a response.
        public init(round: UInt64, wantsCommits: Bool) {
            self.round = round
            self.wantsCommits = wantsCommits
        }
    }
}
