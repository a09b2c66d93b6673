import EtcdWire
import RaftCore

/// A read that waits until this member has caught up with the moment it came.
struct PendingRead {
    enum Kind {
        case range(Shared<RangeRequest>)
        case txn(Shared<TxnRequest>)
        case leases
        case members
        case barrier
        /// A lease call this member answers as leader.
        case lease(LeaseRead)
    }
    /// The client's call; nil for a lease call that another member has forwarded.
    var request: RequestID?
    var kind: Kind
}

/// A value too large to be copied at each step of its way.
final class Shared<Value> {
    let value: Value

    init(_ value: consuming Value) { self.value = value }
}

/// A lease call on its way through a leadership round.
struct LeaseRead {
    /// Who waits for the answer.
    enum Caller {
        case client(RequestID, wantsKeys: Bool)
        /// The member that forwarded the call, under a context of its own.
        case member(MemberID, context: UInt64)
    }
    var purpose: PeerMessage.LeaseCall.Purpose
    var lease: Int64
    var caller: Caller
    var receivedAt: Microseconds
    var deadline: CallDeadline

    /// The client's call, if this member has it from a client.
    var request: RequestID? {
        guard case .client(let request, _) = caller else { return nil }
        return request
    }
}

/// Reads in the three stages they go through: not asked for yet, asked for under a context, and
/// confirmed for an index. Lease calls may be put aside before the first.
struct PendingReads {
    private struct Question {
        var context: UInt64
        var reads: [UInt64]
    }
    private struct Confirmation {
        /// Must be applied before the reads are served.
        var index: LogIndex
        var reads: [UInt64]
    }
    private var calls = WaitingCalls<PendingRead>(firstNumber: 1)
    /// The numbers of clients' reads, lease calls excepted.
    private var numbers = NumberedRing<UInt64>(firstNumber: 1)
    // Reads by number; one that was given up is passed over when its turn comes.
    private(set) var fresh: [UInt64] = []
    private var putAside: [UInt64] = []
    private var asked: [Question] = []
    private var refused: [UInt64] = []
    private var confirmed: [Confirmation] = []
    /// What is taken out now, from `nextReady` on.
    private var ready: [UInt64] = []
    private var nextReady = 0
    private var nextContext: UInt64
    /// When unanswered questions are asked again, for a message may be lost.
    private var retryAt: Microseconds = .max
    /// When refused questions are asked again.
    private var refusedRetryAt: Microseconds = .max
    private var refusalPause = Self.firstRefusalPauseMicroseconds

    /// Pause before an unanswered question is asked again.
    static let retryMicroseconds: Microseconds = 500_000
    /// Pause after the first refusal of a leader; each further one doubles it, up to the pause
    /// after no answer at all. A leader that stepped down can't confirm in its term again, and one
    /// that has too many questions isn't helped by more of them.
    static let firstRefusalPauseMicroseconds: Microseconds = 20_000

    /// - Parameter firstContext: random, so that an answer meant for an earlier life of this
    ///   member is none for this one.
    init(firstContext: UInt64) { nextContext = firstContext }

    /// Reads that wait.
    var count: Int { calls.count }

    mutating func add(
        _ request: RequestID, _ kind: consuming PendingRead.Kind, deadline: CallDeadline
    ) {
        let number = calls.add(PendingRead(request: request, kind: kind), deadline: deadline)
        numbers.insert(number, at: request)
        fresh.append(number)
    }

    /// Takes in a lease call. Those are never cancelled.
    mutating func add(_ lease: LeaseRead) {
        let call = PendingRead(request: lease.request, kind: .lease(lease))
        fresh.append(calls.add(call, deadline: lease.deadline))
    }

    /// Takes in a lease call that isn't asked for before `resume`.
    mutating func putAside(_ lease: LeaseRead) {
        add(lease)
        putAside.append(fresh.removeLast())
    }

    /// What was put aside may be asked for.
    mutating func resume() {
        guard !putAside.isEmpty else { return }
        fresh += putAside
        putAside.removeAll()
    }

