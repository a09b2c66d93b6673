import EtcdWire
import Testing

@testable import KVCore

@Suite("Ranges")
struct RangeTests {
    /// a..e with values that sort the other way round, each put at its own revision 2..6.
    private func letters() -> Member {
        let member = Member()
        for (index, key) in ["a", "b", "c", "d", "e"].enumerated() {
            member.put(key, "\(9 - index)")
        }
        return member
    }

    private func keys(_ member: Member, _ request: RangeRequest) throws(EtcdError) -> String {
        try member.range(request).map(\.key).joined()
    }

    @Test("no range end is one key, \\0 every key from there, both \\0 all keys")
    func bounds() throws {
        let member = letters()
        #expect(try keys(member, rangeRequest("b")) == "b")
        #expect(try keys(member, rangeRequest("b", end: "d")) == "bc")
        #expect(try keys(member, rangeRequest("b", end: "\0")) == "bcde")
        #expect(try keys(member, rangeRequest("\0", end: "\0")) == "abcde")
        #expect(try keys(member, rangeRequest("d", end: "b")) == "")
        #expect(try keys(member, rangeRequest("d", end: "d")) == "")
    }

    @Test("count ignores limit and revision filters, more tells that the limit cut something")
    func countAndMore() throws {
        let member = letters()
        var request = rangeRequest("a", end: "\0", limit: 2)
        var answer = try member.answer(request)
        #expect(answer.versions.count == 2 && answer.count == 5 && answer.more)
        request.limit = 5
        answer = try member.answer(request)
        #expect(answer.versions.count == 5 && answer.count == 5 && !answer.more)
        request.limit = 1
        request.minModRevision = 4
        request.maxModRevision = 5
        answer = try member.answer(request)
        #expect(answer.versions.map { KV($0).key } == ["c"] && answer.count == 5 && answer.more)
        request.countOnly = true
        answer = try member.answer(request)
        #expect(answer.versions.isEmpty && answer.count == 5 && !answer.more)
    }

    @Test("without an order a target other than the key sorts what limit + 1 let through")
    func limitBeforeImplicitSort() throws {
        let member = letters()
        // Values 9, 8, 7 are fetched, sorted to c b a, then cut.
        #expect(
            try keys(member, rangeRequest("a", end: "\0", limit: 2, target: .value)) == "cb")
        // With an order everything is sorted first.
        #expect(
            try keys(
                member, rangeRequest("a", end: "\0", limit: 2, order: .ascend, target: .value))
                == "ed")
    }

    @Test("every target sorts both ways")
    func sorting() throws {
        let member = letters()
        member.put("a", "0")
        let targets: [(SortTarget, String)] = [
            (.key, "abcde"), (.version, "bcdea"), (.create, "abcde"), (.mod, "bcdea"),
            (.value, "aedcb"),
        ]
        for (target, order) in targets {
            #expect(
                try keys(member, rangeRequest("\0", end: "\0", order: .ascend, target: target))
                    == order)
        }
        #expect(
            try keys(member, rangeRequest("\0", end: "\0", order: .descend, target: .version))
                == "abcde", "equals stay in key order")
        #expect(
            try keys(member, rangeRequest("\0", end: "\0", order: .descend, target: .key))
                == "edcba")
    }

    @Test("a revision above the present is refused, so is one below the compaction")
    func revisions() throws {
        let member = letters()
        #expect(throws: EtcdError.futureRevision) { try member.get("a", revision: 7) }
        #expect(try member.get("e", revision: 6)?.value == "5")
        #expect(try member.get("e", revision: 5) == nil)
        #expect(try member.get("a", revision: -3)?.value == "9", "below 0 is the newest")
        member.compact(4)
        #expect(throws: EtcdError.compacted) { try member.get("a", revision: 3) }
        #expect(try member.get("a", revision: 4)?.value == "9")
    }

    @Test("an empty key and unknown sort options are refused")
    func invalid() {
        let member = letters()
        #expect(throws: EtcdError.emptyKey) { try member.range(rangeRequest("", end: "b")) }
        #expect(throws: EtcdError.invalidSortOption) {
            try member.range(rangeRequest("a", order: .unrecognized(3)))
        }
        #expect(throws: EtcdError.invalidSortOption) {
            try member.range(rangeRequest("a", target: .unrecognized(5)))
        }
    }
}
