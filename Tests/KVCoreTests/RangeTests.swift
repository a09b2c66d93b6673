import EtcdWire
import TestSupport
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

    @Test("one key as it is now is answered in one piece, as ranges are")
    func point() throws {
        let member = letters()
        member.put("b", "2", lease: 0)
        member.put("f", "")
        member.delete("c")
        let header = ResponseHeader(clusterID: 7, memberID: 8, revision: 1, raftTerm: 9)
        var generator = Seeded(seed: 5)
        var points = 0
        for _ in 0..<2_000 {
            var request = rangeRequest(
                ["a", "b", "c", "f", "x"][generator.below(5)],
                limit: Int64(generator.below(3)) - 1,
                order: [.none, .ascend, .descend][generator.below(3)],
                target: [.key, .value, .mod][generator.below(3)])
            request.keysOnly = generator.chance(30)
            request.revision = Int64(generator.below(3)) - 1
            if generator.chance(10) { request.rangeEnd = "z".raw }
            if generator.chance(10) { request.countOnly = true }
            if generator.chance(10) { request.minModRevision = 4 }
            if generator.chance(10) { request.maxModRevision = 4 }
            if generator.chance(10) { request.minCreateRevision = 4 }
            if generator.chance(10) { request.maxCreateRevision = 4 }
            guard let bytes = try member.store.encodePoint(request, header: header) else {
                continue
            }
            points += 1
            var expected: [UInt8] = []
            try member.answer(request).encodeResponse(header, into: &expected)
            #expect(bytes == expected, "\(request)")
        }
        #expect(points > 500 && points < 1_500)
        var invalid = rangeRequest("a")
        invalid.sortOrder = .unrecognized(7)
        #expect(throws: EtcdError.invalidSortOption) {
            try member.store.encodePoint(invalid, header: header)
        }
        #expect(throws: EtcdError.emptyKey) {
            try member.store.encodePoint(rangeRequest(""), header: header)
        }
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
