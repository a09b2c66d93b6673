import DurableLog
import Foundation
import Testing

@testable import KVServer

@Suite("Files of a data directory")
struct PosixDiskTests {
    private func withDirectory(_ body: (String) throws -> Void) throws {
        let directory = NSTemporaryDirectory() + "posix-disk-\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try body(directory)
    }

    @Test(
        "a removed file is gone, whatever its size, and its name is free",
        arguments: [false, true], [0, 1, 8 << 20, (8 << 20) + 1, 20 << 20])
    func remove(isBulk: Bool, byteCount: Int) throws {
        try withDirectory { directory in
            var disk = PosixDisk(directory: directory, isBulk: isBulk)
            defer { disk.closeAll() }
            try disk.create("a", byteCount: byteCount)
            try disk.create("b", byteCount: 512)
            try disk.remove("a")
            #expect(try disk.list() == ["b"])
            try disk.write("a", offset: 0, bytes: [1, 2, 3])
            #expect(try disk.byteCount(of: "a") == 3)
            try disk.remove("missing")
        }
    }

    @Test("a large file that a bulk disk removes is nowhere to be found under its name meanwhile")
    func removedUnderAnotherName() throws {
        try withDirectory { directory in
            var disk = PosixDisk(directory: directory, isBulk: true)
            defer { disk.closeAll() }
            try disk.create("snapshot", byteCount: 64 << 20)
            let watched = Watched(file: directory + "/snapshot", byteCount: 64 << 20)
            let thread = Thread { watched.watch() }
            thread.start()
            watched.waitUntilSeen()
            try disk.remove("snapshot")
            watched.end()
            #expect(watched.partSeen == nil)
        }
    }

    @Test("a file is made of zeroes, in the place of one that has its name")
    func create() throws {
        try withDirectory { directory in
            var disk = PosixDisk(directory: directory)
            defer { disk.closeAll() }
            try disk.write("log", offset: 0, bytes: [UInt8](repeating: 7, count: 5 << 20))
            try disk.create("log", byteCount: (3 << 20) + 5)
            let bytes = try disk.read("log", offset: 0, byteCount: (3 << 20) + 5)
            #expect(try disk.byteCount(of: "log") == (3 << 20) + 5)
            #expect(bytes.allSatisfy { $0 == 0 })
        }
    }
}

/// Looks at a file's size all the time.
///
/// `@unchecked Sendable`: what changes is guarded by the lock, but for `partSeen`, which the watching
/// thread alone changes and others read when it is done.
private final class Watched: @unchecked Sendable {
    private let file: String
    private let byteCount: Int
    private let lock = NSCondition()
    private var isSeen = false
    private var isEnded = false
    private var isDone = false
    /// A size that isn't the whole file's.
    private(set) var partSeen: Int?

    init(file: String, byteCount: Int) {
        self.file = file
        self.byteCount = byteCount
    }

    func watch() {
        while true {
            var status = stat()
            let size = stat(file, &status) == 0 ? Int(status.st_size) : nil
            lock.lock()
            isSeen = true
            if let size, size != byteCount { partSeen = size }
            let isOver = isEnded
            isDone = isOver
            lock.broadcast()
            lock.unlock()
            if isOver { return }
        }
    }

    func waitUntilSeen() { wait { isSeen } }

    func end() {
        lock.withLock { isEnded = true }
        wait { isDone }
    }

    private func wait(until condition: () -> Bool) {
        lock.lock()
        while !condition() { lock.wait() }
        lock.unlock()
    }
}
