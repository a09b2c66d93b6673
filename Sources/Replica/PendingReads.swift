import EtcdWire
import RaftCore

/// A read that waits until this member has caught up with the moment it came.
struct PendingRead {
    enum Kind {
        case range(RangeRequest)
        case txn(TxnRequest)
        case leases
        case members
        case barrier
        /// A lease call this member answers as leader: a client's, or one a follower forwarded.
        case lease(LeaseRead)
    }
    /// Whom to answer; nil for a lease call, which is answered by its own context.
    var request: RequestID?
    var kind: Kind
    var deadline: Microseconds
}

/// A lease call on its way through a leadership round.
struct LeaseRead {
    var call: PeerMessage.LeaseCall
    /// The member that forwarded it; nil for a client of this member.
    var peer: MemberID?
    var receivedAt: Microseconds
    var deadline: Microseconds
}

/// Reads in the three stages they go through: not asked for yet, asked for under a context, and
/// confirmed for an index.
struct PendingReads {
    private struct Batch {
        var context: UInt64
        var reads: [PendingRead]
        /// Must be applied before the reads are served; nil until the leader said so.
        var index: LogIndex?
    }
    private var fresh: [PendingRead] = []
    private var batches: [Batch] = []
    private var nextContext: UInt64
    private(set) var count = 0
    /// When unanswered questions are asked again, for a message may be lost.
    private var retryAt: Microseconds = .max

    /// Pause before an unanswered question is asked again.
    static let retryMicroseconds: Microseconds = 500_000
    /// Pause before a refused question is asked again.
    static let refusedRetryMicroseconds: Microseconds = 20_000

    /// - Parameter firstContext: random, so that an answer meant for an earlier life of this
    ///   member is none for this one.
    init(firstContext: UInt64) { nextContext = firstContext }

    mutating func add(_ request: RequestID?, _ kind: PendingRead.Kind, deadline: Microseconds) {
        fresh.append(PendingRead(request: request, kind: kind, deadline: deadline))
        count += 1
    }

    /// Forgets a read whose client no longer waits, if it is one of these.
    mutating func cancel(_ request: RequestID) {
        let before = fresh.count + batches.reduce(0) { $0 + $1.reads.count }
        fresh.removeAll { $0.request == request }
        for position in batches.indices {
            batches[position].reads.removeAll { $0.request == request }
        }
        batches.removeAll { $0.reads.isEmpty }
        count -= before - fresh.count - batches.reduce(0) { $0 + $1.reads.count }
    }

    /// Puts all fresh reads under one context, if there are any.
    mutating func issue(now: Microseconds) -> UInt64? {
        guard !fresh.isEmpty else { return nil }
        let context = nextContext
        nextContext &+= 1
        batches.append(Batch(context: context, reads: fresh))
        fresh.removeAll(keepingCapacity: true)
        retryAt = min(retryAt, now + Self.retryMicroseconds)
        return context
    }

    mutating func confirm(context: UInt64, index: LogIndex) {
        guard let position = batches.firstIndex(where: { $0.context == context }) else { return }
        batches[position].index = index
    }

    /// The question can't be answered now; it is asked again a little later. At once would be a
    /// loop without end while nobody can answer.
    mutating func fail(context: UInt64, now: Microseconds) {
        guard batches.contains(where: { $0.context == context }) else { return }
        retryAt = min(retryAt, now + Self.refusedRetryMicroseconds)
    }

    /// Asks everything unanswered again: the leader changed, or an answer may be lost.
    mutating func restart() {
        let unanswered = batches.filter { $0.index == nil }
        guard !unanswered.isEmpty else { return }
        batches.removeAll { $0.index == nil }
        fresh.insert(contentsOf: unanswered.flatMap(\.reads), at: 0)
        retryAt = .max
    }

    /// Takes out the reads that may be served.
    mutating func takeReady(applied: LogIndex) -> [PendingRead] {
        var ready: [PendingRead] = []
        batches.removeAll { batch in
            guard let index = batch.index, index <= applied else { return false }
            ready += batch.reads
            return true
        }
        count -= ready.count
        if batches.isEmpty { retryAt = .max }
        return ready
    }

    var nextDeadline: Microseconds? {
        var deadline = batches.isEmpty ? .max : retryAt
        if let first = fresh.first { deadline = min(deadline, first.deadline) }
        for batch in batches { deadline = min(deadline, batch.reads[0].deadline) }
        return deadline == .max ? nil : deadline
    }

    /// Takes out the reads that waited too long, and restarts questions without an answer.
    mutating func removeExpired(now: Microseconds) -> [RequestID] {
        var expired: [RequestID] = []
        var removed = 0
        func sweep(_ reads: inout [PendingRead]) {
            reads.removeAll { read in
                guard read.deadline <= now else { return false }
                removed += 1
                if let request = read.request { expired.append(request) }
                return true
            }
        }
        sweep(&fresh)
        for position in batches.indices { sweep(&batches[position].reads) }
        batches.removeAll { $0.reads.isEmpty }
        count -= removed
        if retryAt <= now {
            retryAt = .max
            restart()
        }
        return expired
    }
}
