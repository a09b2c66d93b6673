/// Linearizable reads (thesis 6.4): the leader proves that it still leads, once for many reads.
extension Raft {
    /// Asks up to which index a read must wait, for a whole batch of reads at once.
    ///
    /// The answer is `readReady` or `readFailed` with the context, unless a message is lost or the
    /// leader changes on the way; the caller then asks again.
    ///
    /// - Parameter calls: how many reads the batch has.
    public mutating func read(context: UInt64, calls: Int, now: Microseconds) {
        if role == .leader {
            addRead(
                .init(
                    context: context, origin: id, calls: calls, index: commitIndex,
                    receivedAt: now))
        } else if let leader {
            send(.readIndexRequest(context: context), to: leader)
        } else {
            pending.effects.append(.readFailed(context: context))
        }
    }

    mutating func receiveReadIndexRequest(
        _ context: UInt64, from peer: MemberID, now: Microseconds
    ) {
        if role == .leader {
            // How many there are only the peer knows; it is no matter of correctness.
            addRead(
                .init(
                    context: context, origin: peer, calls: 1, index: commitIndex, receivedAt: now))
        } else {
            send(.readIndexResponse(context: context, index: nil), to: peer)
        }
    }

    private mutating func addRead(_ read: ReadRounds.Read) {
        guard rounds.count + earlyReads.count < settings.maxPendingReads else {
            failRead(read)
            return
        }
        // Before something of its own term is committed a leader doesn't know the commit index.
        if commitIndex < termFirstIndex {
            earlyReads.append(read)
        } else if read.origin != id, configuration.hasQuorum({ $0 == id || $0 == read.origin }) {
            // The question is an answer: whoever asks in this term after the read came has taken no
            // part in a later one, and neither has this leader. Together they are a quorum, so
            // nobody can have been elected before the read, let alone committed anything.
            answer(read)
        } else {
            rounds.add(read)
        }
    }

    mutating func releaseEarlyReads() {
        for var read in earlyReads {
            read.index = commitIndex
            rounds.add(read)
        }
        earlyReads.removeAll()
    }

    mutating func confirmReads() {
        guard rounds.count > 0 else { return }
        let echoed = configuration.quorumIndex { voter in
            voter == id ? rounds.current : progress[voter]!.acknowledgedRound
        }
        for read in rounds.confirm(through: echoed) {
            answer(read)
        }
    }

    private mutating func answer(_ read: ReadRounds.Read) {
        if read.origin == id {
            pending.effects.append(.readReady(context: read.context, index: read.index))
            return
        }
        if let state = progress[read.origin], state.sentCommit < read.index {
            sendHeartbeat(to: read.origin)
        }
        send(.readIndexResponse(context: read.context, index: read.index), to: read.origin)
    }

    mutating func failRead(_ read: ReadRounds.Read) {
        if read.origin == id {
            pending.effects.append(.readFailed(context: read.context))
        } else {
            send(.readIndexResponse(context: read.context, index: nil), to: read.origin)
        }
    }

    // MARK: - Whom to ask

    func isAskedForRounds(_ peer: MemberID) -> Bool {
        roundVoters.chosen?.contains(peer) ?? configuration.isVoter(peer)
    }

    /// Runs at each heartbeat, before it leaves.
    mutating func chooseRoundVoters() {
        let isBusy =
            rounds.callsSinceHeartbeat * 1_000_000
            >= settings.manyReadsPerSecond * Int(settings.heartbeatIntervalMicroseconds)
        rounds.beginHeartbeat()
        roundVoters.choose(
            configuration.quorumSize - (configuration.isVoter(id) ? 1 : 0), of: configuration,
            isBusy: isBusy, heartbeatRound: rounds.current)
    }

    /// When reads have waited too long for the few that were asked.
    var roundsDeadline: Microseconds {
        guard roundVoters.chosen != nil, let since = rounds.oldestSince else { return .max }
        return since + settings.readPatienceMicroseconds
    }

    /// Somebody who was asked may not answer, or no longer counts: asks all the others, too.
    mutating func askEveryVoter() {
        guard let asked = roundVoters.chosen else { return }
        roundVoters.chooseEveryone()
        guard rounds.oldestSince != nil else { return }
        for voter in configuration.voters where voter != id && !asked.contains(voter) {
            sendHeartbeat(to: voter)
        }
    }
}
