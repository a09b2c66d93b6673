import KVClient
import Testing

@testable import kvctl

@Suite("Commands run on changes")
struct WatchCommandTests {
    private func event(_ key: String, _ revision: Int64, value: String = "v") -> Etcd.Event {
        var event = Etcd.Event()
        event.kv.key = .init(key.utf8)
        event.kv.value = .init(value.utf8)
        event.kv.modRevision = revision
        return event
    }

    private func deletion(_ key: String, _ revision: Int64) -> Etcd.Event {
        var event = event(key, revision, value: "")
        event.type = .delete
        return event
    }

    @Test("every revision is a run of its own, in order")
    func perRevision() {
        var pending = PendingChanges()
        pending.add([event("a", 5), event("b", 5), event("a", 6)])
        #expect(pending.next(merging: false)?.events == [event("a", 5), event("b", 5)])
        #expect(pending.next(merging: false)?.revision == 6)
        #expect(pending.next(merging: false) == nil)
    }

    @Test("a debounced run gets all that waits, under the last revision")
    func merged() {
        var pending = PendingChanges()
        pending.add([event("a", 5)])
        pending.add([event("a", 6), event("b", 7)])
        let batch = pending.next(merging: true)
        #expect(batch?.revision == 7 && batch?.events.count == 3)
        #expect(pending.isEmpty)
    }

    @Test("the events of a failed run come again with the next change, not before")
    func failedRun() {
        var pending = PendingChanges()
        pending.add([event("a", 5)])
        if let batch = pending.next(merging: false) { pending.putBack(batch) }
        #expect(pending.isEmpty && pending.next(merging: false) == nil)
        pending.add([event("b", 6)])
        #expect(pending.next(merging: false)?.events == [event("a", 5), event("b", 6)])
    }

    @Test("the present state is a run even if it is empty")
    func emptyState() {
        var pending = PendingChanges()
        pending.add(state: ChangeBatch(events: [], revision: 4))
        #expect(pending.next(merging: false) == ChangeBatch(events: [], revision: 4))
    }

    @Test("waiting changes are bounded, and so are the events kept of failed runs")
    func bounded() {
        var pending = PendingChanges()
        for revision in 1...Int64(PendingChanges.maximumBatches) {
            #expect(!pending.isFull)
            pending.add([event("a", revision)])
        }
        #expect(pending.isFull)
        let many = (1...Int64(PendingChanges.maximumFailedEvents + 5)).map { event("a", $0) }
        var failing = PendingChanges()
        failing.putBack(ChangeBatch(events: many, revision: 1))
        failing.add([event("z", 99_999)])
        #expect(
            failing.next(merging: false)?.events.count == PendingChanges.maximumFailedEvents + 1)
    }

    @Test("after compacted history, what changed and what vanished is told, the rest not")
    func reread() {
        var tracker = KeyTracker()
        _ = tracker.replace(with: [event("a", 2).kv, event("b", 3).kv], revision: 3)
        tracker.follow([event("c", 4), deletion("c", 5), event("d", 6)])
        let batch = tracker.replace(with: [event("a", 2).kv, event("d", 9).kv], revision: 12)
        #expect(batch.events == [event("d", 9), deletion("b", 12)])
        #expect(
            tracker.replace(with: [event("a", 2).kv, event("d", 9).kv], revision: 13)
                .events.isEmpty)
    }

    @Test("the environment has the last event, without what no variable can hold")
    func environment() {
        let batch = ChangeBatch(events: [event("a", 5), event("b", 5, value: "x\n")], revision: 5)
        let variables = WatchEnvironment.variables(batch)
        #expect(variables["ETCD_WATCH_KEY"] == "b" && variables["ETCD_WATCH_VALUE"] == "x\n")
        #expect(
            variables["ETCD_WATCH_EVENT_TYPE"] == "PUT" && variables["ETCD_WATCH_REVISION"] == "5")
        for value in ["a\0b", String(repeating: "x", count: 65_537)] {
            let batch = ChangeBatch(events: [event("b", 5, value: value)], revision: 5)
            #expect(WatchEnvironment.variables(batch)["ETCD_WATCH_VALUE"] == .some(nil))
        }
    }

    @Test("a command gets its input and variables, and its exit code comes back")
    func child() async throws {
        let child = try ChildProcess.start(
            ["sh", "-c", #"read x; test "$x$KVCTL_TEST" = inputset && exit 7"#],
            input: .bytes(Array("input\n".utf8)), environment: ["KVCTL_TEST": "set"])
        #expect(await child.wait() == 7)
        let killed = try ChildProcess.start(["sh", "-c", "kill -TERM $$"])
        #expect(await killed.wait() == 128 + 15)
        #expect(throws: CommandFailure.self) { try ChildProcess.start(["/no/such/program"]) }
    }
}
