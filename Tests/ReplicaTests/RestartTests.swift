import DurableLog
import Replica
import TestSupport
import Testing

@Suite("A restarted member")
struct RestartTests {
    private func snapshots(_ node: TestCluster.Node) throws -> [String] {
        try node.disk.list().filter { $0.hasPrefix("snap-") }
    }

    private func content(of file: String, on node: TestCluster.Node) throws -> [UInt8] {
        let size = try #require(try node.disk.byteCount(of: file))
        return try node.disk.read(file, offset: 0, byteCount: size)
    }

    @Test("keeps older snapshots until what it read back is on disk")
    func olderSnapshots() throws {
        let cluster = try TestCluster(size: 1, seed: 5)
        let node = cluster.nodes[0]
        var older: (name: String, bytes: [UInt8])?
        cluster.run(microseconds: 500_000)
        for number in 0..<200 {
            let newest = try snapshots(node).last
            if let older, older.name != newest { break }
            _ = cluster.put("k\(number)", "v", on: 0)
            cluster.run(microseconds: 20_000)
            if older == nil, let name = try snapshots(node).first {
                older = (name, try content(of: name, on: node))
            }
        }
        let (name, bytes) = try #require(older)
        #expect(try snapshots(node).count == 1)
        #expect(try snapshots(node) != [name])
        // The process is killed before it has removed the one before.
        node.running = nil
        try node.disk.write(name, offset: 0, bytes: bytes)
        try node.disk.syncDirectory()
        try cluster.start(0)
        #expect(try snapshots(node).contains(name))
        cluster.run(microseconds: 500_000)
        #expect(try !snapshots(node).contains(name))
        #expect(node.isRunning)
    }

    @Test("finds the snapshot that a leader sent while a file of its name was about to go")
    func snapshotOfADoomedName() throws {
        let cluster = try TestCluster(size: 3, seed: 6)
        cluster.run(microseconds: 1_000_000)
        let leader = try #require(cluster.nodes.firstIndex { $0.status?.isLeader ?? false })
        let behind = (leader + 1) % 3
        for peer in 0..<3 where peer != behind {
            cluster.cut.formUnion([[behind, peer], [peer, behind]])
        }
        for number in 0..<100 {
            _ = cluster.put("k\(number)", "v", on: leader)
            cluster.run(microseconds: 2_000)
        }
        let (from, to) = (cluster.nodes[leader], cluster.nodes[behind])
        let name = try #require(try snapshots(from).last)
        try to.disk.write(name, offset: 0, bytes: content(of: name, on: from))
        try to.disk.sync(name)
        try to.disk.syncDirectory()
        let term = try #require(from.status?.term)
        // The first one comes in a term that is over: its file is to be removed.
        for sent in [term - 1, term] {
            let loaded = try LoadedSnapshot.load(
                name, from: &to.disk, clusterID: to.identity.clusterID,
                limits: cluster.settings.store)
            cluster.deliver(
                .snapshotReceived(loaded, from: from.identity.memberID, term: sent), to: behind)
        }
        cluster.run(microseconds: 100_000)
        #expect(try !snapshots(to).contains(name))
        to.running = nil
        try cluster.start(behind)
        cluster.cut = []
        cluster.run(microseconds: 2_000_000)
        #expect(to.status?.appliedIndex == from.status?.appliedIndex)
    }

    @Test(
        "reads back what its newest snapshot covers only as far as followers may need it",
        arguments: [(bytes: 1 << 20, entries: UInt64(20)), (bytes: 700, entries: UInt64(4))])
    func retained(bytes: Int, entries: UInt64) throws {
        var settings = TestCluster.fastSettings
        settings.retainedBytes = bytes
        let cluster = try TestCluster(size: 1, seed: 7, settings: settings)
        let node = cluster.nodes[0]
        cluster.run(microseconds: 500_000)
        // About 150 bytes each.
        for number in 0..<100 {
            _ = cluster.put("k\(number)", String(repeating: "v", count: 110), on: 0)
            cluster.run(microseconds: 20_000)
        }
        node.running = nil
        let snapshot = try #require(try snapshots(node).last.flatMap(SnapshotName.index))
        let recovered = try RecoveredReplica.open(
            &node.disk, identity: node.identity, limits: settings.store)
        let base = try #require(recovered.logPositions.first)
        #expect(snapshot - base.index == entries)
    }
}
