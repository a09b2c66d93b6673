import CEpoll
import Dispatch
import Glibc
import NIOCore
import Synchronization

/// A SwiftNIO event loop on epoll: waits for descriptors, runs timers and tasks, on a thread of its
/// own.
///
/// The loop of NIOPosix took 3,200 instructions a turn for its locks and queues and 1,200 for its
/// selector; a put alone costs a leader five turns. Here a task from the loop's own thread passes no
/// lock, and epoll's timeout is the timer.
///
/// `@unchecked Sendable`: what isn't behind the mutex is touched by the loop's thread only.
package final class SocketLoop: EventLoop, @unchecked Sendable {
    private typealias Task = @Sendable () -> Void

    /// What other threads hand over.
    private struct HandOver {
        var tasks: [Task] = []
        /// Whether the bell was rung since the loop took the tasks last.
        var isRung = false
        var isEnded = false
    }

    /// A descriptor that is waited for.
    private struct Registration {
        var source: any EventSource
        /// Tells a descriptor's number apart from an earlier use of it within one turn.
        var generation: UInt32
    }

    /// Descriptors that one turn hears of at most.
    private static let eventsATurn = 256
    /// While there is something to read the descriptors are looked at again, so often: what came
    /// meanwhile joins the batch that the turn's tasks make. Puts with 8 × 16 came to 6 % more than
    /// with one look, with 64 × 1 to 3 %.
    private static let looksATurn = 4
    /// No further look once so many bytes were read in a turn: timers and what was read have theirs.
    private static let bytesATurn = 1 << 20
    /// Tasks may make tasks; after so many rounds of that the descriptors are looked at again.
    private static let taskRoundsATurn = 8
    /// What is read from a socket at once.
    static let readBytes = 64 << 10

    private let poll: Int32
    private let bell: Int32
    private let handOver = Mutex(HandOver())
    // Accesses end with their statements; to check that took 6,000 instructions a put.
    @exclusivity(unchecked) private var thread = pthread_self()
    @exclusivity(unchecked) private var registrations: [Registration?] = []
    private var generation: UInt32 = 0
    @exclusivity(unchecked) private var tasks: [Task] = []
    @exclusivity(unchecked) private var running: [Task] = []
    @exclusivity(unchecked) private var timers = LoopTimers()
    @exclusivity(unchecked) private var isStopping = false
    private var whenStopped: [(DispatchQueue, @Sendable ((any Error)?) -> Void)] = []
    /// What sockets have read in this turn.
    @exclusivity(unchecked) var readInTurn = 0
    /// Where sockets read to, one after the other.
    @exclusivity(unchecked) var readBuffer = ByteBufferAllocator().buffer(
        capacity: SocketLoop.readBytes)
    @exclusivity(unchecked) private var idlePolling: IdlePolling

    /// Starts the thread.
    ///
    /// - Parameter idlePolling: how long the thread may look for work before it sleeps, while work is
    ///   frequent.
    package init(idlePolling: TimeAmount = IdlePolling.usualLimit) {
        self.idlePolling = IdlePolling(limit: idlePolling)
        poll = epoll_create1(Int32(EPOLL_CLOEXEC))
        bell = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
        precondition(poll >= 0 && bell >= 0, "no descriptors for an event loop: errno \(errno)")
        // Refused only without memory, and nothing runs without a loop.
        try! add(
            Bell(descriptor: bell) { [unowned self] in takeHandOver() }, bell, EPOLLIN.rawValue)
        let started = DispatchSemaphore(value: 0)
        let body = ThreadBody { [self] in
            thread = pthread_self()
            // A peer that is gone is an error of the write, not the end of the process.
            var brokenPipe = sigset_t()
            sigemptyset(&brokenPipe)
            sigaddset(&brokenPipe, SIGPIPE)
            pthread_sigmask(SIG_BLOCK, &brokenPipe, nil)
            started.signal()
            run()
        }
        body.start()
        started.wait()
    }

    deinit {
        Glibc.close(poll)
        Glibc.close(bell)
    }

    // MARK: Descriptors

    /// Waits for `interest` (epoll's bits, level-triggered) on a descriptor; errors and hang-ups are
    /// told in any case.
    ///
    /// - Throws: `IOError` if the kernel refuses.
    func add(_ source: any EventSource, _ descriptor: Int32, _ interest: UInt32) throws {
        generation &+= 1
        let number = Int(descriptor)
        while registrations.count <= number { registrations.append(nil) }
        registrations[number] = Registration(source: source, generation: generation)
        guard control(EPOLL_CTL_ADD, descriptor, interest) else {
            registrations[number] = nil
            throw IOError(errnoCode: errno, reason: "epoll_ctl")
        }
    }

    func change(_ descriptor: Int32, _ interest: UInt32) {
        let isChanged = control(EPOLL_CTL_MOD, descriptor, interest)
        precondition(isChanged, "a descriptor isn't waited for: errno \(errno)")
    }

    /// To be called before the descriptor is closed.
    func remove(_ descriptor: Int32) {
        registrations[Int(descriptor)] = nil
        _ = control(EPOLL_CTL_DEL, descriptor, 0)
    }

    private func control(_ operation: Int32, _ descriptor: Int32, _ interest: UInt32) -> Bool {
        let generation = registrations[Int(descriptor)]?.generation ?? 0
        let key = UInt64(generation) << 32 | UInt64(UInt32(bitPattern: descriptor))
        var event = epoll_event(events: interest, data: epoll_data_t(u64: key))
        return epoll_ctl(poll, operation, descriptor, &event) == 0
    }

    // MARK: The thread

    private func run() {
        let ready = UnsafeMutablePointer<epoll_event>.allocate(capacity: Self.eventsATurn)
        defer { ready.deallocate() }
        while !isStopping {
            wait(into: ready)
            runTimers()
            runTasks()
        }
        end()
    }

    /// Waits until a descriptor, a timer or a task has something to do, and serves descriptors.
    private func wait(into ready: UnsafeMutablePointer<epoll_event>) {
        readInTurn = 0
        var count = tasks.isEmpty ? awaitEvents(into: ready) : look(into: ready, patience: 0)
        for looks in 1... {
            for event in UnsafeBufferPointer(start: ready, count: count) { dispatch(event) }
            guard count > 0, looks < Self.looksATurn, readInTurn < Self.bytesATurn else { return }
            count = look(into: ready, patience: 0)
        }
    }

    /// Looks on for events as long as `idlePolling` says, then sleeps until there are some or a timer
    /// is due.
    private func awaitEvents(into ready: UnsafeMutablePointer<epoll_event>) -> Int {
        let start = NIODeadline.now()
        defer { idlePolling.waited(.now() - start) }
        let bedtime = min(start + idlePolling.time, timers.first ?? .distantFuture)
        var now = start
        while now < bedtime {
            let count = look(into: ready, patience: 0)
            guard count == 0 else { return count }
            sched_yield()
            let before = now
            now = .now()
            idlePolling.gaveWay(for: now - before)
        }
        return look(into: ready, patience: patience)
    }

    /// How many descriptors have something to do.
    ///
    /// - Parameter patience: how long to wait for the first, in milliseconds; -1 without end.
    private func look(into ready: UnsafeMutablePointer<epoll_event>, patience: Int32) -> Int {
        let count = epoll_wait(poll, ready, Int32(Self.eventsATurn), patience)
        precondition(count >= 0 || errno == EINTR, "epoll_wait: errno \(errno)")
        return max(0, Int(count))
    }

    private func dispatch(_ event: epoll_event) {
        let descriptor = Int(UInt32(truncatingIfNeeded: event.data.u64))
        let generation = UInt32(truncatingIfNeeded: event.data.u64 >> 32)
        guard let registration = registrations[descriptor], registration.generation == generation
        else { return }
        registration.source.ready(event.events)
    }

    /// How long to sleep for the next timer, in milliseconds: rounded up, so that it is due when the
    /// sleep ends.
    private var patience: Int32 {
        guard let deadline = timers.first else { return -1 }
        let nanoseconds = (deadline - .now()).nanoseconds
        guard nanoseconds > 0 else { return 0 }
        return Int32(min((nanoseconds + 999_999) / 1_000_000, 3_600_000))
    }

    private func runTimers() {
        guard timers.first != nil else { return }
        let now = NIODeadline.now()
        while let action = timers.popDue(now) { action() }
    }

    private func runTasks() {
        for _ in 0..<Self.taskRoundsATurn where !tasks.isEmpty {
            swap(&tasks, &running)
            for task in running { task() }
            running.removeAll(keepingCapacity: true)
        }
    }

    private func takeHandOver() {
        var taken: [Task] = []
        handOver.withLock {
            swap(&taken, &$0.tasks)
            $0.isRung = false
        }
        tasks.append(contentsOf: taken)
    }

    /// Closes what is left and what that brings up, and says that all is over.
    private func end() {
        handOver.withLock { $0.isEnded = true }
        takeHandOver()
        repeat {
            for registration in registrations { registration?.source.loopEnds() }
            runTasks()
        } while registrations.contains { $0 != nil && !($0!.source is Bell) }
        tasks.removeAll()
        timers.removeAll()
        // Its number may be another thread's before long.
        thread = 0
        for (queue, callback) in whenStopped { queue.async { callback(nil) } }
    }

    // MARK: EventLoop

    package var inEventLoop: Bool { pthread_equal(pthread_self(), thread) != 0 }

    package func execute(_ task: @escaping @Sendable () -> Void) {
        if inEventLoop {
            tasks.append(task)
            return
        }
        let mustRing = handOver.withLock { handOver in
            guard !handOver.isEnded else { return false }
            handOver.tasks.append(task)
            defer { handOver.isRung = true }
            return !handOver.isRung
        }
        if mustRing { eventfd_write(bell, 1) }
    }

    @discardableResult
    package func scheduleTask<T>(
        deadline: NIODeadline, _ task: @escaping @Sendable () throws -> T
    ) -> Scheduled<T> {
        let promise = makePromise(of: T.self)
        let timer = LoopTimer(
            deadline: deadline,
            action: {
                do {
                    promise.assumeIsolated().succeed(try task())
                } catch {
                    promise.fail(error)
                }
            }, abandoned: { promise.fail(EventLoopError.shutdown) })
        onLoop { $0.timers.add(timer) }
        return Scheduled(promise: promise) { [self] in onLoop { $0.timers.cancel(timer) } }
    }

    @discardableResult
    package func scheduleTask<T>(
        in delay: TimeAmount, _ task: @escaping @Sendable () throws -> T
    ) -> Scheduled<T> {
        scheduleTask(deadline: .now() + delay, task)
    }

    private func onLoop(_ action: @escaping @Sendable (SocketLoop) -> Void) {
        if inEventLoop { action(self) } else { execute { action(self) } }
    }

    package func shutdownGracefully(
        queue: DispatchQueue, _ callback: @escaping @Sendable ((any Error)?) -> Void
    ) {
        let hasEnded = handOver.withLock { $0.isEnded }
        guard !hasEnded else { return queue.async { callback(nil) } }
        onLoop {
            $0.whenStopped.append((queue, callback))
            $0.isStopping = true
        }
    }
}

