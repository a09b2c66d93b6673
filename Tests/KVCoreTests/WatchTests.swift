import EtcdWire
import Testing

@testable import KVCore

@Suite("Watches: requests")
struct WatchRequestTests {
    @Test("the server picks ids from 0 on, skipping those in use, per stream")
    func ids() {
        let watching = Watching()
        #expect(watching.watch("a") == .created(watchID: 0))
        #expect(watching.watch("a", id: 1) == .created(watchID: 1))
        #expect(watching.watch("a") == .created(watchID: 2))
        #expect(watching.watch("a", stream: 2) == .created(watchID: 0))
        #expect(
            watching.take() == ["1/0@1 created", "1/1@1 created", "1/2@1 created", "2/0@1 created"])
    }

    @Test("refused creates answer created and canceled with watch id -1 and a reason")
    func refused() {
        let watching = Watching()
        watching.watch("a", id: 7)
        _ = watching.take()
        #expect(watching.watch("a", id: 7) == .refused)
        #expect(watching.watch("a", start: -1) == .refused)
        #expect(watching.watch("b", end: "a") == .refused)
        #expect(watching.watch("b", end: "b") == .refused)
        watching.hub.refuse(
            stream: 1, reason: EtcdError.permissionDenied.message, into: &watching.deliveries)
        #expect(
            watching.take() == [
                "1/-1@1 created canceled 'mvcc: duplicate watch ID provided on the WatchStream'",
                "1/-1@1 created canceled '\(compactedText)'",
                "1/-1@1 created canceled 'mvcc: watcher range is empty'",
                "1/-1@1 created canceled 'mvcc: watcher range is empty'",
                "1/-1@1 created canceled 'etcdserver: permission denied'",
            ])
        #expect(watching.hub.watcherCount == 1)
    }

    @Test("cancelling answers once and frees the id; an unknown id is passed over")
    func cancel() {
        let watching = Watching()
        watching.watch("a", id: 7)
        watching.hub.cancel(stream: 1, watchID: 7, into: &watching.deliveries)
        watching.hub.cancel(stream: 1, watchID: 7, into: &watching.deliveries)
        watching.hub.cancel(stream: 9, watchID: 7, into: &watching.deliveries)
        watching.put("a")
        #expect(watching.take() == ["1/7@1 created", "1/7@1 canceled"])
        #expect(watching.watch("a", id: 7) == .created(watchID: 7))
    }

    @Test("a closed stream gets nothing more, others do")
    func close() {
        let watching = Watching()
        watching.watch("a")
        watching.watch("a", end: "\0")
        watching.watch("a", start: 1)
        watching.watch("a", stream: 2)
        _ = watching.take()
        watching.hub.closeStream(1)
        watching.put("a")
        watching.catchUp()
        #expect(watching.take() == ["2/0@2 +a=v#2"])
        #expect(watching.hub.watcherCount == 1)
    }

    @Test("progress is answered when every watcher of the stream is synced, dropped otherwise")
    func progress() {
        let watching = Watching()
        watching.hub.progress(stream: 1, into: &watching.deliveries)
        watching.put("a")
        watching.watch("a")
        watching.watch("a", start: 1)
        _ = watching.take()
        watching.hub.progress(stream: 1, into: &watching.deliveries)
        #expect(watching.take() == [])
        watching.catchUp()
        watching.hub.progress(stream: 1, into: &watching.deliveries)
        #expect(watching.take() == ["1/1@2 +a=v#2", "1/-1@2 progress"])
    }

    @Test("progress notifications go to idle synced watches that asked for them")
    func progressNotify() {
        let watching = Watching()
        watching.watch("a", progressNotify: true)
        watching.watch("b", progressNotify: true)
        watching.watch("c")
        watching.put("a")
        _ = watching.take()
        watching.hub.notifyProgress(into: &watching.deliveries)
        #expect(watching.take() == ["1/1@2 progress"])
        watching.hub.notifyProgress(into: &watching.deliveries)
        #expect(watching.take() == ["1/0@2 progress", "1/1@2 progress"])
    }
}

@Suite("Watches: events")
struct WatchEventTests {
    @Test("an empty key is the smallest key")
    func emptyKey() {
        let watching = Watching()
        watching.watch("", end: "\0")
        watching.put("a")
        #expect(watching.take().last == "1/0@2 +a=v#2")
    }

