import EtcdMessages
import Foundation
import RaftCore

/// Draws the calls of the clients.
struct CallGenerator {
    private let work: Scenario.Workload
    private var random: RandomStream
    private let totalWeight: UInt64
    private let leaseSeconds: ClosedRange<Int>

    init(work: Scenario.Workload, leaseSeconds: ClosedRange<Int>, random: RandomStream) {
        self.work = work
        self.random = random
        self.leaseSeconds = leaseSeconds
        let w = work.weights
        totalWeight =
            w.put + w.deleteRange + w.transaction + w.read + w.compact + w.grant + w.keepAlive
            + w.revoke + w.timeToLive
    }

    /// The next call, given the leases the clients know and the newest revision they have seen.
    mutating func next(_ id: CallID, leases: [Int64], revision: Int64) -> Call.Request {
        var ticket = random.next(in: 0..<totalWeight)
        func takes(_ weight: UInt64) -> Bool {
            if ticket < weight { return true }
            ticket -= weight
            return false
        }
        let w = work.weights
        if takes(w.put) { return .put(put(id, leases: leases)) }
        if takes(w.deleteRange) { return .deleteRange(deletion()) }
        if takes(w.transaction) {
            return .txn(transaction(id, leases: leases, revision: revision, depth: 0))
        }
        if takes(w.read) { return .range(range(revision: revision, mayBeSerializable: true)) }
        if takes(w.compact) { return .compact(revision: past(revision)) }
        if takes(w.keepAlive), let lease = random.pick(leases) { return .keepAlive(lease: lease) }
        if takes(w.revoke), let lease = random.pick(leases) { return .revoke(lease: lease) }
        if takes(w.timeToLive), let lease = random.pick(leases) {
            return .timeToLive(lease: lease)
        }
        return .grant(lease: Int64(id), seconds: Int64(random.draw(leaseSeconds)))
    }

    private mutating func past(_ revision: Int64) -> Int64 {
        // Now and then one that lies in the future.
        max(1, revision - Int64(random.draw(0...60)) + (random.chance(50) ? 40 : 0))
    }

    private mutating func key() -> Data { Data("k\(random.index(work.keys))".utf8) }

    private mutating func keys() -> (Data, Data) {
        if work.singleKeysOnly { return (key(), Data()) }
        return switch random.index(4) {
        case 0: (Data("k".utf8), Data([0]))
        case 1: (Data("k".utf8), Data("k\(random.index(work.keys))".utf8))
        default: (key(), Data())
        }
    }

    private mutating func put(_ id: CallID, leases: [Int64]) -> Etcdserverpb_PutRequest {
        var put = Etcdserverpb_PutRequest()
        put.key = key()
        put.value = Data("v\(id)".utf8)
        if random.chance(50) {
            put.value += Data(String(repeating: "x", count: random.draw(1...700)).utf8)
        }
        if random.chance(work.bulkPermille) {
            put.value += Data(repeating: UInt8(ascii: "b"), count: random.draw(500...3_000))
        }
        if work.singleKeysOnly { return put }
        put.prevKv = random.chance(300)
        if random.chance(250), let lease = random.pick(leases) { put.lease = lease }
        if random.chance(30) {
            put.ignoreValue = true
            put.value = Data()
        } else if random.chance(30) {
            put.ignoreLease = true
            put.lease = 0
        }
        return put
    }

    private mutating func deletion() -> Etcdserverpb_DeleteRangeRequest {
        var deletion = Etcdserverpb_DeleteRangeRequest()
        (deletion.key, deletion.rangeEnd) = random.chance(800) ? (key(), Data()) : keys()
        deletion.prevKv = random.chance(300)
        return deletion
    }

    private mutating func range(
        revision: Int64, mayBeSerializable: Bool
    ) -> Etcdserverpb_RangeRequest {
        var range = Etcdserverpb_RangeRequest()
        (range.key, range.rangeEnd) = keys()
        if work.singleKeysOnly { return range }
        if random.chance(100) { range.revision = past(revision) }
        if mayBeSerializable { range.serializable = random.chance(250) }
        if random.chance(100) { range.limit = Int64(random.draw(1...5)) }
        range.keysOnly = random.chance(50)
        range.countOnly = random.chance(50)
        return range
    }

    private mutating func transaction(
        _ id: CallID, leases: [Int64], revision: Int64, depth: Int
    ) -> Etcdserverpb_TxnRequest {
        var txn = Etcdserverpb_TxnRequest()
        for _ in 0..<random.draw(0...2) { txn.compare.append(compare(revision: revision)) }
        let isReadOnly = random.chance(150)
        txn.success = operations(
            id, leases: leases, revision: revision, depth: depth, readOnly: isReadOnly)
        txn.failure = operations(
            id, leases: leases, revision: revision, depth: depth, readOnly: isReadOnly)
        return txn
    }

    private mutating func compare(revision: Int64) -> Etcdserverpb_Compare {
        var compare = Etcdserverpb_Compare()
        compare.key = key()
        compare.result =
            random.pick([Etcdserverpb_Compare.CompareResult.equal, .greater, .less, .notEqual])
            ?? .equal
        let near = max(0, revision - Int64(random.draw(0...20)))
        switch random.index(4) {
        case 0:
            compare.target = .version
            compare.version = Int64(random.draw(0...4))
        case 1:
            compare.target = .mod
            compare.modRevision = near
        case 2:
            compare.target = .create
            compare.createRevision = random.chance(500) ? 0 : near
        default:
            compare.target = .value
            compare.value = Data("v\(random.draw(0...9))".utf8)
        }
        return compare
    }

    private mutating func operations(
        _ id: CallID, leases: [Int64], revision: Int64, depth: Int, readOnly: Bool
    ) -> [Etcdserverpb_RequestOp] {
        var operations: [Etcdserverpb_RequestOp] = []
        // A transaction may put a key once, and not where it deletes.
        var free = random.shuffled(Array(0..<work.keys))
        for _ in 0..<random.draw(0...3) {
            var operation = Etcdserverpb_RequestOp()
            switch readOnly ? 3 : random.index(8) {
            case 0, 1, 2:
                guard let chosen = free.popLast() else { continue }
                var put = put(id, leases: leases)
                put.key = Data("k\(chosen)".utf8)
                operation.requestPut = put
            case 4, 5:
                guard let chosen = free.popLast() else { continue }
                var deletion = deletion()
                deletion.key = Data("k\(chosen)".utf8)
                deletion.rangeEnd = Data()
                operation.requestDeleteRange = deletion
            case 6 where depth == 0:
                // Nothing that is written outside may be written inside: it only reads.
                var nested = Etcdserverpb_TxnRequest()
                nested.compare = [compare(revision: revision)]
                nested.success = self.operations(
                    id, leases: leases, revision: revision, depth: 1, readOnly: true)
                operation.requestTxn = nested
            default:
                operation.requestRange = range(revision: revision, mayBeSerializable: false)
            }
            operations.append(operation)
        }
        return operations
    }
}