/// Something that waits for a descriptor. Called on the loop.
protocol EventSource: AnyObject {
    /// - Parameter events: epoll's bits.
    func ready(_ events: UInt32)
    /// The loop's thread ends: let go of the descriptor.
    func loopEnds()
}

/// Rings when another thread has handed something over.
private final class Bell: EventSource {
    private let descriptor: Int32
    private let rung: () -> Void

    init(descriptor: Int32, rung: @escaping () -> Void) {
        self.descriptor = descriptor
        self.rung = rung
    }

    func ready(_ events: UInt32) {
        var count: eventfd_t = 0
        eventfd_read(descriptor, &count)
        rung()
    }

    func loopEnds() {}
}

/// A thread that nobody waits for.
private final class ThreadBody {
    private let run: () -> Void

    init(_ run: @escaping () -> Void) { self.run = run }

    func start() {
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        defer { pthread_attr_destroy(&attributes) }
        var thread = pthread_t()
        let body = Unmanaged.passRetained(self).toOpaque()
        let code = pthread_create(
            &thread, &attributes,
            { body in
                Unmanaged<ThreadBody>.fromOpaque(body!).takeRetainedValue().run()
                return nil
            }, body)
        precondition(code == 0, "no thread for an event loop: errno \(code)")
    }
}
