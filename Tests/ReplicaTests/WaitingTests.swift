import EtcdWire
import RaftCore
import TestSupport
import Testing

@testable import Replica

@Suite("What waits in a replica")
struct WaitingTests {
    @Test("calls come, go and expire as in a simple model", arguments: 0..<20)
    func model(seed: UInt64) {
        var random = Seeded(seed: seed)
        // Numbers wrap around on the way.
        let first = UInt64.max - 500
        var calls = WaitingCalls<Int>(firstNumber: first)
        var model: [(number: UInt64, call: Int, deadline: Microseconds)] = []
        var added: UInt64 = 0
        var now: Microseconds = 0
        for step in 0..<3_000 {
            now += .random(in: 0...3, using: &random)
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<5:
                // Those of one turn share theirs.
                let deadline =
                    Bool.random(using: &random)
                    ? now / 32 * 32 + 100 : now + .random(in: 0...200, using: &random)
                let number = calls.add(
                    step, deadline: CallDeadline(time: deadline, isClients: false))
                #expect(number == first &+ added)
                added += 1
                model.append((number, step, deadline))
            case 5..<9:
                guard let victim = model.indices.randomElement(using: &random) else { continue }
                let number = model.remove(at: victim).number
                let removed = calls.remove(number)
                #expect(removed != nil)
                let again = calls.remove(number)
                #expect(again == nil)
            default:
                var expired: Set<Int> = []
                while let call = calls.removeExpired(now: now)?.call { expired.insert(call) }
                #expect(expired == Set(model.filter { $0.deadline <= now }.map(\.call)))
                model.removeAll { $0.deadline <= now }
            }
            #expect(calls.count == model.count)
            #expect(calls.numbers == model.map(\.number))
            if let earliest = model.map(\.deadline).min() {
                #expect(calls.nextDeadline! <= earliest)
            }
        }
    }

    @Test("calls that were answered long before their deadline leave nothing behind")
    func answered() {
        var calls = WaitingCalls<Int>(firstNumber: 1)
        for call in 0..<100_000 {
            let number = calls.add(
                call,
                deadline: CallDeadline(time: 1 << 40 + Microseconds(call), isClients: true))
            _ = calls.remove(number)
        }
        #expect(calls.deadlines.count < 200)
    }

    @Test("renewals and ended leases leave nothing behind in the leases' clock")
    func leaseClock() {
        var clock = LeaseClock()
        clock.start(now: 0, checkpointEvery: 1 << 50)
        clock.set(1, grantedSeconds: 60, deadline: 60_000_000, hasCheckpoint: false)
        for time in 1...10_000 as ClosedRange<UInt64> {
            let renewal = clock.renew(1, from: time)
            #expect(renewal == .renewed(seconds: 60))
        }
        for lease in 2...10_000 as ClosedRange<Int64> {
            clock.set(lease, grantedSeconds: 90, deadline: 90_000_000, hasCheckpoint: false)
            clock.remove(lease)
        }
        #expect(clock.queue.count < 200)
        // Its last renewal counts, and only that.
        let early = clock.takeDue(now: 60_009_999, limit: 10)
        #expect(early == [])
        let due = clock.takeDue(now: 60_010_000, limit: 10)
        #expect(due == [1])
        let late = clock.renew(1, from: 60_010_000)
        #expect(late == .isExpiring)
    }

    @Test("leases that end together expire one entry after the other")
    func oneExpiryAtATime() {
        var clock = LeaseClock()
        clock.start(now: 0, checkpointEvery: 1 << 50)
        for lease in 1...5 as ClosedRange<Int64> {
            clock.set(lease, grantedSeconds: 1, deadline: 100, hasCheckpoint: false)
        }
        let first = clock.takeDue(now: 100, limit: 2)
        let whileUnderWay = clock.takeDue(now: 100, limit: 2)
        #expect(first.count == 2 && whileUnderWay == [])
        #expect(clock.nextDeadline > 100, "nothing to do until the outcome is there")
        clock.remove(first[0])
        clock.putBack(first[1])
        #expect(clock.nextDeadline == 100)
        let second = clock.takeDue(now: 100, limit: 10)
        #expect(Set(first + second) == [1, 2, 3, 4, 5] && second.count == 4)
    }

    private func deadline(_ time: Microseconds) -> CallDeadline {
        CallDeadline(time: time, isClients: false)
    }

    private func takeReady(_ reads: inout PendingReads, applied: LogIndex) -> [RequestID?] {
        var requests: [RequestID?] = []
        while let read = reads.popReady(applied: applied) { requests.append(read.request) }
        return requests
    }

    @Test("a refused question is asked again ever more rarely, and at once of another leader")
    func refusals() {
        var reads = PendingReads(firstContext: 100)
        reads.add(1, .barrier, deadline: deadline(60_000_000))
        var now: Microseconds = 0
        var pauses: [Microseconds] = []
        for _ in 0..<8 {
            let context = reads.issue(now: now)!.context
            reads.fail(context: context, now: now)
            let next = reads.nextDeadline!
            pauses.append(next - now)
            // Nothing is asked before its time.
            reads.askAgain(now: next - 1)
            let early = reads.issue(now: next - 1)
            #expect(early == nil)
            now = next
            reads.askAgain(now: now)
        }
        #expect(
            pauses == [20_000, 40_000, 80_000, 160_000, 320_000, 500_000, 500_000, 500_000])
        let context = reads.issue(now: now)!.context
        reads.fail(context: context, now: now)
        reads.restart()
        let asked = reads.issue(now: now)!.context
        reads.confirm(context: asked, index: 5)
        let early = takeReady(&reads, applied: 4)
        #expect(early == [])
        let served = takeReady(&reads, applied: 5)
        #expect(served == [1])
        #expect(reads.count == 0)
    }

    @Test("a refusal of one question leaves the others alone")
    func otherQuestions() {
        var reads = PendingReads(firstContext: 100)
        reads.add(1, .barrier, deadline: deadline(60_000_000))
        let first = reads.issue(now: 0)!.context
        reads.add(2, .barrier, deadline: deadline(60_000_000))
        let second = reads.issue(now: 0)!.context
        reads.fail(context: first, now: 0)
        reads.askAgain(now: 20_000)
        let third = reads.issue(now: 20_000)!.context
        reads.confirm(context: second, index: 1)
        reads.confirm(context: third, index: 1)
        let served = takeReady(&reads, applied: 1)
        #expect(served == [2, 1])
    }

    @Test("reads that are given up while nobody can be asked leave nothing behind")
    func cancelled() {
        var reads = PendingReads(firstContext: 100)
        reads.add(1, .barrier, deadline: deadline(1 << 40))
        for request in 2...200_000 as ClosedRange<RequestID> {
            reads.add(request, .barrier, deadline: deadline(1 << 40))
            reads.cancel(request)
        }
        #expect(reads.count == 1)
        #expect(reads.fresh.count < 200)
        let context = reads.issue(now: 0)!.context
        reads.confirm(context: context, index: 0)
        let served = takeReady(&reads, applied: 0)
        #expect(served == [1])
    }
}
