import NIOCore
import Synchronization
import Testing

@testable import SocketTransport

@Suite("The event loop")
struct SocketLoopTests {
    @Test("tasks of one thread run in the order in which they were handed over")
    func order() async throws {
        let loop = SocketLoop()
        let seen = Mutex<[Int]>([])
        for number in 0..<10_000 { loop.execute { seen.withLock { $0.append(number) } } }
        try await loop.submit {}.get()
        #expect(seen.withLock { $0 } == Array(0..<10_000))
        try await loop.shutdownGracefully()
    }

    @Test("a task that makes a task doesn't keep timers and sockets waiting")
    func endless() async throws {
        let loop = SocketLoop()
        let isOver = Mutex(false)
        @Sendable func again() {
            if !isOver.withLock({ $0 }) { loop.execute { again() } }
        }
        loop.execute { again() }
        try await loop.scheduleTask(in: .milliseconds(5)) {}.futureResult.get()
        isOver.withLock { $0 = true }
        try await loop.shutdownGracefully()
    }

    @Test("timers run in the order of their deadlines, none early, none that was cancelled")
    func timers() async throws {
        let loop = SocketLoop()
        let seen = Mutex<[Int]>([])
        let start = NIODeadline.now()
        let times = [30, 10, 20, 10, 40]
        let scheduled = times.indices.map { number in
            loop.scheduleTask(deadline: start + .milliseconds(Int64(times[number]))) {
                #expect(NIODeadline.now() >= start + .milliseconds(Int64(times[number])))
                seen.withLock { $0.append(number) }
            }
        }
        scheduled[2].cancel()
        try await scheduled[4].futureResult.get()
        #expect(seen.withLock { $0 } == [1, 3, 0, 4])
        await #expect(throws: EventLoopError.cancelled) {
            try await scheduled[2].futureResult.get()
        }
        try await loop.shutdownGracefully()
    }

    @Test("an idle loop wakes for a task, and for a timer set from elsewhere")
    func wakes() async throws {
        let loop = SocketLoop()
        for _ in 0..<100 {
            try await loop.submit { #expect(loop.inEventLoop) }.get()
            #expect(!loop.inEventLoop)
        }
        try await loop.scheduleTask(in: .milliseconds(1)) {}.futureResult.get()
        try await loop.shutdownGracefully()
    }

    @Test("what a cancelled timer holds is let go at once, and its place before long")
    func cancelled() {
        final class Held {}
        var timers = LoopTimers()
        weak var held: Held?
        let timer: LoopTimer
        do {
            let object = Held()
            held = object
            timer = LoopTimer(deadline: .distantFuture) { _ = object }
        }
        timers.add(timer)
        #expect(held != nil)
        timers.cancel(timer)
        #expect(held == nil)
        timers.cancel(timer)
        for number in 1...10_000 {
            let timer = LoopTimer(deadline: .uptimeNanoseconds(UInt64(number))) {}
            timers.add(timer)
            timers.cancel(timer)
        }
        #expect(timers.count < 200)
        #expect(timers.popDue(.distantFuture) == nil)
        #expect(timers.count == 0)
    }

    @Test("a timer that was cancelled before it was added never runs")
    func cancelledFirst() {
        var timers = LoopTimers()
        let timer = LoopTimer(deadline: .uptimeNanoseconds(1)) {}
        timers.cancel(timer)
        timers.add(timer)
        #expect(timers.first == nil)
    }

    @Test("a loop that ends closes its connections and takes no more tasks")
    func ends() async throws {
        let connection = try await Connection()
        try await connection.loop.shutdownGracefully()
        #expect(connection.peer.receive() == [])
        #expect(connection.recorder.heard == [.active, .inactive])
        connection.loop.execute { Issue.record("a task ran after the end") }
        connection.peer.close()
    }
}
