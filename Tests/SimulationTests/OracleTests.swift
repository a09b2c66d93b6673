import EtcdMessages
import EtcdWire
import Foundation
import KVCore
import RaftCore
import Replica
import SwiftProtobuf
import Testing

@testable import Simulation

/// The oracle of the clients, each of its judgements made to fall against a member that lies.
@Suite("The oracle notices")
struct OracleTests {
    private var oracle = Oracle(leases: LeaseOracle(driftPerMillion: 10_000, clocksJump: false))

    private func call(
        _ id: CallID, _ request: Call.Request, floor: Int64 = 1, at time: Microseconds = 0
    ) -> Call {
        Call(
            id: id, session: 0, request: request, invokedAt: time, member: 0, boot: 1,
            floor: floor, compactionFloor: 0)
    }

    private func put(_ key: String, _ value: String, lease: Int64 = 0) -> Call.Request {
        .put(
            Etcdserverpb_PutRequest.with {
                $0.key = Data(key.utf8)
                $0.value = Data(value.utf8)
                $0.lease = lease
            })
    }

    /// Whether a step, taken with a copy, breaks a promise.
    private func notices(_ step: (inout OracleTests) throws -> Void) throws -> Bool {
        var copy = self
        do {
            try step(&copy)
        } catch is Violation {
            return true
        }
        return false
    }

    private mutating func commit(
        _ call: Call, kind: EntryKind, index: LogIndex, now: Microseconds = 0
    ) throws {
        oracle.invoked(call)
        let bytes = Envelope.encode(
            kind: kind, origin: Origin(member: 1, boot: 1, sequence: index), body: call.body)
        try oracle.committed(
            bytes, at: LogPosition(index: index, term: 1, chain: index), now: now)
    }

    private mutating func expire(_ lease: Int64, index: LogIndex, now: Microseconds) throws {
        let bytes = Envelope.encode(
            kind: .leaseExpiry, origin: Origin(member: 1, boot: 1, sequence: index),
            body: LeaseExpiry(term: 1, ids: [lease]).encode())
        try oracle.committed(
            bytes, at: LogPosition(index: index, term: 1, chain: index), now: now)
    }

    private func bytes(_ message: some SwiftProtobuf.Message) throws -> [UInt8] {
        try message.serializedBytes()
    }

    private func putAnswer(revision: Int64) throws -> [UInt8] {
        try bytes(Etcdserverpb_PutResponse.with { $0.header.revision = revision })
    }

    private func rangeAnswer(revision: Int64, _ kvs: [Model.Version]) throws -> [UInt8] {
        try bytes(
            Etcdserverpb_RangeResponse.with {
                $0.header.revision = revision
                $0.count = Int64(kvs.count)
                $0.kvs = kvs.map(\.message)
            })
    }

    private let readOfA = Call.Request.range(
        Etcdserverpb_RangeRequest.with { $0.key = Data("a".utf8) })

    @Test("a write that is acknowledged and not committed, or at another revision")
    mutating func writes() throws {
        let first = call(1, put("a", "x"))
        let early = try notices { try $0.oracle.answered(first, putAnswer(revision: 2)) }
        #expect(early)
        try commit(first, kind: .put, index: 1)
        try oracle.answered(first, putAnswer(revision: 2))
        let second = call(2, put("a", "y"))
        try commit(second, kind: .put, index: 2)
        let wrong = try notices { try $0.oracle.answered(second, putAnswer(revision: 2)) }
        #expect(wrong)
    }

    @Test("a write that is in the log twice, or though it failed")
    mutating func twice() throws {
        let first = call(1, put("a", "x"))
        try commit(first, kind: .put, index: 1)
        let twice = try notices { try $0.commit(first, kind: .put, index: 2) }
        #expect(twice)
        let failed = call(2, put("a", "y"))
        try oracle.failed(failed, RequestFailure(.noLeader))
        let afterAll = try notices { try $0.commit(failed, kind: .put, index: 2) }
        #expect(afterAll)
        // One whose outcome is unknown may be committed later.
        let unknown = call(3, put("a", "z"))
        try oracle.failed(unknown, RequestFailure(.timeoutDueToLeaderFailure))
        try commit(unknown, kind: .put, index: 2)
    }

