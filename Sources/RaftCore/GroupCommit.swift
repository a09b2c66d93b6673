/// When a leader's new entries leave for its disk and its peers: those that come while a group is
/// under way gather, and are the next group.
///
/// A sync with its append, answer and wake-ups costs a member 200 µs of CPU, whatever it carries; so
/// the fewer groups, the more a machine commits. What alone is proposed leaves alone, at once.
struct GroupCommit: Equatable, Sendable {
    /// Entries up to here have left.
    private(set) var releasedIndex: LogIndex = 0
    /// Bytes of those behind it.
    private var gatheredBytes = 0
    /// When they leave although the group before them is still under way: to a quorum that is far
    /// away several groups travel at the same time.
    private var overtakingTime: Microseconds = 0
    /// How many entries were under way or waited when the last group was committed. Clients that
    /// ask again once they are answered bring as many soon.
    private var expectedCount: LogIndex = 0
    /// When to stop waiting for half of them.
    private var patienceEnd: Microseconds = 0

    /// Everything up to `index` has left already.
    init(releasedIndex index: LogIndex = 0) { releasedIndex = index }

    mutating func noteAppended(byteCount: Int) { gatheredBytes += byteCount }

    /// Notes that entries behind `oldCommit` are committed now, up to `commitIndex`.
    mutating func noteCommitted(
        from oldCommit: LogIndex, through commitIndex: LogIndex, lastIndex: LogIndex,
        now: Microseconds, settings: RaftSettings
    ) {
        guard commitIndex >= releasedIndex else { return }
        expectedCount = lastIndex - oldCommit
        patienceEnd = now + settings.groupPatienceMicroseconds
    }

    /// Lets the entries up to `lastIndex` go if their time has come. False if nothing leaves.
    mutating func release(
        through lastIndex: LogIndex, commitIndex: LogIndex, now: Microseconds,
        settings: RaftSettings
    ) -> Bool {
        guard releasedIndex < lastIndex else { return false }
        let count = lastIndex - releasedIndex
        let isMessageFull =
            gatheredBytes >= settings.maxMessageBytes
            || count >= LogIndex(settings.maxMessageEntries)
        let isComplete = releasedIndex <= commitIndex && 2 * count >= expectedCount
        guard
            isMessageFull || isComplete || now >= deadline(commitIndex: commitIndex)
        else { return false }
        releasedIndex = lastIndex
        gatheredBytes = 0
        overtakingTime = now + settings.groupOvertakingMicroseconds
        return true
    }

    /// When entries that gather leave at the latest.
    func deadline(commitIndex: LogIndex) -> Microseconds {
        releasedIndex <= commitIndex ? min(patienceEnd, overtakingTime) : overtakingTime
    }
}
