import DurableLog
import Replica
import TestSupport
import Testing

@Suite("A restarted member")
struct RestartTests {
    private func snapshots(_ node: TestCluster.Node) throws -> [String] {
        try node.disk.list().filter { $0.hasPrefix("snap-") }
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
                let size = try #require(try node.disk.byteCount(of: name))
                older = (name, try node.disk.read(name, offset: 0, byteCount: size))
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
}
