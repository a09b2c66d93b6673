import Glibc
import NIOCore
import Synchronization
import Testing

@testable import SocketTransport

@Suite("Looking for work before sleeping")
struct IdlePollingTests {
    private static let limit = TimeAmount.microseconds(100)

    /// As it is while work is frequent.
    private func busy() -> IdlePolling {
        var polling = IdlePolling(limit: Self.limit)
        for _ in 0..<8 {
            #expect(polling.time == .zero)
            polling.waited(.microseconds(50))
        }
        #expect(polling.time == Self.limit)
        return polling
    }

    @Test("heartbeats and the answers to them begin no look")
    func rest() {
        var polling = busy()
        for _ in 0..<100 {
            polling.waited(.milliseconds(100))
            for _ in 0..<6 {
                polling.waited(.microseconds(50))
                #expect(polling.time == .zero)
            }
        }
    }

    @Test("short waits go on with it, however many they are")
    func work() {
        var polling = busy()
        for _ in 0..<1_000 {
            polling.gaveWay(for: .microseconds(900))
            polling.waited(.milliseconds(9))
            #expect(polling.time == Self.limit)
        }
    }

    @Test("where others compute without a pause it sleeps for a while, then tries again")
    func crowd() {
        var polling = busy()
        polling.gaveWay(for: .milliseconds(2))
        for _ in 0..<64 {
            #expect(polling.time == .zero)
            polling.waited(.microseconds(50))
        }
        #expect(polling.time == Self.limit)
    }

    @Test("a limit of zero never looks on")
    func never() {
        var polling = IdlePolling(limit: .zero)
        for _ in 0..<100 { polling.waited(.microseconds(1)) }
        #expect(polling.time == .zero)
    }

    /// A loop that has been busy, so that it looks before it sleeps.
    private func busyLoop(looks limit: TimeAmount) async throws -> SocketLoop {
        let loop = SocketLoop(idlePolling: limit)
        for _ in 0..<100 {
            try await loop.scheduleTask(in: .microseconds(1)) {}.futureResult.get()
        }
        return loop
    }

    @Test("while it looks, timers run and other threads' tasks are heard, none of them late")
    func looking() async throws {
        // Much longer than the test: if it didn't look up for them they would wait for its end.
        let loop = try await busyLoop(looks: .seconds(60))
        let before = NIODeadline.now()
        try await loop.submit {}.get()
        let start = NIODeadline.now()
        try await loop.scheduleTask(in: .milliseconds(3)) {}.futureResult.get()
        #expect(NIODeadline.now() >= start + .milliseconds(3))
        #expect(NIODeadline.now() < before + .seconds(30))
        try await loop.shutdownGracefully()
    }

    @Test("at rest it takes no processor time")
    func restingLoop() async throws {
        let loop = try await busyLoop(looks: .milliseconds(20))
        @Sendable func processorTime() -> Int {
            var time = timespec()
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
            return time.tv_sec * 1_000_000_000 + time.tv_nsec
        }
        let before = try await loop.submit { processorTime() }.get()
        for _ in 0..<10 {
            try await loop.scheduleTask(in: .milliseconds(50)) {}.futureResult.get()
        }
        let spent = try await loop.submit { processorTime() }.get() - before
        // One look may have been under way; ten would be 200 ms.
        #expect(spent < 60_000_000)
        try await loop.shutdownGracefully()
    }
}
