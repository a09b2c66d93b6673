import DurableLog
import RaftCore
import Replica

/// An account of what is on a member's platters, kept by watching its disk and not its log.
///
/// Two promises rest on it: an entry is committed only when a quorum's platters hold it, and what
/// was synced survives a crash. At most one batch is under way at a time, so after a crash a member
/// must come back with the account as it was, or with that batch on top.
struct PlatterAccount {
    /// A log as its records build it.
    struct Log: Equatable {
        var vote = RecordedVote(term: 0, vote: 0)
        var base = LogPosition.zero
        var positions: [LogPosition] = []

        var last: LogPosition { positions.last ?? base }

        func position(at index: LogIndex) -> LogPosition? {
            if index == base.index { return base }
            guard index > base.index, index <= last.index else { return nil }
            return positions[Int(index - base.index) - 1]
        }

        mutating func apply(_ record: LogRecord) {
            switch record {
            case .vote(let recorded): vote = recorded
            case .truncation(let index):
                let kept = index > base.index ? Int(index - base.index) : 0
                positions.removeLast(max(0, positions.count - kept))
            case .entry(let entry):
                let metadata = EntryMetadata(term: entry.term, bytes: entry.bytes)
                let chain = chainHash(last.chain, index: entry.index, entry: metadata)
                positions.append(LogPosition(index: entry.index, term: entry.term, chain: chain))
            case .compaction(let newBase):
                guard newBase.index > base.index else { return }
                positions.removeFirst(min(positions.count, Int(newBase.index - base.index)))
                base = LogPosition(
                    index: newBase.index, term: newBase.term, chain: newBase.chain)
            case .reset(let newBase):
                base = LogPosition(
                    index: newBase.index, term: newBase.term, chain: newBase.chain)
                positions.removeAll()
            }
        }
    }

    /// What survives whatever happens.
    private(set) var synced = Log()
    /// Batches that were written and not synced. More than one after a failed sync only.
    private var written: [[LogRecord]] = []
    /// What the system shows: with everything that was written.
    private var shown = Log()

    /// Notes a batch that was written. Should the power fail when it is on the platters and nothing
    /// behind it is, the member goes on from this log: it must be one.
    mutating func wrote(
        _ batch: LogInspection.Batch, by member: MemberID, canon: [LogPosition]
    ) throws(Violation) {
        written.append(batch.records)
        for record in batch.records {
            if case .entry(let entry) = record, entry.index != shown.last.index + 1 {
                throw Violation(
                    "EveryPrefixIsALog",
                    "\(member) writes entry \(entry.index) behind \(shown.last.label)")
            }
            shown.apply(record)
        }
        let last = shown.last
        guard last.term <= shown.vote.term else {
            throw Violation(
                "EveryPrefixIsALog",
                "\(member) writes \(last.label) while term \(shown.vote.term) is recorded")
        }
        let commit = min(batch.commitIndex, last.index)
        guard commit > shown.base.index, Int(commit) <= canon.count else { return }
        guard shown.position(at: commit) == canon[Int(commit) - 1] else {
            throw Violation(
                "EveryPrefixIsALog",
                """
                \(member) records \(batch.commitIndex) as committed while its log ends at \
                \(last.label); committed is \(canon[Int(commit) - 1].label)
                """)
        }
    }

    /// Notes that everything written so far is on the platters.
    mutating func syncedAll() {
        for record in written.joined() { synced.apply(record) }
        written.removeAll(keepingCapacity: true)
    }

    /// Compares with what a member read back, and goes on from there.
    ///
    /// - Parameter afterPowerLoss: what was read back is on the platters; otherwise it may still be
    ///   in the system's memory alone.
    mutating func recovered(
        _ log: Log, member: MemberID, afterPowerLoss: Bool
    ) throws(Violation) {
        var possible = synced
        var isExplained = log.agrees(with: possible)
        for batch in written {
            for record in batch { possible.apply(record) }
            isExplained = isExplained || log.agrees(with: possible)
        }
        guard isExplained else {
            throw Violation(
                "WhatWasSyncedSurvives",
                """
                \(member) had \(synced.summary) on its platters and recovered \(log.summary); \
                \(written.count) batches were under way
                """)
        }
        shown = log
        if afterPowerLoss || log.agrees(with: synced) {
            synced = log
            written.removeAll()
        }
    }
}

extension PlatterAccount.Log {
    /// The base may lag: records of a compaction may be repeated, or cut off, without a loss.
    func agrees(with other: Self) -> Bool {
        vote == other.vote && last == other.last
    }

    var summary: String { "\(last.label) on \(base.label) with term \(vote.term)" }
}

/// At the moment of commit a quorum of voters has the entry on its platters (thesis 3.5).
struct QuorumDurability {
    func observe(
        committed position: LogPosition, configuration: Configuration,
        platters: (MemberID) -> PlatterAccount.Log?
    ) throws(Violation) {
        let holders = configuration.voters.filter { voter in
            guard let log = platters(voter) else { return false }
            // What a snapshot replaced is held as well.
            return log.base.index > position.index || log.position(at: position.index) == position
        }
        guard holders.count >= configuration.quorumSize else {
            throw Violation(
                "QuorumDurability",
                """
                \(position.label) is committed, but of \(configuration.voters) only \(holders) \
                have it on disk
                """)
        }
    }
}
