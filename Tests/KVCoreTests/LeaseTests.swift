import EtcdWire
import Testing

@testable import KVCore

@Suite("Leases")
struct LeaseTests {
    @Test("granting needs a free id other than 0 and a TTL within bounds")
    func grant() {
        let member = Member()
        #expect(member.grant(1, ttl: 5).error == nil)
        #expect(member.store.lease(1) == LeaseInfo(id: 1, grantedSeconds: 5))
        #expect(member.grant(1, ttl: 5).error == .leaseExists)
        #expect(member.grant(0, ttl: 5).error == .malformedEntry)
        #expect(member.grant(2, ttl: 0).error == .malformedEntry)
        #expect(member.grant(2, ttl: 9_000_000_001).error == .leaseTTLTooLarge)
        #expect(member.grant(2, ttl: 9_000_000_000).error == nil)
        #expect(member.grant(-3).error == nil)
        #expect(member.store.allLeases().map(\.id) == [-3, 1, 2])
        #expect(member.store.revision == 1, "leases don't advance the revision")
    }

    @Test("a put on a lease that doesn't exist is refused")
    func unknownLease() {
        #expect(Member().put("k", lease: 1).error == .leaseNotFound)
    }

    @Test("a put moves its key from the old lease to the new one, or to none")
    func moving() {
        let member = Member()
        member.grant(1)
        member.grant(2)
        func keys(_ id: Int64) -> [String] { member.store.keys(ofLease: id).map { KV($0).key } }
        member.put("b", lease: 1)
        member.put("a", lease: 1)
        #expect(keys(1) == ["a", "b"])
        member.put("a", lease: 2)
        #expect(keys(1) == ["b"] && keys(2) == ["a"])
        member.put("a")
        #expect(keys(2) == [])
        member.put("b", "again", lease: 1)
        #expect(keys(1) == ["b"])
        member.delete("b")
        #expect(keys(1) == [])
    }

    @Test("revoking deletes the keys in order and in one revision")
    func revoke() throws {
        let member = Member()
        member.grant(1)
        for key in ["c", "a", "b"] { member.put(key, lease: 1) }
        member.put("free")
        let result = member.revoke(1)
        #expect(result.revision == 6)
        let deleted = member.changes.suffix(3)
        #expect(deleted.map { KV($0).key } == ["a", "b", "c"])
        #expect(deleted.allSatisfy { $0.isDeletion && $0.modRevision == 6 })
        #expect(member.revoke(1).error == .leaseNotFound)
        #expect(try member.range(rangeRequest("\0", end: "\0")).map(\.key) == ["free"])
    }

    @Test("revoking a lease without keys doesn't advance the revision")
    func revokeEmpty() {
        let member = Member()
        member.grant(1)
        #expect(member.revoke(1).revision == 1)
    }

    @Test("an expiry gives each lease a revision of its own, in the order of the entry")
    func expiry() {
        let member = Member()
        for id in Int64(1)...3 {
            member.grant(id)
            member.put("k\(id)", lease: id)
        }
        let result = member.expire([3, 9, 1, 3])
        guard case .leaseExpiry(let ids) = result.outcome else {
            Issue.record("not an expiry")
            return
        }
        #expect(Set(ids) == [1, 3])
        #expect(member.changes.suffix(2).map { KV($0).key } == ["k3", "k1"])
        #expect(member.changes.suffix(2).map(\.modRevision) == [5, 6])
        #expect(member.store.lease(2) != nil)
    }

    @Test("an expiry proposed in another term is void")
    func voidExpiry() {
        let member = Member()
        member.grant(1)
        member.put("k", lease: 1)
        member.term = 4
        let hash = member.store.stateHash
        guard case .leaseExpiryVoid = member.expire([1], term: 3).outcome else {
            Issue.record("not void")
            return
        }
        #expect(member.store.lease(1) != nil && member.store.stateHash == hash)
    }

    @Test("a checkpoint records what is left, within the granted time, and clears it with 0")
    func checkpoint() {
        let member = Member()
        member.grant(1, ttl: 10)
        func checkpoint(_ seconds: Int64) -> Int64? {
            let items = [
                LeaseCheckpoint.Item(id: 9, remainingSeconds: 1),
                LeaseCheckpoint.Item(id: 1, remainingSeconds: seconds),
            ]
            member.apply(.leaseCheckpoint, LeaseCheckpoint(items: items).encode())
            return member.store.lease(1)?.remainingSeconds
        }
        #expect(checkpoint(4) == 4)
        #expect(checkpoint(99) == 10)
        #expect(checkpoint(0) == 0)
        #expect(checkpoint(-1) == 0)
    }

    @Test("an expiry entry takes at most 500 leases and 2,000 keys, one large lease goes alone")
    func batches() {
        let member = Member()
        for id in Int64(1)...600 { member.grant(id) }
        let ids = Array(Int64(1)...600)
        #expect(member.store.expiryBatchCount(ids) == 500)
        #expect(member.store.expiryBatchCount([]) == 0)
        for number in 0..<1_500 { member.put("a\(number)", lease: 1) }
        for number in 0..<501 { member.put("b\(number)", lease: 2) }
        for number in 0..<2_500 { member.put("c\(number)", lease: 3) }
        #expect(member.store.expiryBatchCount(ids) == 1)
        #expect(member.store.expiryBatchCount([2, 1]) == 1)
        #expect(member.store.expiryBatchCount([3, 4]) == 1)
        #expect(member.store.expiryBatchCount([4, 2, 5]) == 3)
    }

    @Test("the bodies of expiry and checkpoint survive a round trip; damaged ones are refused")
    func bodies() {
        let expiry = LeaseExpiry(term: 7, ids: [1, -2, .max])
        #expect(LeaseExpiry.decode(expiry.encode()[...]) == expiry)
        let checkpoint = LeaseCheckpoint(items: [.init(id: 1, remainingSeconds: 2)])
        #expect(LeaseCheckpoint.decode(checkpoint.encode()[...]) == checkpoint)
        for count in 0..<expiry.encode().count {
            #expect(LeaseExpiry.decode(expiry.encode()[..<count]) == nil)
        }
        #expect(LeaseExpiry.decode((expiry.encode() + [0])[...]) == nil)
        var tooMany = LeaseExpiry(term: 7, ids: Array(1...500)).encode()
        tooMany[8] = 0xf5
        tooMany += [0, 0, 0, 0, 0, 0, 0, 0]
        #expect(LeaseExpiry.decode(tooMany[...]) == nil)
    }
}