    @Test("exact and range watches get their keys, puts and deletions, and no others")
    func matching() {
        let watching = Watching()
        watching.watch("b")
        watching.watch("a", end: "c")
        watching.watch("b", end: "\0")
        _ = watching.take()
        watching.put("a")
        watching.put("c")
        watching.delete("b")
        watching.put("b")
        watching.delete("b")
        #expect(
            watching.take().sorted() == [
                "1/0@4 +b=v#4", "1/0@5 -b#5", "1/1@2 +a=v#2", "1/1@4 +b=v#4", "1/1@5 -b#5",
                "1/2@3 +c=v#3", "1/2@4 +b=v#4", "1/2@5 -b#5",
            ])
    }

    @Test("all events of one revision come in one response, in the order of the transaction")
    func oneRevision() {
        let watching = Watching()
        watching.watch("a", end: "z")
        watching.put("b")
        _ = watching.take()
        watching.member.txn(
            txnRequest(then: [
                .put(putRequest("c", "1")), .deleteRange(deleteRequest("b")),
                .put(putRequest("a", "2")),
            ]))
        watching.publish()
        #expect(watching.take() == ["1/0@3 +c=1#3 -b#3 +a=2#3"])
    }

    @Test("filters leave out puts or deletions; all filtered, nothing is sent")
    func filters() {
        let watching = Watching()
        watching.watch("a", filters: .noPut)
        watching.watch("a", filters: .noDelete)
        watching.watch("a", filters: [.noPut, .noDelete])
        _ = watching.take()
        watching.put("a")
        watching.delete("a")
        #expect(watching.take() == ["1/1@2 +a=v#2", "1/0@3 -a#3"])
    }

    @Test("prev_kv is the value before, absent at creation and where compaction took it")
    func previous() {
        let watching = Watching()
        watching.watch("a", prevKV: true)
        watching.put("a", "1")
        watching.put("a", "2")
        watching.delete("a")
        watching.put("a", "3")
        #expect(
            watching.take().dropFirst() == [
                "1/0@2 +a=1#2", "1/0@3 +a=2#3<a=1#2", "1/0@4 -a#4<a=2#3", "1/0@5 +a=3#5",
            ])
        watching.member.compact(3)
        watching.watch("a", start: 3, prevKV: true)
        watching.catchUp()
        #expect(watching.take().last == "1/1@5 +a=2#3 -a#4<a=2#3 +a=3#5")
    }

    @Test("events of one change are encoded once for all watches that want the same")
    func sharedEncoding() {
        let watching = Watching()
        for _ in 0..<3 { watching.watch("a") }
        watching.deliveries = []
        watching.put("a", String(repeating: "x", count: 100))
        let addresses = watching.deliveries.compactMap { delivery -> UnsafeRawPointer? in
            guard case .events(let events, _) = delivery.kind else { return nil }
            return events[0].withUnsafeBytes { $0.baseAddress }
        }
        #expect(addresses.count == 3 && Set(addresses).count == 1)
    }

    @Test("with fragment a large revision is split, and all parts but the last say so")
    func fragments() {
        let watching = Watching(fragmentBytes: 100)
        watching.watch("a", end: "z", fragment: true)
        watching.watch("a", end: "z")
        _ = watching.take()
        let value = String(repeating: "x", count: 30)
        watching.member.txn(
            txnRequest(then: ["a", "b", "c", "d", "e"].map { .put(putRequest($0, value)) }))
        watching.publish()
        let lines = watching.take().map { $0.replacing(value, with: "") }
        #expect(
            lines == [
                "1/0@2 fragment +a=#2 +b=#2", "1/0@2 fragment +c=#2 +d=#2", "1/0@2 +e=#2",
                "1/1@2 +a=#2 +b=#2 +c=#2 +d=#2 +e=#2",
            ])
    }

    @Test("each lease of an expiry is delivered as a revision of its own")
    func expiry() {
        let watching = Watching()
        watching.watch("a", end: "z")
        for id in Int64(1)...2 {
            watching.member.grant(id)
            watching.member.put("k\(id)", lease: id)
        }
        watching.publish()
        _ = watching.take()
        watching.member.expire([2, 1])
        watching.publish()
        #expect(watching.take() == ["1/0@4 -k2#4", "1/0@5 -k1#5"])
    }
}
