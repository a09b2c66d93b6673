import EtcdWire
import KVCore
import RaftCore
import TestSupport
import Testing

@testable import DurableLog
@testable import Fuzzing
@testable import Replica

@Suite("The checks of logs, snapshots and members see each breach")
struct StorageCanaryTests {
    private func recovered() throws -> (RecoveredLog, MemoryDisk) {
        var disk = LogSeeds.short.disk()
        return (try LogRecovery.open(&disk, identity: LogImage.identity), disk)
    }

    @Test("a log that makes no sense") func logSense() throws {
        let (log, _) = try recovered()
        try LogTarget.checkSense(log)
        var gap = log
        gap.entries.remove(at: 2)
        #expect(breaks("entries are consecutive") { try LogTarget.checkSense(gap) })
        var ahead = log
        ahead.commitIndex = ahead.lastIndex + 1
        #expect(breaks("what is committed is there") { try LogTarget.checkSense(ahead) })
    }

    @Test("a log that loses something when it is continued") func continuation() throws {
        let (log, disk) = try recovered()
        try LogTarget.checkContinuation(log, disk)
        var other = log
        other.entries[0].bytes = [1]
        #expect(
            breaks("a continued log keeps its entries") {
                try LogTarget.checkContinuation(other, disk)
            })
        var older = log
        older.entries = []
        #expect(
            breaks("a continued log can be opened") {
                try LogTarget.checkContinuation(older, disk)
            })
    }

    @Test("a synced batch that is lost without a word") func lostBatch() throws {
        let log = LogDamageTarget.logs[0]
        var disk = log.disk
        let whole = try #require(log.states.last)
        try LogDamageTarget.check(whole, of: log, &disk)
        var intact = disk
        #expect(
            breaks("a synced batch is not lost silently") {
                try LogDamageTarget.check(log.states[3], of: log, &intact)
            })
        // Where every batch behind it is damaged, nothing proves that it was synced.
        let batch = log.batches[4]
        var bytes = try disk.bytes(of: LogImage.file(0))
        for place in batch.offset..<bytes.count { bytes[place] = 0 }
        disk.put(LogImage.file(0), bytes)
        try LogDamageTarget.check(log.states[3], of: log, &disk)
        var empty = disk
        empty.put(LogImage.file(0), [UInt8](repeating: 0, count: bytes.count))
        #expect(
            breaks("a log without an intact batch is refused") {
                try LogDamageTarget.check(log.states[0], of: log, &empty)
            })
    }

    @Test("a snapshot that reads as another one") func snapshots() throws {
        var store = StoreSeeds.store(entries: 6)
        var other = StoreSeeds.store(entries: 9)
        let content = StoreSeeds.content(&store)
        try SnapshotContentTarget.check(&store, content)
        let wrong = StoreSeeds.content(&other)
        var isNoticed = breaksSnapshot(&store, wrong, "a decoded store comes back the same")
        #expect(isNoticed)
        isNoticed = breaksSnapshot(&store, [1, 2, 3], "a decoded store comes back")
        #expect(isNoticed)

        let file = SnapshotFileTarget().seeds()[0]
        let reading = SnapshotFileTarget.read(file, piece: 100)
        let base = try #require(reading.base)
        try SnapshotFileTarget.check(reading, loaded: base)
        var shorter = reading
        shorter.frames.removeLast()
        let changed = shorter
        #expect(
            breaks("pieces of any size mean the same") {
                try SnapshotFileTarget.check(reading, changed, fileBytes: file.count)
            })
        #expect(
            breaks("content is bounded by what LZ4 can pack") {
                try SnapshotFileTarget.check(reading, reading, fileBytes: -10_000)
            })
        var moved = base
        moved.index += 1
        let wrongBase = moved
        #expect(
            breaks("what is loaded is what was read") {
                try SnapshotFileTarget.check(reading, loaded: wrongBase)
            })
    }

    private func breaksSnapshot(
        _ store: inout Store, _ content: [UInt8], _ property: String
    ) -> Bool {
        do throws(PropertyBreach) {
            try SnapshotContentTarget.check(&store, content)
            return false
        } catch {
            return error.property == property
        }
    }

    @Test("entries that change what they may not") func entries() throws {
        let state: EntryCheck.State = (5, 1, 1)
        try EntryCheck(before: state, after: (6, 2, 2), changeCount: 1, failure: nil).check()
        #expect(
            breaks("a revision is made exactly when something changes") {
                try EntryCheck(before: state, after: state, changeCount: 1, failure: nil).check()
            })
        #expect(
            breaks("a failure changes nothing") {
                try EntryCheck(before: state, after: (5, 2, 1), changeCount: 0, failure: "no")
                    .check()
            })
        var store = StoreSeeds.store(entries: 6)
        var twin = StoreSeeds.store(entries: 7)
        var breach: PropertyBreach?
        do throws(PropertyBreach) {
            try EntryTarget.checkEqual(&store, &twin)
        } catch {
            breach = error
        }
        #expect(breach?.property == "stores that applied the same entries are equal")
    }

    @Test("calls that are answered wrongly, and members that stop or forget") func calls() throws {
        for answers: [Result<[UInt8], RequestFailure>] in [
            [], [.success([]), .success([])],
        ] {
            #expect(
                breaks("a call is answered once") { _ = try CallTarget.judge(answers, .put) })
        }
        #expect(
            breaks("answers are canonical protobuf") {
                _ = try CallTarget.judge([.success([1])], .put)
            })
        #expect(
            breaks("a barrier's answer is empty") {
                _ = try CallTarget.judge([.success([1])], .barrier)
            })
        let silent = RequestFailure(EtcdError(code: .internal, message: ""))
        #expect(
            breaks("a failure has a code and a text") {
                _ = try CallTarget.judge([.failure(silent)], .put)
            })
        #expect(
            breaks("no call stops a member") {
                try CallTarget.checkRunning(.diverged(index: 1, leader: 2))
            })
        #expect(
            breaks("a member starts with what it had") {
                try CallTarget.checkRestarted(["3"], ["4"])
            })
    }

    @Test("members that go back, or send what nobody reads") func members() throws {
        let status = MemberStatus(
            clusterID: 7, id: 1, leader: nil, term: 5, isLeader: false, isTransferring: false,
            isLearner: false, lastIndex: 9, commitIndex: 6, appliedIndex: 6, revision: 3,
            logicalBytes: 0, quotaBytes: 0, stateHash: 0, members: [])
        let changes: [(String, (inout MemberStatus) -> Void)] = [
            ("a term never decreases", { $0.term = 4 }),
            ("a commit is never taken back", { $0.commitIndex = 5 }),
            ("nothing is unapplied", { $0.appliedIndex = 5 }),
            ("what is applied is committed, what is committed is there", { $0.appliedIndex = 7 }),
            ("what is applied is committed, what is committed is there", { $0.lastIndex = 5 }),
        ]
        for (property, change) in changes {
            var next = status
            change(&next)
            let wrong = next
            #expect(
                breaks(property) {
                    var watch = MemberWatch(status)
                    try watch.take(wrong)
                })
        }
        var trace = BehaviourTrace()
        #expect(
            breaks("other members can read what is sent") {
                try PeerTarget.checkSent([99], to: 2, &trace)
            })
        let frame = Array(PeerTraffic.rare[0].dropFirst())
        try PeerTarget.checkCodec(frame, from: 2)
        #expect(
            breaks("a frame that was written can be read") {
                try PeerTarget.checkCodec(frame, from: 2) { _ in [] }
            })
        let other = Array(PeerTraffic.rare[1].dropFirst())
        #expect(
            breaks("a frame that was written reads back the same") {
                try PeerTarget.checkCodec(frame, from: 2) { _ in other }
            })
        #expect(
            breaks("no frame damages the log") {
                _ = try PeerTarget.kind(.log(.missing(file: "x", reason: "y")))
            })
        let disk = LogSeeds.short.disk()
        #expect(
            breaks("terms and committed entries are on disk") {
                try PeerTarget.checkDisk(disk, status)
            })
        #expect(breaks("the disk stays readable") { try PeerTarget.checkDisk(.init(), status) })
    }

    @Test("frames and texts that are cut differently") func programs() {
        #expect(
            breaks("pieces of any size mean the same") {
                try PeerFramingTarget.compare(.init(payloads: [[1]]), .init(payloads: []))
            })
        #expect(
            breaks("what was written reads back the same") {
                try PeerFramingTarget.checkReadsBack(1, 2)
            })
        #expect(
            breaks("each line is one element") { try TxnTextTarget.check(lines: 2, elements: 1) })
    }
}
