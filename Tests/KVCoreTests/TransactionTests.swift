import EtcdWire
import Testing

@testable import KVCore

private func put(_ key: String, _ value: String = "v") -> RequestOperation {
    .put(putRequest(key, value))
}

private func delete(_ key: String, end: String = "") -> RequestOperation {
    .deleteRange(deleteRequest(key, end: end))
}

private func nested(
    then success: [RequestOperation] = [], else failure: [RequestOperation] = []
) -> RequestOperation {
    .txn(txnRequest(then: success, else: failure))
}

private func validate(_ request: TxnRequest, _ limit: Int = 128) -> EtcdError? {
    do throws(EtcdError) {
        try Validation.check(request, maximumOperations: limit)
        return nil
    } catch {
        return error
    }
}

@Suite("Transactions")
struct TransactionTests {
    @Test("a missing key compares as 0, and no value compare holds for it")
    func missingKey() {
        let member = Member()
        func holds(_ compare: Compare) -> Bool? { member.txn(txnRequest([compare])).txn?.succeeded }
        #expect(holds(compare("x", .version, .equal, .version(0))) == true)
        #expect(holds(compare("x", .create, .equal, .createRevision(0))) == true)
        #expect(holds(compare("x", .mod, .less, .modRevision(1))) == true)
        #expect(holds(compare("x", .lease, .equal, .lease(0))) == true)
        #expect(holds(compare("x", .value, .equal, .value([]))) == false)
        #expect(holds(compare("x", .value, .notEqual, .value("v".raw))) == false)
        #expect(holds(compare("x", .version, .equal, .none)) == true)
        #expect(holds(compare("x", .version, .greater, .value([]))) == false)
    }

    @Test("a range compare holds if it holds for every key of the range")
    func rangeCompare() {
        let member = Member()
        member.put("a", "1")
        member.put("b", "2")
        func holds(_ compare: Compare) -> Bool? { member.txn(txnRequest([compare])).txn?.succeeded }
        #expect(holds(compare("a", .value, .greater, .value("0".raw), end: "c")) == true)
        #expect(holds(compare("a", .value, .greater, .value("1".raw), end: "c")) == false)
        #expect(holds(compare("a", .mod, .greater, .modRevision(1), end: "\0")) == true)
        #expect(holds(compare("c", .version, .equal, .version(0), end: "\0")) == true)
    }

    @Test("compares of nested transactions see the state before the transaction")
    func nestedCompares() throws {
        let member = Member()
        let inner = txnRequest(
            [compare("a", .version, .equal, .version(0))], then: [put("b", "unseen")],
            else: [put("b", "seen")])
        let result = member.txn(txnRequest(then: [put("a"), .txn(inner)]))
        #expect(result.txn?.responses.last?.txn?.succeeded == true)
        #expect(try member.get("b")?.value == "unseen")
        #expect(result.revision == 2, "one revision for the whole transaction")
    }

    @Test("a range sees the writes before it, in the order of the operations")
    func readYourWrites() {
        let member = Member()
        member.put("a", "old")
        let all = RequestOperation.range(rangeRequest("\0", end: "\0"))
        var before = rangeRequest("a")
        before.revision = 2
        let result = member.txn(
            txnRequest(then: [all, put("b", "new"), all, delete("a"), all, .range(before)]))
        let reads = result.txn?.responses.compactMap(\.range) ?? []
        #expect(reads.map { $0.versions.map { KV($0).key }.joined() } == ["a", "ab", "b", "a"])
        #expect(reads.map(\.revision) == [2, 3, 3, 3])
        #expect(member.changes.map { KV($0).key } == ["a", "b", "a"])
        #expect(member.changes.map(\.storage.subRevision) == [0, 0, 1])
    }

    @Test("a transaction that changes nothing doesn't advance the revision")
    func readOnly() throws {
        let member = Member()
        member.put("a")
        let read = txnRequest(then: [.range(rangeRequest("a"))])
        #expect(read.isReadOnly)
        #expect(member.txn(read).revision == 2)
        #expect(member.txn(txnRequest(then: [delete("nothing")])).revision == 2)
        #expect(!txnRequest(then: [nested(then: [.range(rangeRequest("a"))])]).isReadOnly)
        let direct = try member.store.read(read, maximumOperations: 128)
        #expect(direct.responses.first?.range?.count == 1)
    }

