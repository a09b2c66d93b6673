import EtcdWire
import TestSupport
import Testing

@testable import KVCore

@Suite("Watches under random load")
struct WatchModelTests {
    private struct Interest {
        let start: String
        let end: String
        let from: Int64
        var isLost = false
        var events: [String] = []
    }

    @Test(
        "every watcher gets each matching event once and in order, however it was paused",
        arguments: 0..<12)
    func randomLoad(seed: Int) {
        var generator = Seeded(seed: UInt64(seed) &+ 100)
        let watching = Watching()
        var interests: [String: Interest] = [:]
        func drain() {
            for delivery in watching.deliveries {
                let line = describe(delivery)
                let name = String(line.split(separator: "@")[0])
                for part in line.split(separator: " ").dropFirst() {
                    if part == "canceled" { interests[name]?.isLost = true }
                    if part.hasPrefix("+") || part.hasPrefix("-") {
                        interests[name]?.events.append(String(part))
                    }
                }
            }
            watching.deliveries = []
        }
        for _ in 0..<1_500 {
            switch generator.below(20) {
            case 0..<9: watching.member.put("k\(generator.below(40))", "\(generator.below(99))")
            case 9..<11: watching.member.delete("k\(generator.below(40))")
            case 11:
                watching.member.delete("k\(generator.below(40))", end: "k\(generator.below(40))")
            case 12:
                let keys = (0..<5).map { "k\(generator.below(8) + $0 * 8)" }
                watching.member.txn(txnRequest(then: keys.map { .put(putRequest($0, "t")) }))
            case 13...14:
                watching.publish()
                let stream = UInt64(generator.below(4))
                let start = "k\(generator.below(40))"
                let end = ["", "\0", start + "\0\0", "l"][generator.below(4)]
                let current = watching.hub.revision
                let from = generator.chance(50) ? 0 : Int64(generator.below(Int(current) + 5)) + 1
                drain()
                let result = watching.watch(start, end: end, stream: stream, start: from)
                if case .created(let id) = result {
                    interests["\(stream)/\(id)"] = Interest(
                        start: start, end: end, from: from == 0 ? current + 1 : from)
                }
            case 15: watching.hub.pause(stream: UInt64(generator.below(4)))
            case 16: watching.hub.resume(stream: UInt64(generator.below(4)))
            case 17:
                _ = watching.hub.catchUp(
                    store: watching.member.store, maxBytes: generator.below(400),
                    into: &watching.deliveries)
            case 18:
                // Mostly far behind, or every watcher that is ever behind would be lost.
                if generator.chance(20) {
                    let revision = Int(watching.member.store.revision)
                    watching.member.compact(Int64(generator.below(revision) / 2 + 1))
                }
            default: _ = watching.member.store.compactStep(budget: generator.below(30))
            }
            if generator.chance(70) { watching.publish() }
            drain()
        }
        watching.publish()
        for stream in UInt64(0)..<4 { watching.hub.resume(stream: stream) }
        watching.catchUp()
        drain()
        #expect(interests.count > 100)
        #expect(interests.values.contains { !$0.isLost && $0.events.count > 50 })
        for (name, interest) in interests {
            let expected = watching.member.changes.filter {
                let key = KV($0).key
                return $0.modRevision >= interest.from
                    && Model.contains(key, interest.start, interest.end)
            }.map { change in
                let kv = KV(change)
                return change.isDeletion
                    ? "-\(kv.key)#\(kv.mod)" : "+\(kv.key)=\(kv.value)#\(kv.mod)"
            }
            if interest.isLost {
                #expect(Array(expected.prefix(interest.events.count)) == interest.events)
            } else {
                #expect(expected == interest.events, "watch \(name)")
            }
        }
    }

    @Test("finding the watchers of a key agrees with asking each of them", arguments: 0..<6)
    func index(seed: Int) {
        var generator = Seeded(seed: UInt64(seed) &+ 7)
        var index = WatchIndex()
        let stream = WatchStream(id: 1)
        var watchers: [Watcher] = []
        func key() -> String { "\(generator.below(300))" }
        for step in 0..<3_000 {
            if generator.chance(step < 2_000 ? 70 : 20) || watchers.isEmpty {
                let end = [key(), "\0", ""][generator.below(3)]
                let range = KeyRange(key: key().raw, rangeEnd: end.raw)
                if range.isEmpty { continue }
                let watcher = Watcher(
                    stream: stream, id: Int64(step), request: WatchCreateRequest(), range: range,
                    next: 2)
                index.insert(watcher)
                watchers.append(watcher)
            } else {
                index.remove(watchers.remove(at: generator.below(watchers.count)))
            }
            guard step % 10 == 0 else { continue }
            [UInt8](key().raw).withUnsafeBytes { key in
                var found: [Int64] = []
                index.visit(key) { found.append($0.id) }
                #expect(found.sorted() == watchers.filter { $0.range.contains(key) }.map(\.id))
            }
        }
        withExtendedLifetime(stream) {}
    }
}