    @Test("a stale read, a wrong one and one of the future")
    mutating func reads() throws {
        let first = call(1, put("a", "x"))
        try commit(first, kind: .put, index: 1)
        let version = oracle.model.value(Array("a".utf8), at: 2)!
        try oracle.answered(call(2, readOfA, floor: 2), rangeAnswer(revision: 2, [version]))
        let lies: [(floor: Int64, answer: [UInt8])] = [
            (2, try rangeAnswer(revision: 1, [])), (2, try rangeAnswer(revision: 2, [])),
            (2, try rangeAnswer(revision: 3, [version])),
        ]
        for lie in lies {
            let isNoticed = try notices {
                try $0.oracle.answered(call(3, readOfA, floor: lie.floor), lie.answer)
            }
            #expect(isNoticed)
        }
    }

    @Test("a lease that ends early, is renewed after its end, or is called gone while it lives")
    mutating func leases() throws {
        try commit(
            call(7, .grant(lease: 7, seconds: 10), at: 1_000_000), kind: .leaseGrant, index: 1)
        func renewal(_ seconds: Int64) throws -> [UInt8] {
            try bytes(
                Etcdserverpb_LeaseKeepAliveResponse.with {
                    $0.header.revision = 1
                    $0.id = 7
                    $0.ttl = seconds
                })
        }
        let renew = call(8, .keepAlive(lease: 7), at: 5_000_000)
        let calledGone = try notices { try $0.oracle.answered(renew, renewal(0)) }
        #expect(calledGone)
        try oracle.answered(renew, try renewal(10))
        // One that was given up may have been carried out until then.
        let end = oracle.leases.lastEnd(newestLeadership: 0)
        oracle.ended(call(10, .keepAlive(lease: 7), at: 5_500_000), now: 7_000_000)
        #expect(oracle.leases.lastEnd(newestLeadership: 0) == end + 2_000_000)
        let early = try notices { try $0.expire(7, index: 2, now: 14_000_000) }
        #expect(early)
        try expire(7, index: 2, now: 15_000_000)
        let late = try notices {
            try $0.oracle.answered(call(9, .keepAlive(lease: 7), at: 16_000_000), renewal(10))
        }
        #expect(late)
    }

    // MARK: - Watches

    private static func notices(
        _ watch: WatchOracle, _ step: (inout WatchOracle) throws(Violation) -> Void
    ) -> Bool {
        var copy = watch
        do throws(Violation) {
            try step(&copy)
        } catch {
            return true
        }
        return false
    }

    private func event(_ change: Model.Change) -> Mvccpb_Event {
        Mvccpb_Event.with {
            $0.type = change.version.isDeletion ? .delete : .put
            $0.kv = change.version.message
        }
    }

    private func response(revision: Int64, _ events: [Mvccpb_Event]) -> Etcdserverpb_WatchResponse {
        Etcdserverpb_WatchResponse.with {
            $0.header.revision = revision
            $0.events = events
        }
    }

    @Test("an event that is lost, repeated, out of order or made up")
    mutating func watches() throws {
        for number in 1...4 {
            try commit(
                call(CallID(number), put("a", "\(number)")), kind: .put, index: LogIndex(number))
        }
        let model = oracle.model
        let events = (2...5).map { event(model.changes[$0][0]) }
        var watch = WatchOracle(key: Array("a".utf8), end: [], start: 2, wantsPrevious: false)
        try watch.received(response(revision: 5, [events[0], events[1]]), model: model)
        let isIncomplete = Self.notices(watch) { watch throws(Violation) in
            try watch.checkComplete(model)
        }
        #expect(isIncomplete)
        var invented = events[2]
        invented.kv.value = Data("other".utf8)
        let lies = [[events[3]], [events[1]], [events[3], events[2]], [invented]]
        for lie in lies {
            let answer = response(revision: 5, lie)
            let isNoticed = Self.notices(watch) { watch throws(Violation) in
                try watch.received(answer, model: model)
            }
            #expect(isNoticed)
        }
        let notice = response(revision: 5, [])
        let overtook = Self.notices(watch) { watch throws(Violation) in
            try watch.received(notice, model: model)
        }
        #expect(overtook, "a progress notice overtook events")
        try watch.received(response(revision: 5, [events[2], events[3]]), model: model)
        try watch.checkComplete(model)
    }
}
