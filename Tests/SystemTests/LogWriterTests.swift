import DurableLog
import Foundation
import Logging
import NIOCore
import SocketTransport
import TestSupport
import Testing

@testable import KVServer

@Suite("The writer of the log")
struct LogWriterTests {
    private static let segmentBytes = 1 << 20
    private static let batches = 400

    /// Gives a writer one batch after the other, as the log does.
    ///
    /// `@unchecked Sendable`: used on its loop only.
    private final class Author: @unchecked Sendable {
        private let loop: SocketLoop
        private let writer: LogWriter
        private let whole: EventLoopPromise<[[UInt8]]>
        /// Whether ticks of the clock are noted while a batch is under way.
        private let looksAhead: Bool
        private var random = Seeded(seed: 11)
        private var segments = [[UInt8]](
            repeating: [UInt8](repeating: 0, count: LogWriterTests.segmentBytes), count: 2)
        private var number: UInt64 = 0
        private var offset = 0

        init(
            directory: String, looksAhead: Bool, loop: SocketLoop,
            whole: EventLoopPromise<[[UInt8]]>
        ) {
            self.loop = loop
            self.looksAhead = looksAhead
            self.whole = whole
            writer = LogWriter(directory: directory, loop: loop, logger: Logger(label: "test"))
            writer.completed = { [unowned self] in completed($0) }
        }

        func writeNext() {
            guard number < LogWriterTests.batches else {
                writer.close()
                return whole.succeed(segments)
            }
            // The second segment begins in the middle.
            let segment = number < LogWriterTests.batches / 2 ? 0 : 1
            if number == LogWriterTests.batches / 2 { offset = 0 }
            number += 1
            let bytes = [UInt8](
                repeating: UInt8(truncatingIfNeeded: number), count: 512 * random.below(5) + 512)
            segments[segment].replaceSubrange(offset..<offset + bytes.count, with: bytes)
            writer.perform(
                DiskOperation(
                    id: number, lane: .log,
                    steps: [
                        .write(file: "log\(segment)", offset: offset, bytes: bytes),
                        .sync(file: "log\(segment)"),
                    ]))
            offset += bytes.count
            if looksAhead { lookAhead(at: number) }
        }

        private func lookAhead(at batch: UInt64) {
            guard number == batch else { return }
            writer.noteTimeAhead()
            loop.execute { self.lookAhead(at: batch) }
        }

        private func completed(_ completion: DiskCompletion) {
            guard completion == DiskCompletion(operation: number, result: .success([])) else {
                return whole.fail(WrongCompletion(completion: completion))
            }
            // Now and then the clock ticks before the next one comes.
            let pause = TimeAmount.milliseconds(Int64(random.below(8) == 0 ? 5 : 0))
            loop.scheduleTask(in: pause) { self.writeNext() }
        }
    }

    private struct WrongCompletion: Error {
        var completion: DiskCompletion
    }

    /// In memory, too, where a file system may take no direct writes.
    @Test(
        "each batch reaches its place and completes in turn, whatever the clock does meanwhile",
        arguments: [NSTemporaryDirectory(), "/dev/shm/"], [false, true])
    func writes(parent: String, looksAhead: Bool) async throws {
        let directory = parent + "log-writer-\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        var disk = PosixDisk(directory: directory)
        for segment in 0..<2 { try disk.create("log\(segment)", byteCount: Self.segmentBytes) }
        let loop = SocketLoop()
        let whole = loop.makePromise(of: [[UInt8]].self)
        let author = try await loop.submit {
            Author(directory: directory, looksAhead: looksAhead, loop: loop, whole: whole)
        }.get()
        try await loop.submit { author.writeNext() }.get()
        let segments = try await whole.futureResult.get()
        for segment in 0..<2 {
            let found = try disk.read("log\(segment)", offset: 0, byteCount: Self.segmentBytes)
            #expect(found == segments[segment])
        }
        disk.closeAll()
        try await loop.shutdownGracefully()
        withExtendedLifetime(author) {}
    }

    @Test("a batch that can't be written fails, and says of which file")
    func fails() async throws {
        let directory = NSTemporaryDirectory() + "log-writer-\(UUID().uuidString)"
        let loop = SocketLoop()
        let failed = loop.makePromise(of: DiskCompletion.self)
        let writer = try await loop.submit {
            let writer = LogWriter(directory: directory, loop: loop, logger: Logger(label: "test"))
            writer.completed = { failed.succeed($0) }
            writer.perform(
                DiskOperation(
                    id: 1, lane: .log,
                    steps: [
                        .write(file: "log", offset: 0, bytes: [UInt8](repeating: 1, count: 512)),
                        .sync(file: "log"),
                    ]))
            return writer
        }.get()
        let completion = try await failed.futureResult.get()
        guard case .failure(let error) = completion.result else {
            Issue.record("it was written to a directory that isn't there")
            return
        }
        #expect("\(error)".contains(directory + "/log"))
        try await loop.submit { writer.close() }.get()
        try await loop.shutdownGracefully()
    }
}
