import TestSupport
import Testing

@testable import KVCore

private func version(_ key: String, _ number: Int64 = 1, lease: Int64 = 0) -> VersionStorage {
    version(Array(key.utf8), number, lease: lease)
}

private func version(_ key: [UInt8], _ number: Int64 = 1, lease: Int64 = 0) -> VersionStorage {
    key.withUnsafeBytes { key in
        VersionStorage.make(
            createRevision: 2, modRevision: 2, version: number, lease: lease, subRevision: 0,
            key: key, value: UnsafeRawBufferPointer(start: nil, count: 0))
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
                    let present = tree.withVersion(at: place) { $0?.version }
                    replaced = tree.put(new, at: place)
                    #expect(replaced?.version == present)
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

    /// Keys that a search by a few of their bytes could take for one another: zeroes at the end, one
    /// the beginning of the next, alike for longer than a head is.
    private static func similarKeys(_ count: Int, _ generator: inout Seeded) -> [[UInt8]] {
        let beginnings: [[UInt8]] = [
            [], Array("/a/long/beginning/".utf8), [0, 0, 0, 0, 0, 0, 0, 0], [0xff],
            [UInt8](repeating: 7, count: 40),
        ]
        return (0..<count).map { _ in
            let tail = (0..<generator.below(14)).map { _ in generator.below(4) * 0x55 }
            return beginnings[generator.below(beginnings.count)] + tail.map { UInt8($0) }
        }
    }

    @Test("similar keys are told apart, those that are there and those that aren't")
    func similarKeys() {
        var generator = Seeded(seed: 12)
        let keys = Self.similarKeys(60_000, &generator)
        var present = Set(keys.prefix(30_000))
        var tree = KeyTree<KeyOrder>()
        for key in keys.prefix(30_000) { tree.upsert(version(key)) }
        #expect(tree.height >= 3)
        func check() {
            for key in keys {
                let found = key.withUnsafeBytes { tree.find($0) }
                #expect(found?.withKey { [UInt8]($0) } == (present.contains(key) ? key : nil))
            }
            var visited: [[UInt8]] = []
            tree.reader.scan(from: TreePosition(lead: 0, bytes: .init(start: nil, count: 0))) {
                visited.append($0.withKey { [UInt8]($0) })
                return true
            }
            #expect(visited == present.sorted { $0.lexicographicallyPrecedes($1) })
        }
        check()
        // From sorted entries, whose nodes are filled one after the other.
        var builder = KeyTree<KeyOrder>.Builder()
        for key in present.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            builder.append(version(key))
        }
        tree = builder.finish()
        check()
        // Until nothing is left: nodes are joined on every level.
        let order = keys.prefix(30_000).sorted {
            $0.reversed().lexicographicallyPrecedes($1.reversed())
        }
        for (step, key) in order.enumerated() {
            let removed = tree.remove(positionOf: version(key))
            #expect((removed != nil) == (present.remove(key) != nil))
            if step == order.count / 2 { check() }
        }
        #expect(tree.count == 0)
    }

    @Test("a scan from any key, there or not, begins with the next one")
    func scanFromAnywhere() {
        var generator = Seeded(seed: 13)
        let keys = Self.similarKeys(20_000, &generator)
        var tree = KeyTree<KeyOrder>()
        for key in keys.prefix(10_000) { tree.upsert(version(key)) }
        var left = Set(keys.prefix(10_000)).sorted { $0.lexicographicallyPrecedes($1) }[...]
        for key in keys.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            while let next = left.first, next.lexicographicallyPrecedes(key) { left.removeFirst() }
            var found: [UInt8]?
            key.withUnsafeBytes { bytes in
                tree.reader.scan(from: TreePosition(lead: 0, bytes: bytes)) {
                    found = $0.withKey { [UInt8]($0) }
                    return false
                }
            }
            #expect(found == left.first)
        }
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

    @Test("keys of many leases are found, whatever lease and key they share with others")
    func manyLeases() {
        var tree = KeyTree<LeaseOrder>()
        let leases: [Int64] = [.min, -1, 0, 1, .max] + (2..<400).map { $0 << 32 }
        for (number, lease) in leases.enumerated() {
            for key in 0..<(number % 7 == 0 ? 200 : 3) {
                tree.upsert(version("shared/\(key)", Int64(number + 1), lease: lease))
            }
        }
        for (number, lease) in leases.enumerated() {
            for key in 0..<200 {
                let found = "shared/\(key)".raw.withUnsafeBytes { tree.find(lead: lease, $0) }
                let isThere = key < (number % 7 == 0 ? 200 : 3)
                #expect(found?.version == (isThere ? Int64(number + 1) : nil))
            }
        }
    }

    @Test("a lease of many keys is removed from between others, key by key")
    func removalOfALargeLease() {
        var generator = Seeded(seed: 14)
        var tree = KeyTree<LeaseOrder>()
        for lease in Int64(-200)...200 { tree.upsert(version("shared", 1, lease: lease * 2)) }
        var left = Array(0..<10_000)
        for key in left { tree.upsert(version("shared/\(key)", 2, lease: 7)) }
        func finds(_ key: String, lease: Int64) -> Bool {
            Array(key.utf8).withUnsafeBytes { tree.find(lead: lease, $0) } != nil
        }
        #expect(tree.height >= 3)
        while !left.isEmpty {
            let key = left.remove(at: generator.below(left.count))
            #expect(tree.remove(positionOf: version("shared/\(key)", lease: 7)) != nil)
            #expect(!finds("shared/\(key)", lease: 7))
            if let other = left.first { #expect(finds("shared/\(other)", lease: 7)) }
            #expect(finds("shared", lease: Int64(generator.below(401) - 200) * 2))
        }
        #expect(tree.count == 401)
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

    @Test("a word of bytes is what stands there, and zeroes behind the end")
    func wordOfBytes() {
        for count in 0..<20 {
            let bytes = (0..<count).map { UInt8($0 + 0xe0) }
            for offset in 0..<24 {
                let expected = (offset..<offset + 8).reduce(UInt64(0)) {
                    $0 << 8 | ($1 < count ? UInt64(bytes[$1]) : 0)
                }
                #expect(bytes.withUnsafeBytes { bigEndianWord(of: $0, at: offset) } == expected)
            }
        }
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
