import DurableLog
import TestSupport
import Testing

@Suite("Segments used again")
struct SegmentReuseTests {
    /// A log that has grown over all its segments more than once; the index of its last entry and
    /// of the one before the first.
    private func worn() throws -> (disk: MemoryDisk, base: LogBase, last: UInt64) {
        var disk = try freshDisk()
        var driver = LogDriver(
            opening: disk, recovered: try LogRecovery.open(&disk, identity: testIdentity))
        var base = emptyBase
        var last: UInt64 = 0
        for _ in 0..<6 {
            for _ in 0..<40 {
                last += 1
                driver.log.append(
                    .init(entries: [entry(last, size: 900)]), token: last, commitIndex: last - 1)
                driver.settle()
            }
            base = LogBase(index: last - 10, term: 1, chain: 3, configuration: [4])
            driver.log.compact(to: base)
            driver.settle()
        }
        return (driver.disk, base, last)
    }

    /// The segment with the last batch, and where that ends.
    private func end(of disk: inout MemoryDisk) throws -> (file: String, offset: Int) {
        let tail = try LogRecovery.open(&disk, identity: testIdentity).tail
        return (SegmentName.file(tail.segment), tail.offset)
    }

    @Test("say nothing of their earlier life")
    func earlierLife() throws {
        var (disk, base, last) = try worn()
        let files = try disk.list().filter { $0.hasPrefix("log-") }
        #expect(!files.contains("log-0000000000000001"))
        #expect(files.count <= 3 + smallSettings.maxReadySegments)
        // The test is about something: there are old batches behind the last one.
        let (file, offset) = try end(of: &disk)
        let behind = try disk.read(file, offset: offset, byteCount: 512)
        #expect(behind.contains { $0 != 0 })
        let recovered = try LogRecovery.open(&disk, identity: testIdentity)
        #expect(recovered.base == base)
        #expect(recovered.entries == (base.index + 1...last).map { entry($0, size: 900) })
        #expect(recovered.tornTail == nil)
    }

    @Test("a torn batch in front of old ones is cut off, and named")
    func tornBatch() throws {
        var (disk, base, last) = try worn()
        var driver = LogDriver(
            opening: disk, recovered: try LogRecovery.open(&disk, identity: testIdentity))
        driver.settle()
        driver.log.append(.init(entries: [entry(last + 1)]), token: 1, commitIndex: 0)
        driver.settle()
        var torn = driver.disk
        let (file, offset) = try end(of: &torn)
        torn.flipBit(in: file, at: offset - 512 + 33)
        let recovered = try LogRecovery.open(&torn, identity: testIdentity)
        #expect(recovered.tornTail == "\(file) at byte \(offset - 512)")
        #expect(recovered.entries == (base.index + 1...last).map { entry($0, size: 900) })
    }

    @Test("rot in a synced batch is corruption there as well")
    func rot() throws {
        var (disk, _, _) = try worn()
        let (file, _) = try end(of: &disk)
        disk.flipBit(in: file, at: 512 + 33)
        #expect(throws: LogError.self) {
            _ = try LogRecovery.open(&disk, identity: testIdentity)
        }
    }

    @Test("the header of an earlier life is corruption where a batch stands behind it")
    func oldHeader() throws {
        var (disk, _, _) = try worn()
        let (file, _) = try end(of: &disk)
        let first = try #require(disk.list().first { $0.hasPrefix("log-") })
        #expect(first != file)
        try disk.write(file, offset: 0, bytes: disk.read(first, offset: 0, byteCount: 512))
        #expect(throws: LogError.self) {
            _ = try LogRecovery.open(&disk, identity: testIdentity)
        }
    }

    @Test("one that was given its new name and no header yet is a fresh one")
    func renamedOnly() throws {
        var (disk, base, last) = try worn()
        let files = try disk.list().filter { $0.hasPrefix("log-") }
        let (file, _) = try end(of: &disk)
        let ready = try #require(files.first { $0 > file })
        let content = try disk.read(ready, offset: 512, byteCount: 512)
        #expect(content.contains { $0 != 0 })
        // The power fails between its new name and its header; behind that stands its earlier life.
        try disk.write(ready, offset: 0, bytes: disk.read(files[0], offset: 0, byteCount: 512))
        let recovered = try LogRecovery.open(&disk, identity: testIdentity)
        #expect(recovered.lastIndex == last && recovered.base == base)
    }
}
