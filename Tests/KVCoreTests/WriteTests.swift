import EtcdWire
import TestSupport
import Testing

@testable import KVCore

@Suite("Puts and deletions")
struct WriteTests {
    @Test("a put creates at the next revision and counts versions until the deletion")
    func versions() throws {
        let member = Member()
        #expect(member.store.revision == 1)
        member.put("k", "1")
        member.put("k", "2")
        #expect(
            try member.get("k")
                == KV(key: "k", value: "2", create: 2, mod: 3, version: 2, lease: 0))
        member.delete("k")
        member.put("k", "3")
        #expect(
            try member.get("k")
                == KV(key: "k", value: "3", create: 5, mod: 5, version: 1, lease: 0))
        #expect(try member.get("k", revision: 4) == nil)
        #expect(try member.get("k", revision: 3)?.value == "2")
    }

    @Test("deleting nothing doesn't advance the revision")
    func deleteNothing() {
        let member = Member()
        let result = member.delete("nothing")
        #expect(result.deletion?.deleted == 0)
        #expect(result.revision == 1 && member.store.revision == 1)
    }

    @Test("a deletion returns what it deleted, if asked, and is one revision")
    func deleteRange() {
        let member = Member()
        for key in ["a", "b", "c"] { member.put(key, key) }
        let result = member.delete("a", end: "c", prevKV: true)
        #expect(result.deletion?.deleted == 2)
        #expect(result.deletion?.previous.map { KV($0).value } == ["a", "b"])
        #expect(result.revision == 5)
        #expect(member.changes.suffix(2).map(\.modRevision) == [5, 5])
    }

    @Test("ignore_value keeps the value, ignore_lease the lease; both need the key")
    func ignoreFlags() throws {
        let member = Member()
        member.grant(7)
        #expect(member.put(putRequest("k", "", ignoreValue: true)).error == .keyNotFound)
        #expect(member.put(putRequest("k", "v", ignoreLease: true)).error == .keyNotFound)
        member.put("k", "v", lease: 7)
        member.put(putRequest("k", "w", ignoreLease: true))
        #expect(try member.get("k")?.lease == 7)
        member.put(putRequest("k", "", ignoreValue: true))
        #expect(
            try member.get("k")
                == KV(key: "k", value: "w", create: 2, mod: 4, version: 3, lease: 0))
        #expect(member.put(putRequest("k", "x", ignoreValue: true)).error == .valueProvided)
        #expect(
            member.put(putRequest("k", "x", lease: 7, ignoreLease: true)).error == .leaseProvided)
        #expect(member.put(putRequest("", "x")).error == .emptyKey)
        #expect(member.store.revision == 4)
    }

    @Test("puts over the quota are refused, deletions never, and compaction makes room")
    func quota() {
        let perVersion = StoreLimits.versionOverheadBytes
        let member = Member(limits: StoreLimits(quotaBytes: 4 * (perVersion + 2)))
        for _ in 0..<4 { #expect(member.put("k", "v").error == nil) }
        #expect(member.put("k", "v").error == .noSpace)
        #expect(member.grant(1).error == .noSpace)
        let put = RequestOperation.put(putRequest("k", "v"))
        #expect(member.txn(txnRequest(then: [put])).error == .noSpace)
        #expect(member.txn(txnRequest(then: [.range(rangeRequest("k"))])).error == nil)
        let revision = member.store.revision
        #expect(member.delete("k").error == nil)
        #expect(member.store.logicalBytes > 4 * (perVersion + 2))
        member.compact(revision)
        #expect(member.store.logicalBytes == perVersion + 2 + perVersion + 1)
        #expect(member.put("k", "v").error == nil)
        member.compact(member.store.revision)
        #expect(member.store.logicalBytes == perVersion + 2)
    }

    @Test("an unreadable request fails and changes nothing but the applied index")
    func malformed() {
        let member = Member()
        member.put("k")
        let hash = member.store.stateHash
        for kind in EntryKind.allCases where !kind.isReserved && kind != .noop {
            #expect(member.apply(kind, [0xff, 0xff]).error == .malformedEntry)
        }
        #expect(member.store.stateHash == hash && member.store.revision == 2)
        #expect(member.store.appliedIndex == member.index)
    }

    @Test("random bytes as the body of any kind never stop the store")
    func randomBodies() {
        var generator = Seeded(seed: 5)
        let member = Member()
        let kinds = EntryKind.allCases.filter { !$0.isReserved }
        for _ in 0..<20_000 {
            let body = (0..<generator.below(40)).map { _ in UInt8(generator.below(40)) }
            member.apply(kinds[generator.below(kinds.count)], body)
        }
        #expect(member.store.appliedIndex == 20_000)
        #expect(throws: Never.self) { _ = try decodeSnapshot(member.snapshot()) }
    }

    @Test("each kind of change moves the state hash, and order matters")
    func stateHash() {
        let member = Member()
        var seen: Set<UInt64> = [member.store.stateHash]
        func expectNew() { #expect(seen.insert(member.store.stateHash).inserted) }
        member.put("a", "b")
        expectNew()
        member.grant(1)
        expectNew()
        member.put("a", "b", lease: 1)
        expectNew()
        member.apply(
            .leaseCheckpoint,
            LeaseCheckpoint(items: [.init(id: 1, remainingSeconds: 3)]).encode())
        expectNew()
        member.revoke(1)
        expectNew()
        member.compact(2)
        expectNew()
        member.apply(.configuration, MembershipRecord(members: [], removedIDs: [4]).encode())
        expectNew()
        member.apply(.noop, [])
        #expect(seen.contains(member.store.stateHash))
        let (left, right) = (Member(), Member())
        left.txn(txnRequest(then: [.put(putRequest("a", "1")), .put(putRequest("b", "1"))]))
        right.txn(txnRequest(then: [.put(putRequest("b", "1")), .put(putRequest("a", "1"))]))
        #expect(left.store.stateHash != right.store.stateHash)
    }
}
