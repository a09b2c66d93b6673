import EtcdWire
import TestSupport
import Testing

@testable import KVCore

@Suite("Compaction and views")
struct CompactionTests {
    @Test(
        "a fresh store counts as compacted at -1: 0 succeeds once, the present does, more doesn't")
    func bounds() {
        let member = Member()
        #expect(member.compact(-1).error == .compacted)
        #expect(member.compact(0).error == nil)
        #expect(member.compact(0).error == .compacted)
        #expect(member.compact(2).error == .futureRevision)
        #expect(member.compact(1).error == nil)
        #expect(member.store.compactedRevision == 1)
    }

    @Test("reads are refused from the moment the compaction applies, whatever was trimmed")
    func immediate() throws {
        let member = Member()
        for number in 1...10 { member.put("k", "\(number)") }
        let view = member.store.takeView()
        member.compact(8)
        #expect(throws: EtcdError.compacted) { try member.get("k", revision: 7) }
        #expect(try member.get("k", revision: 8)?.value == "7")
        #expect(
            try view.range(rangeRequest("k", revision: 3)).versions.map { KV($0).value } == ["2"],
            "a view keeps its past")
    }

    @Test("trimming goes step by step, frees versions and drops deleted keys")
    func trimming() throws {
        let member = Member()
        for number in 0..<100 {
            member.put("k\(number)")
            member.delete("k\(number)")
        }
        member.put("last")
        member.compact(member.store.revision)
        #expect(member.store.keyCount == 101)
        #expect(member.store.compactStep(budget: 50) == .more)
        #expect(member.store.keyCount == 76)
        #expect(member.store.compactStep(budget: 1_000) == .finished)
        #expect(member.store.keyCount == 1)
        #expect(member.store.history.end - member.store.history.start == 1)
        #expect(member.store.compactStep(budget: 1) == .finished)
    }

    @Test("a view holds back the trimming of what it can see until it is released")
    func heldByView() throws {
        let member = Member()
        for number in 1...10 { member.put("k", "\(number)") }
        var view: StoreView? = member.store.takeView()
        member.compact(9)
        let newer = member.store.takeView()
        #expect(member.store.compactStep(budget: 100) == .heldByView)
        #expect(try view?.range(rangeRequest("k", revision: 2)).count == 1)
        view = nil
        #expect(member.store.compactStep(budget: 100) == .finished)
        #expect(try newer.range(rangeRequest("k", revision: 9)).count == 1)
        #expect(throws: EtcdError.compacted) { _ = try newer.range(rangeRequest("k", revision: 8)) }
    }

    @Test("hashKV depends on what is visible, not on trimming, and covers the asked revision only")
    func hashKV() throws {
        let (left, right) = (Member(), Member())
        for member in [left, right] {
            for number in 0..<20 {
                member.put("k\(number % 4)", "\(number)")
                if number % 5 == 4 { member.delete("k\(number % 4)") }
            }
            member.compact(12)
        }
        right.trim()
        let hash = try left.store.hashKV(revision: 0)
        #expect(try right.store.hashKV(revision: 0) == hash)
        #expect(hash.compactedRevision == 12 && hash.hashRevision == 25)
        let at15 = try left.store.hashKV(revision: 15)
        left.put("k0", "different")
        #expect(try left.store.hashKV(revision: 15) == at15)
        #expect(try left.store.hashKV(revision: 0).hash != hash.hash)
        #expect(try left.store.takeView().hashKV(revision: 15) == at15)
        #expect(throws: EtcdError.compacted) { _ = try left.store.hashKV(revision: 11) }
        #expect(throws: EtcdError.futureRevision) { _ = try left.store.hashKV(revision: 27) }
    }

    @Test(
        "members that trim and take views at different times stay equal, byte for byte",
        arguments: 0..<6)
    func determinism(seed: Int) throws {
        var generator = Seeded(seed: UInt64(seed) &+ 50)
        let (leader, follower) = (Member(), Member())
        var view: StoreView?
        for _ in 0..<2_000 {
            switch generator.below(12) {
            case 0: leader.delete("k\(generator.below(300))")
            case 1: leader.grant(Int64(generator.below(20)))
            case 2: leader.expire([Int64(generator.below(20)), Int64(generator.below(20))])
            case 3: leader.compact(leader.store.revision - Int64(generator.below(50)))
            default:
                leader.put("k\(generator.below(300))", "v", lease: Int64(generator.below(3)))
            }
            follower.apply(leader.log[leader.log.count - 1])
            #expect(follower.store.stateHash == leader.store.stateHash)
            if generator.chance(20) { _ = follower.store.compactStep(budget: generator.below(40)) }
            if generator.chance(3) { view = follower.store.takeView() }
            if generator.chance(3) { view = nil }
        }
        _ = view
        #expect(leader.snapshot() == follower.snapshot())
        #expect(try leader.store.hashKV(revision: 0) == follower.store.hashKV(revision: 0))
        #expect(leader.store.logicalBytes == follower.store.logicalBytes)
    }

    @Test("views are read on other threads while the store changes and trims")
    func otherThreads() async throws {
        let member = Member()
        for number in 0..<2_000 { member.put("k\(number)", "old") }
        try await withThrowingTaskGroup(of: Int.self) { group in
            for round in 0..<8 {
                let view = member.store.takeView()
                group.addTask {
                    var total = 0
                    for revision in (view.revision - 20)...view.revision {
                        let request = rangeRequest("\0", end: "\0", revision: revision)
                        total += Int(try view.range(request).count)
                    }
                    return total + encodeSnapshot(view).count
                }
                for number in 0..<500 {
                    member.put("k\(number * 3)", "new \(round)")
                    if number % 50 == 0 {
                        member.compact(member.store.revision - 100)
                        _ = member.store.compactStep(budget: 200)
                    }
                }
            }
            for try await total in group { #expect(total > 20 * 2_000) }
        }
        while member.store.compactStep(budget: 1_000) == .more {}
        #expect(member.store.compactStep(budget: 1_000) == .finished)
    }
}
