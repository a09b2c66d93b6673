/// Snapshots and log compaction (thesis chapter 5).
extension Raft {
    /// Forgets the log up to and including `index`, which a durable snapshot covers.
    public mutating func compactLog(through index: LogIndex) {
        precondition(index <= snapshot.position.index, "no durable snapshot covers the entries")
        log.compact(through: index)
    }

    mutating func snapshotWritten(_ mark: SnapshotMark) {
        precondition(mark.position.index <= commitIndex, "a snapshot of uncommitted entries")
        if mark.position.index > snapshot.position.index { snapshot = mark }
    }

    mutating func snapshotSent(to peer: MemberID, succeeded: Bool) {
        guard role == .leader, case .snapshot(let index)? = progress[peer]?.mode else { return }
        if !succeeded {
            progress[peer]!.mode = .snapshot(0)  // So that the probe starts at the match.
        } else if index < log.base.index {
            progress[peer]!.mode = .snapshot(0)
        }
        progress[peer]!.becomeProbe()
        if succeeded {
            replicate(to: peer)
        } else {
            // Wait for a sign of life before trying again.
            progress[peer]!.mode = .probe(awaitingAnswer: true)
        }
    }

    mutating func snapshotReceived(
        _ mark: SnapshotMark, from sender: MemberID, term senderTerm: Term, now: Microseconds
    ) {
        guard senderTerm == term, role == .follower else { return }
        let index = mark.position.index
        if index > commitIndex {
            if log.term(at: index) == mark.position.term {
                // The entries are here: the snapshot only proves them committed.
                commitIndex = index
                pending.committed = true
            } else {
                install(mark)
            }
        }
        let response = Message.AppendResponse(
            outcome: .matched(max(index, commitIndex)), round: 0, wantsCommits: wantsCommits)
        sendWhenDurable(.appendResponse(response), to: sender)
    }

    private mutating func install(_ mark: SnapshotMark) {
        log = EntryLog(base: mark.position, configuration: mark.configuration)
        disk.reset(to: mark.position.index)
        commitIndex = mark.position.index
        snapshot = mark
        pending.reset = mark
        pending.truncation = nil
        pending.effects.append(.restoreSnapshot(mark))
    }
}