    /// Forgets a read whose client no longer waits, if it is one of these.
    mutating func cancel(_ request: RequestID) {
        guard let number = numbers.remove(request) else { return }
        _ = calls.remove(number)
        forgetRemoved(&fresh)
        forgetRemoved(&refused)
    }

    /// While nobody can be asked, reads come and go here: those that went mustn't pile up.
    private func forgetRemoved(_ reads: inout [UInt64]) {
        guard reads.count > 2 * calls.count + 64 else { return }
        reads.removeAll { calls[$0] == nil }
    }

    /// Puts all fresh reads under one context, if there are any.
    mutating func issue(now: Microseconds) -> (context: UInt64, reads: Int)? {
        guard !fresh.isEmpty else { return nil }
        let context = nextContext
        nextContext &+= 1
        let count = fresh.count
        asked.append(Question(context: context, reads: fresh))
        fresh.removeAll(keepingCapacity: true)
        retryAt = min(retryAt, now + Self.retryMicroseconds)
        return (context, count)
    }

    mutating func confirm(context: UInt64, index: LogIndex) {
        guard let reads = takeQuestion(context) else { return }
        confirmed.append(Confirmation(index: index, reads: reads))
        refusalPause = Self.firstRefusalPauseMicroseconds
    }

    /// Whoever was asked doesn't lead or has too much to do; it is asked again later, and at once
    /// when another leader is known.
    mutating func fail(context: UInt64, now: Microseconds) {
        guard let reads = takeQuestion(context) else { return }
        refused += reads
        guard refusedRetryAt == .max else { return }
        refusedRetryAt = now + refusalPause
        refusalPause = min(2 * refusalPause, Self.retryMicroseconds)
    }

    private mutating func takeQuestion(_ context: UInt64) -> [UInt64]? {
        // Answers come in the order of the questions, so that this ends at the first.
        guard let position = asked.firstIndex(where: { $0.context == context }) else { return nil }
        let reads = asked.remove(at: position).reads
        if asked.isEmpty { retryAt = .max }
        return reads
    }

    /// Asks everything unanswered again: the leader or the link to it changed.
    mutating func restart() {
        askRefusedAgain()
        askUnansweredAgain()
        refusalPause = Self.firstRefusalPauseMicroseconds
    }

    private mutating func askRefusedAgain() {
        fresh.insert(contentsOf: refused, at: 0)
        refused.removeAll()
        refusedRetryAt = .max
    }

    private mutating func askUnansweredAgain() {
        fresh.insert(contentsOf: asked.flatMap(\.reads), at: 0)
        asked.removeAll()
        retryAt = .max
        forgetRemoved(&fresh)
    }

    /// Takes out a read that may be served.
    mutating func popReady(applied: LogIndex) -> PendingRead? {
        while true {
            while nextReady < ready.count {
                let number = ready[nextReady]
                nextReady += 1
                guard let read = calls.remove(number) else { continue }
                if let request = read.request { _ = numbers.remove(request) }
                return read
            }
            guard let position = confirmed.firstIndex(where: { $0.index <= applied }) else {
                return nil
            }
            ready = confirmed.remove(at: position).reads
            nextReady = 0
        }
    }

    var nextDeadline: Microseconds? {
        let deadline = min(calls.nextDeadline ?? .max, retryAt, refusedRetryAt)
        return deadline == .max ? nil : deadline
    }

    /// Takes out a read that waited too long; whose limit it was is told too.
    mutating func removeExpired(now: Microseconds) -> (call: PendingRead, deadline: CallDeadline)? {
        guard let expired = calls.removeExpired(now: now) else { return nil }
        if let request = expired.call.request { _ = numbers.remove(request) }
        return expired
    }

    /// Asks again what got no answer, or a refusal, for long enough.
    mutating func askAgain(now: Microseconds) {
        if refusedRetryAt <= now { askRefusedAgain() }
        if retryAt <= now { askUnansweredAgain() }
    }
}
