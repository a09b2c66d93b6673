import EtcdWire
import Testing

@testable import KVCore

@Suite("Watches: the past")
struct WatchHistoryTests {
    @Test("a start in the past replays history, then goes on live without gap or repetition")
    func history() {
        let watching = Watching()
        for number in 1...3 { watching.put("a", "\(number)") }
        watching.put("b")
        watching.watch("a", start: 3)
        watching.put("a", "4")
        watching.catchUp()
        watching.put("a", "5")
        #expect(
            watching.take() == ["1/0@5 created", "1/0@6 +a=2#3 +a=3#4 +a=4#6", "1/0@7 +a=5#7"])
    }

    @Test("a start in the future is silent until then")
    func future() {
        let watching = Watching()
        watching.watch("a", start: 4)
        for number in 1...4 { watching.put("a", "\(number)") }
        watching.catchUp()
        #expect(watching.take() == ["1/0@1 created", "1/0@4 +a=3#4", "1/0@5 +a=4#5"])
    }

    @Test("a start below the compaction is created, then cancelled; one exactly at it is served")
    func compacted() {
        let watching = Watching()
        for number in 1...4 { watching.put("a", "\(number)") }
        watching.delete("a")
        watching.member.compact(4)
        #expect(watching.watch("a", start: 3) == .compacted(watchID: 0))
        #expect(watching.watch("a", start: 4) == .created(watchID: 1))
        watching.catchUp()
        #expect(
            watching.take() == [
                "1/0@6 created", "1/0@6 canceled compact=4 '\(compactedText)'", "1/1@6 created",
                "1/1@6 +a=3#4 +a=4#5 -a#6",
            ])
    }

    @Test("a deletion at the compacted revision is still seen by a watch from there")
    func deletionAtCompaction() throws {
        let watching = Watching()
        watching.put("a")
        watching.delete("a")
        watching.put("b")
        watching.member.compact(3)
        watching.member.trim()
        watching.watch("a", end: "\0", start: 3)
        watching.catchUp()
        #expect(watching.take().last == "1/0@4 -a#3 +b=v#4")
        let restored = Watching()
        restored.member.store = try decodeSnapshot(watching.member.snapshot())
        restored.hub = WatchHub(revision: 4)
        restored.watch("a", end: "\0", start: 3)
        restored.catchUp()
        #expect(restored.take().last == "1/0@4 -a#3 +b=v#4")
    }

    @Test("a paused stream gets nothing, then everything it missed, then lives on")
    func paused() {
        let watching = Watching()
        watching.watch("a")
        watching.watch("x")
        watching.watch("a", stream: 2)
        _ = watching.take()
        watching.hub.pause(stream: 1)
        watching.put("a", "1")
        watching.put("a", "2")
        watching.catchUp()
        watching.hub.progress(stream: 1, into: &watching.deliveries)
        #expect(watching.take() == ["2/0@2 +a=1#2", "2/0@3 +a=2#3"])
        watching.hub.resume(stream: 1)
        watching.put("a", "3")
        watching.catchUp()
        watching.put("a", "4")
        watching.hub.progress(stream: 1, into: &watching.deliveries)
        #expect(
            watching.take() == [
                "2/0@4 +a=3#4", "1/0@4 +a=1#2 +a=2#3 +a=3#4", "2/0@5 +a=4#5", "1/0@5 +a=4#5",
                "1/-1@5 progress",
            ])
    }

    @Test("one revision gives a stream a bounded number of bytes at once, the rest by catching up")
    func boundedFanOut() {
        let watching = Watching()
        for _ in 0..<100 { watching.watch("a") }
        watching.watch("a", stream: 2)
        _ = watching.take()
        let value = String(repeating: "v", count: 100_000)
        watching.put("a", value)
        let atOnce = watching.deliveries.filter { $0.stream == 1 }
        #expect(atOnce.count == 11)
        #expect(watching.deliveries.contains { $0.stream == 2 })
        let isBehind = watching.hub.needsCatchUp
        #expect(isBehind)
        // Paused now, the stream gets nothing more; resumed, everybody gets it once.
        watching.hub.pause(stream: 1)
        watching.put("a", "short")
        watching.catchUp()
        #expect(watching.deliveries.filter { $0.stream == 1 }.count == 11)
        watching.hub.resume(stream: 1)
        watching.catchUp()
        var events: [Int64: Int] = [:]
        for delivery in watching.deliveries where delivery.stream == 1 {
            guard case .events(let batch, _) = delivery.kind else { continue }
            events[delivery.watchID, default: 0] += batch.count
        }
        #expect(events.count == 100)
        #expect(events.values.allSatisfy { $0 == 2 })
        let isStillBehind = watching.hub.needsCatchUp
        #expect(!isStillBehind)
    }

    @Test("many revisions and many streams share a bound until their owner took what there was")
    func boundedUntilTaken() {
        let watching = Watching()
        let value = String(repeating: "v", count: 1 << 19)
        for stream in 1...100 as ClosedRange<UInt64> { watching.watch("a", stream: stream) }
        _ = watching.take()
        func published() -> Int { watching.deliveries.count }
        // Two revisions fill the share of each stream, 64 streams what all have together.
        watching.put("a", value)
        #expect(published() == 100)
        watching.put("a", value)
        #expect(published() == 128)
        watching.put("a", value)
        #expect(published() == 128)
        watching.catchUp()
        #expect(published() == 300)
        // The next share is as large.
        watching.hub.deliveriesTaken()
        watching.put("a", value)
        #expect(published() == 400)
        for stream in 1...100 as ClosedRange<UInt64> {
            let revisions = watching.deliveries.filter { $0.stream == stream }.map(\.revision)
            #expect(revisions.count == 4)
            #expect(revisions == revisions.sorted())
        }
    }

    @Test("a watcher that compaction passes while paused is cancelled when its stream resumes")
    func compactedWhilePaused() {
        let watching = Watching()
        watching.watch("a")
        watching.hub.pause(stream: 1)
        for number in 1...5 { watching.put("a", "\(number)") }
        watching.member.compact(4)
        watching.hub.resume(stream: 1)
        watching.catchUp()
        #expect(
            watching.take() == ["1/0@1 created", "1/0@6 canceled compact=4 '\(compactedText)'"])
        #expect(watching.hub.watcherCount == 0)
    }

    @Test("catching up in small batches never splits a revision", arguments: [1, 60, 200])
    func batches(maxBytes: Int) {
        let watching = Watching()
        for number in 0..<50 {
            watching.member.txn(
                txnRequest(then: (0...(number % 3)).map { .put(putRequest("k\($0)", "\(number)")) })
            )
            watching.publish()
        }
        watching.watch("k", end: "l", start: 2)
        watching.watch("k1", start: 2)
        _ = watching.take()
        var steps = 0
        while watching.hub.catchUp(
            store: watching.member.store, maxBytes: maxBytes, into: &watching.deliveries) == .more
        { steps += 1 }
        #expect(steps > 3)
        var revisions: [Int64: [String]] = [:]
        for line in watching.take() where line.hasPrefix("1/0@") {
            let parts = line.split(separator: " ")
            var seen: Set<Int64> = []
            for event in parts.dropFirst() {
                let revision = Int64(event.split(separator: "#")[1])!
                if seen.insert(revision).inserted {
                    #expect(revisions[revision] == nil, "a revision came in two responses")
                }
                revisions[revision, default: []].append(String(event))
            }
        }
        #expect(revisions.keys.sorted() == Array(Int64(2)...51))
        #expect(revisions.values.allSatisfy { $0 == $0.sorted() })
        #expect(revisions.values.reduce(0) { $0 + $1.count } == 99)
    }

    @Test("a replaced store continues every watch where it was")
    func replacedStore() throws {
        let watching = Watching()
        watching.watch("a")
        watching.watch("a", start: 9)
        watching.put("a", "1")
        _ = watching.take()
        let ahead = Member(try decodeSnapshot(watching.member.snapshot()))
        ahead.put("a", "2")
        ahead.put("a", "3")
        watching.member.store = try decodeSnapshot(ahead.snapshot())
        watching.hub.storeReplaced(revision: 4)
        watching.catchUp()
        #expect(watching.take() == ["1/0@4 +a=2#3 +a=3#4"])
        for number in 4...6 { ahead.put("a", "\(number)") }
        ahead.compact(7)
        watching.member.store = try decodeSnapshot(ahead.snapshot())
        watching.hub.storeReplaced(revision: 7)
        watching.catchUp()
        #expect(watching.take() == ["1/0@7 canceled compact=7 '\(compactedText)'"])
    }

    @Test("narrow watches far behind find their changes without the whole history")
    func narrow() {
        let watching = Watching()
        watching.member.put("a", "1")
        for number in 0..<20_000 { watching.member.put("other/\(number % 5_000)") }
        watching.member.delete("a")
        watching.member.put("ab", "2")
        watching.publish()
        watching.watch("a", start: 2)
        watching.watch("a", end: "b", start: 2)
        watching.watch("a", end: "\0", start: 2, filters: .noPut)
        _ = watching.take()
        #expect(
            watching.hub.catchUp(
                store: watching.member.store, maxBytes: 1 << 20, into: &watching.deliveries)
                == .more)
        #expect(
            watching.take() == [
                "1/0@20004 +a=1#2 -a#20003", "1/1@20004 +a=1#2 -a#20003 +ab=2#20004",
            ])
        watching.catchUp()
        #expect(watching.take() == ["1/2@20004 -a#20003"])
    }
}
