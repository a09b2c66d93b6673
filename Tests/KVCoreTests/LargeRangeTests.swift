import EtcdWire
import TestSupport
import Testing

@testable import KVCore

@Suite("Large ranges")
struct LargeRangeTests {
    private static let header = ResponseHeader(clusterID: 7, memberID: 8, revision: 1, raftTerm: 9)

    /// The answer in one piece.
    private func whole(_ member: Member, _ request: RangeRequest) throws -> [UInt8] {
        var bytes: [UInt8] = []
        try member.answer(request).encodeResponse(Self.header, into: &bytes)
        return bytes
    }

    /// Begins to read a range under the id 1.
    private func begin(
        _ member: Member, _ request: RangeRequest, maxSortedKeys: Int = RangeReaders.maxSortedKeys
    ) throws -> RangeReaders {
        var readers = RangeReaders(maxSortedKeys: maxSortedKeys)
        readers.start(
            1, try member.store.largeRange(request, header: Self.header),
            on: member.store.takeView())
        return readers
    }

    /// Reads a range to its end; `between` runs before each step.
    private func finish(
        _ readers: inout RangeReaders, visits: () -> Int = { 100 }, bytes: () -> Int = { 1_000 },
        between: (inout RangeReaders) -> Void = { _ in }
    ) throws -> [UInt8] {
        var response: [UInt8] = []
        var measured: Int?
        while true {
            between(&readers)
            switch try #require(try readers.step(1, visits: visits(), bytes: bytes())) {
            case .measuring: #expect(measured == nil)
            case .measured(let byteCount): measured = byteCount
            case .bytes(let bytes, let isLast):
                response += bytes
                guard isLast else { continue }
                #expect(measured == response.count)
                return response
            }
        }
    }

    private func change(_ member: Member, _ generator: inout Seeded, keys: Int) {
        let key = "k\(generator.below(keys))"
        switch generator.below(10) {
        case 0: member.delete(key)
        case 1: member.delete(key, end: "k\(generator.below(keys))")
        default:
            member.put(key, String(repeating: "v", count: generator.below(300)))
        }
    }

    private func request(_ generator: inout Seeded, keys: Int, revision: Int64) -> RangeRequest {
        let end = generator.chance(60) ? "\0" : (generator.chance(80) ? "k\(keys / 2)" : "")
        var request = rangeRequest(generator.chance(50) ? "\0" : "k1", end: end)
        func past() -> Int64 { max(1, revision - Int64(generator.below(100))) }
        if generator.chance(30) { request.revision = past() }
        if generator.chance(40) { request.limit = Int64(generator.below(keys * 2)) }
        if generator.chance(40) {
            request.sortOrder = [.none, .ascend, .descend][generator.below(3)]
            request.sortTarget = [.key, .version, .create, .mod, .value][generator.below(5)]
        }
        if generator.chance(20) { request.minModRevision = past() }
        if generator.chance(10) { request.maxModRevision = past() }
        if generator.chance(10) { request.minCreateRevision = past() }
        if generator.chance(10) { request.maxCreateRevision = past() }
        request.keysOnly = generator.chance(20)
        request.countOnly = generator.chance(10)
        return request
    }

    @Test(
        "read in steps are the bytes of one piece, while the map goes on and views change",
        arguments: 0..<40)
    func equality(seed: Int) throws {
        var generator = Seeded(seed: UInt64(seed))
        let member = Member()
        let keys = 1 + generator.below(400)
        for _ in 0..<(keys * 2) { change(member, &generator, keys: keys) }
        for _ in 0..<20 {
            let request = request(&generator, keys: keys, revision: member.store.revision)
            let expected = try whole(member, request)
            var readers = try begin(member, request)
            var steps = Seeded(seed: generator.next())
            var others = Seeded(seed: generator.next())
            let response = try finish(
                &readers, visits: { 1 + steps.below(1 + keys) },
                bytes: { 1 + steps.below(steps.chance(50) ? 3 : 5_000) },
                between: { readers in
                    if others.chance(30) { change(member, &others, keys: keys) }
                    if others.chance(30) { readers.use(member.store.takeView()) }
                })
            #expect(response == expected)
            #expect(readers.count == 0)
            #expect(readers.viewCount == 0)
        }
    }

    @Test("with a limit keep few of the keys they sort")
    func pruning() throws {
        let member = Member()
        for number in 0..<15_000 { member.put("k\(number)", "\(number * 7_919 % 15_000)") }
        for (order, target) in [
            (SortOrder.descend, SortTarget.key), (.ascend, .value), (.descend, .mod),
        ] {
            let request = rangeRequest("\0", end: "\0", limit: 10, order: order, target: target)
            var readers = try begin(member, request, maxSortedKeys: 5_000)
            #expect(
                try finish(&readers, visits: { 512 }) == whole(member, request),
                "\(target), of which more than 5,000 at once would be an error")
        }
        let all = rangeRequest("\0", end: "\0", order: .descend)
        var readers = try begin(member, all, maxSortedKeys: 5_000)
        #expect(throws: EtcdError.tooManyRequests) { try finish(&readers) }
        #expect(readers.count == 0)
        // Of those that get their order from the tree nothing is kept, however many there are.
        var plain = try begin(member, rangeRequest("\0", end: "\0"), maxSortedKeys: 0)
        #expect(try finish(&plain).count > 15_000)
    }

    @Test("make no step larger than they are told")
    func stepSizes() throws {
        let member = Member()
        for number in 0..<2_000 { member.put("k\(number)", String(repeating: "v", count: 100)) }
        var readers = try begin(member, rangeRequest("\0", end: "\0"))
        var measuring = 0
        var sizes: [Int] = []
        while let step = try readers.step(1, visits: 500, bytes: 4_096) {
            switch step {
            case .measuring: measuring += 1
            case .measured: break
            case .bytes(let bytes, _): sizes.append(bytes.count)
            }
        }
        #expect(measuring == 3)
        #expect(sizes.allSatisfy { $0 <= 4_096 + 150 })
        #expect(sizes.count > 50)
    }

    // MARK: - Views

    @Test("hold no view but the newest, until a compaction overtakes them")
    func views() throws {
        let member = Member()
        for number in 0..<100 { member.put("k\(number)") }
        let request = rangeRequest("\0", end: "\0")
        let expected = try whole(member, request)
        var readers = try begin(member, request)
        for round in 0..<5 {
            member.put("k\(round)")
            readers.use(member.store.takeView())
            #expect(readers.viewCount == 1)
        }
        member.compact(member.store.revision)
        readers.use(member.store.takeView())
        #expect(readers.viewCount == 2, "the newest, and the last before the compaction")
        #expect(member.store.compactStep(budget: .max) == .heldByView)
        member.put("k1")
        member.compact(member.store.revision)
        readers.use(member.store.takeView())
        #expect(readers.viewCount == 2)
        #expect(try finish(&readers) == expected)
        #expect(readers.viewCount == 0)
        #expect(member.store.compactStep(budget: .max) == .finished)
    }

    @Test("that a compaction overtook long ago fail, and hold nothing back")
    func compacted() throws {
        let member = Member()
        for number in 0..<100 { member.put("k\(number)") }
        var readers = try begin(member, rangeRequest("\0", end: "\0"))
        _ = try readers.step(1, visits: 1_000, bytes: 10)
        _ = try readers.step(1, visits: 1_000, bytes: 10)
        member.put("k1")
        member.compact(member.store.revision)
        readers.use(member.store.takeView())
        for _ in 0..<RangeReaders.heldSweeps {
            readers.sweep(isIdle: false)
            #expect(readers.viewCount == 2)
        }
        readers.sweep(isIdle: false)
        #expect(readers.viewCount == 1)
        #expect(member.store.compactStep(budget: .max) == .finished)
        #expect(throws: EtcdError.compacted) { try readers.step(1, visits: 10, bytes: 10) }
        #expect(readers.count == 0)
        #expect(try readers.step(1, visits: 10, bytes: 10).map { _ in "a step" } == nil)
    }

    @Test("of slow clients hold no view at all and go on from a newer one")
    func idle() throws {
        let member = Member()
        for number in 0..<100 { member.put("k\(number)") }
        let request = rangeRequest("\0", end: "\0")
        let expected = try whole(member, request)
        var readers = try begin(member, request)
        _ = try readers.step(1, visits: 1_000, bytes: 10)
        _ = try readers.step(1, visits: 1_000, bytes: 10)
        readers.sweep(isIdle: true)
        #expect(readers.viewCount == 0)
        member.delete("\0", end: "\0")
        readers.use(member.store.takeView())
        let rest = try finishEncoding(&readers)
        #expect(expected.suffix(rest.count) == rest[...])
    }

    /// The bytes behind what was read already.
    private func finishEncoding(_ readers: inout RangeReaders) throws -> [UInt8] {
        var rest: [UInt8] = []
        while let step = try readers.step(1, visits: 10, bytes: 100) {
            if case .bytes(let bytes, _) = step { rest += bytes }
        }
        return rest
    }

    @Test("that are given up let go of their views")
    func end() throws {
        let member = Member()
        for number in 0..<100 { member.put("k\(number)") }
        var readers = try begin(member, rangeRequest("\0", end: "\0"))
        readers.end(1)
        #expect(readers.viewCount == 0)
        member.compact(member.store.revision)
        #expect(member.store.compactStep(budget: .max) == .finished)
    }

    // MARK: - What is small

    @Test("begin where keys, bytes or steps down a key's history become too many")
    func bounds() throws {
        let member = Member()
        for number in 0..<10 { member.put("k\(number)", String(repeating: "v", count: 98)) }
        func fits(_ request: RangeRequest, visits: Int, bytes: Int) throws -> Bool {
            let bounds = RangeBounds(visits: visits, bytes: bytes)
            return try member.store.range(request, within: bounds) != nil
        }
        let all = rangeRequest("\0", end: "\0")
        #expect(try fits(all, visits: 10, bytes: 1_000))
        #expect(try !fits(all, visits: 9, bytes: 1_000))
        #expect(try fits(all, visits: 10, bytes: 901))
        #expect(try !fits(all, visits: 10, bytes: 900), "nine are as many bytes")
        var few = all
        few.limit = 2
        #expect(try fits(few, visits: 10, bytes: 301), "what the limit leaves out has no bytes")
        #expect(try !fits(few, visits: 9, bytes: 1_000), "but is counted")
        var keysOnly = all
        keysOnly.keysOnly = true
        #expect(try fits(keysOnly, visits: 10, bytes: 19))
        #expect(try fits(rangeRequest("k1"), visits: 1, bytes: 1), "one key is never too large")
        for _ in 0..<20 { member.put("k1") }
        #expect(try fits(rangeRequest("k1"), visits: 1, bytes: 1))
        #expect(try fits(rangeRequest("k1", revision: 11), visits: 21, bytes: 1))
        #expect(try !fits(rangeRequest("k1", revision: 11), visits: 20, bytes: 1))
        #expect(try fits(rangeRequest("k1", revision: 2), visits: 22, bytes: 1))
        #expect(throws: EtcdError.futureRevision) {
            try fits(rangeRequest("k1", revision: 99), visits: 1, bytes: 1)
        }
    }
}
