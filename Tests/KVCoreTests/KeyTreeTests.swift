import TestSupport
import Testing

@testable import KVCore

private func version(_ key: String, _ number: Int64 = 1, lease: Int64 = 0) -> VersionStorage {
    key.raw.withUnsafeBytes { key in
        VersionStorage.make(
            createRevision: 2, modRevision: 2, version: number, lease: lease, subRevision: 0,
            previous: nil, key: key, value: UnsafeRawBufferPointer(start: nil, count: 0))
    }
}

private func contents<Order>(_ view: TreeView<Order>) -> [String] {
    var keys: [String] = []
    view.scan(.everything) { version in
        keys.append(KV(KeyVersion(version)).description)
        return true
    }
    return keys
}

private func expected(_ entries: [String: Int64]) -> [String] {
    entries.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }.map {
        KV(key: $0.key, value: "", create: 2, mod: 2, version: $0.value, lease: 0).description
    }
}

@Suite("The key tree")
struct KeyTreeTests {
    @Test(
        "random puts and removals leave exactly what a dictionary would, in order",
        arguments: [1, 2, 3])
    func randomChanges(seed: Int) {
        var generator = Seeded(seed: UInt64(seed))
        var tree = KeyTree<KeyOrder>()
        var entries: [String: Int64] = [:]
        var views: [(TreeView<KeyOrder>, [String: Int64])] = []
        for step in 0..<30_000 {
            // Grows at first, shrinks to nothing at last.
            let growth = step < 12_000 ? 70 : 25
            let key = "/shared/prefix/\(generator.below(9_000))/\(generator.below(2))"
            if generator.chance(growth) {
                let new = version(key, Int64(step + 1))
                let replaced: VersionStorage?
                if generator.chance(50) {
                    let place = key.raw.withUnsafeBytes { tree.locate($0) }
                    replaced = tree.version(at: place)
                    tree.put(new, at: place)
                } else {
                    replaced = tree.upsert(new)
                }
                #expect(replaced?.version == entries.updateValue(Int64(step + 1), forKey: key))
            } else {
                let removed = tree.remove(positionOf: version(key))
                #expect(removed?.version == entries.removeValue(forKey: key))
            }
            if step % 5_000 == 4_999 {
                #expect(contents(tree.reader) == expected(entries))
                views.append((tree.takeView(), entries))
            }
            #expect(tree.count == entries.count)
        }
        for (view, entries) in views { #expect(contents(view) == expected(entries)) }
        for key in entries.keys.sorted() { tree.remove(positionOf: version(key)) }
        #expect(contents(tree.reader) == [])
        #expect(tree.height == 1)
        for (view, entries) in views { #expect(contents(view) == expected(entries)) }
    }

    @Test(
        "a tree built from sorted entries equals one built by puts, at every size around a node",
        arguments: [0, 1, 55, 56, 57, 64, 65, 3_136, 3_137, 20_000])
    func bulkBuild(size: Int) {
        var builder = KeyTree<KeyOrder>.Builder()
        var entries: [String: Int64] = [:]
        for number in 0..<size {
            let key = "key/\(1_000_000 + number)"
            entries[key] = 1
            builder.append(version(key))
        }
        var tree = builder.finish()
        #expect(contents(tree.reader) == expected(entries))
        #expect(tree.count == size)
        var generator = Seeded(seed: 9)
        for _ in 0..<2_000 {
            let key = "key/\(1_000_000 + generator.below(size + 50))"
            entries[key] = 2
            tree.upsert(version(key, 2))
            #expect(key.raw.withUnsafeBytes { tree.find($0) }?.version == 2)
        }
        #expect(contents(tree.reader) == expected(entries))
    }

    @Test("after a view a put copies at most one path, and no node without one")
    func copiesOnePath() {
        var tree = KeyTree<KeyOrder>()
        for number in 0..<100_000 { tree.upsert(version("key/\(number)")) }
        #expect(tree.nodeCopies == 0)
        #expect(tree.height >= 3)
        var generator = Seeded(seed: 4)
        var view = tree.takeView()
        for _ in 0..<200 {
            let before = tree.nodeCopies
            tree.upsert(version("key/\(generator.below(120_000))", 2))
            #expect(tree.nodeCopies - before <= tree.height + 1)
            #expect(tree.nodeCopies - before > 0)
            view = tree.takeView()
        }
        _ = view
        let before = tree.nodeCopies
        for number in 0..<100_000 { tree.upsert(version("key/\(number)", 3)) }
        let nodes = tree.nodeCopies - before
        for number in 0..<100_000 { tree.upsert(version("key/\(number)", 4)) }
        #expect(tree.nodeCopies - before == nodes, "every node is copied once per view")
    }

    @Test("a place is good until the tree changes, and no longer")
    func placeBehindAChange() async {
        await #expect(processExitsWith: .failure) {
            var tree = KeyTree<KeyOrder>()
            tree.upsert(version("a"))
            let place = "a".raw.withUnsafeBytes { tree.locate($0) }
            tree.upsert(version("b"))
            tree.put(version("a", 2), at: place)
        }
        var tree = KeyTree<KeyOrder>()
        tree.upsert(version("a"))
        let place = "a".raw.withUnsafeBytes { tree.locate($0) }
        tree.put(version("a", 2), at: place)
        #expect("a".raw.withUnsafeBytes { tree.find($0) }?.version == 2)
    }

    @Test("the keys of one lease stand together, in order")
    func leaseOrder() {
        var tree = KeyTree<LeaseOrder>()
        for number in 0..<500 {
            tree.upsert(
                version("k\(number % 100)", Int64(number + 1), lease: Int64(number % 5) - 2))
        }
        for lease in Int64(-2)...2 {
            var keys: [String] = []
            tree.reader.scan(lead: lease, .everything) { version in
                keys.append(KV(KeyVersion(version)).key)
                #expect(version.lease == lease)
                return true
            }
            #expect(
                keys == (0..<100).filter { Int64($0 % 5) - 2 == lease }.map { "k\($0)" }.sorted())
        }
    }

    @Test("a chain of a million versions is released without exhausting the stack")
    func longChain() {
        var head = version("k")
        for number in 0..<1_000_000 {
            head = "k".raw.withUnsafeBytes { key in
                VersionStorage.make(
                    createRevision: 2, modRevision: Int64(number + 3), version: 2, lease: 0,
                    subRevision: 0, previous: head, key: key,
                    value: UnsafeRawBufferPointer(start: nil, count: 0))
            }
        }
        #expect(head.modRevision == 1_000_002)
    }

    @Test(
        "byte strings compare unsigned, and a prefix comes first",
        arguments: [
            ([0x7f], [0x80], -1), ([1, 2, 3], [1, 2, 3], 0), ([], [0], -1),
            ([1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 6, 7, 8, 0], -1),
            ([1, 2, 3, 4, 5, 6, 7, 0xff, 1], [1, 2, 3, 4, 5, 6, 7, 0xfe, 2], 1),
            ([1, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1], 1),
        ] as [([UInt8], [UInt8], Int)])
    func byteOrder(left: [UInt8], right: [UInt8], order: Int) {
        #expect(compareBytes(left[...], right[...]) == order)
        #expect(
            left.withUnsafeBytes { a in right.withUnsafeBytes { compareBytes(a, $0) } } == order)
        #expect(
            right.withUnsafeBytes { a in left.withUnsafeBytes { compareBytes(a, $0) } } == -order)
    }
}