    @Test("a failed check of any operation that would run leaves everything as it was")
    func atomicFailure() {
        let member = Member()
        member.put("a")
        let hash = member.store.stateHash
        var future = rangeRequest("a")
        future.revision = 99
        var ignoring = putRequest("missing", "")
        ignoring.ignoreValue = true
        let bad: [(RequestOperation, EtcdError)] = [
            (.range(future), .futureRevision),
            (.put(ignoring), .keyNotFound),
            (.put(putRequest("x", "v", lease: 5)), .leaseNotFound),
            (.empty, .keyNotFound),
        ]
        for (operation, error) in bad {
            #expect(member.txn(txnRequest(then: [put("b"), operation])).error == error)
            #expect(
                member.txn(txnRequest(then: [put("b"), nested(then: [operation])])).error == error)
        }
        #expect(member.store.stateHash == hash && member.store.revision == 2)
        member.compact(2)
        member.put("a")
        var past = rangeRequest("a")
        past.revision = 1
        #expect(member.txn(txnRequest(then: [put("b"), .range(past)])).error == .compacted)
        #expect(
            member.txn(txnRequest(then: [put("b")], else: [.range(past)])).error == nil,
            "what doesn't run isn't checked")
    }

    @Test("checks on puts use the state before the transaction")
    func checksBefore() {
        let member = Member()
        var ignoring = putRequest("a", "")
        ignoring.ignoreValue = true
        #expect(
            member.txn(txnRequest(then: [delete("b"), .put(ignoring)])).error == .keyNotFound)
    }

    @Test("at most so many operations in a list, and a nested list has what its parent leaves")
    func operationLimit() {
        let four = (0..<4).map { put("\($0)") }
        #expect(validate(txnRequest(then: four), 4) == nil)
        #expect(validate(txnRequest(then: four), 3) == .tooManyOperations)
        #expect(validate(txnRequest(then: [nested(then: four)]), 5) == nil)
        #expect(validate(txnRequest(then: [nested(then: four)]), 4) == .tooManyOperations)
        let compares = (0..<4).map { compare("\($0)", .version, .equal, .version(0)) }
        #expect(validate(txnRequest(compares), 3) == .tooManyOperations)
        #expect(
            validate(txnRequest(compares, then: [nested(then: [put("a")])]), 4)
                == .tooManyOperations)
    }

    @Test("empty keys and empty operations are refused before anything else is looked at")
    func emptyKeys() {
        #expect(validate(txnRequest([compare("", .version, .equal, .none)])) == .emptyKey)
        #expect(validate(txnRequest(then: [put("")])) == .emptyKey)
        #expect(validate(txnRequest(else: [delete("")])) == .emptyKey)
        #expect(validate(txnRequest(then: [.range(rangeRequest(""))])) == .emptyKey)
        #expect(validate(txnRequest(then: [.empty])) == .keyNotFound)
        #expect(validate(txnRequest(then: [nested(else: [.empty])])) == .keyNotFound)
    }

    @Test("a key is put once, and not inside a deleted range, where both would run")
    func duplicateKeys() {
        let refused: [[RequestOperation]] = [
            [put("a"), put("a")],
            [put("a"), delete("a")],
            [delete("a", end: "c"), put("b")],
            [delete("a", end: "\0"), put("b")],
            [put("a"), nested(then: [put("a")])],
            [put("a"), nested(else: [put("a")])],
            [delete("a"), nested(then: [put("a")])],
            [nested(then: [delete("a", end: "b")]), put("a")],
            [nested(then: [put("a")]), nested(then: [put("a")])],
            [nested(then: [put("a")]), nested(else: [delete("a")])],
            [nested(then: [nested(then: [put("a")])]), put("a")],
        ]
        for operations in refused {
            #expect(validate(txnRequest(then: operations)) == .duplicateKey, "\(operations)")
            #expect(validate(txnRequest(else: operations)) == .duplicateKey)
            #expect(Member().txn(txnRequest(then: operations)).error == .duplicateKey)
        }
        let accepted: [[RequestOperation]] = [
            [put("a"), put("b")],
            [delete("a", end: "c"), put("c")],
            [delete("a", end: "c"), delete("b", end: "d"), put("e")],
            [delete("c", end: "a"), put("b")],
            [nested(then: [put("a")], else: [put("a")])],
            [nested(then: [put("a")], else: [delete("a")]), put("b")],
            [delete("a"), delete("a")],
        ]
        for operations in accepted {
            #expect(validate(txnRequest(then: operations)) == nil, "\(operations)")
        }
        #expect(validate(txnRequest(then: [put("a")], else: [put("a")])) == nil)
    }

    @Test("deleting a key twice deletes it once")
    func doubleDelete() {
        let member = Member()
        member.put("a")
        let result = member.txn(txnRequest(then: [delete("a"), delete("a", end: "c")]))
        #expect(result.txn.map(describe) == "true[delete 1; delete 0]")
        #expect(member.changes.count == 2)
    }
}
