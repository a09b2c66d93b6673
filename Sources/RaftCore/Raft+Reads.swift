/// Linearizable reads (thesis 6.4): the leader proves that it still leads, once for many reads.
extension Raft {
    /// Asks up to which index a read must wait, for a whole batch of reads at once.
    ///
    /// The answer is `readReady` or `readFailed` with the context, unless a message is lost or the
    /// leader changes on the way; the caller then asks again.
    public mutating func read(context: UInt64) {
        if role == .leader {
            addRead(context: context, origin: id)
        } else if let leader {
            send(.readIndexRequest(context: context), to: leader)
        } else {
            pending.effects.append(.readFailed(context: context))
        }
    }

    mutating func receiveReadIndexRequest(_ context: UInt64, from peer: MemberID) {
        if role == .leader {
            addRead(context: context, origin: peer)
        } else {
            send(.readIndexResponse(context: context, index: nil), to: peer)
        }
    }

    private mutating func addRead(context: UInt64, origin: MemberID) {
        let read = ReadRounds.Read(context: context, origin: origin, index: commitIndex)
        guard rounds.count + earlyReads.count < settings.maxPendingReads else {
            failRead(read)
            return
        }
        // Before something of its own term is committed a leader doesn't know the commit index.
        if commitIndex < termFirstIndex {
            earlyReads.append(read)
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
            if read.origin == id {
                pending.effects.append(.readReady(context: read.context, index: read.index))
            } else {
                if let state = progress[read.origin], state.sentCommit < read.index {
                    sendHeartbeat(to: read.origin)
                }
                send(
                    .readIndexResponse(context: read.context, index: read.index), to: read.origin)
            }
        }
    }

    mutating func failRead(_ read: ReadRounds.Read) {
        if read.origin == id {
            pending.effects.append(.readFailed(context: read.context))
        } else {
            send(.readIndexResponse(context: read.context, index: nil), to: read.origin)
        }
    }
}
