import ArgumentParser
import Glibc
import NIOCore

/// Many watchers of one key, or of as many keys.
struct WatchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "watch",
        abstract: "Many watchers of one key: how long until the last one has seen a put.",
        discussion: """
            With --hold the watchers watch keys of their own, which nobody writes; "ready" is
            printed when they stand, and they stay for that many seconds.
            """)

    @OptionGroup var serverOptions: ServerOptions
    @Option(help: "Watchers, each on a stream of its own unless --hold is given.")
    var watchers = 1000
    @Option(help: "Puts, one after the other.")
    var events = 200
    @Option(help: "Seconds to stay without a put.")
    var hold: Int?

    func validate() throws {
        guard watchers > 0 else { throw ValidationError("a number of watchers is above 0") }
    }

    func run() async throws {
        let server = try serverOptions.server
        let report = try await WatchLoad.run { [watchers, events, hold] loop in
            WatchLoad(
                WatchLoad.Plan(
                    server: server, watchers: watchers, events: events,
                    hold: hold.map { .seconds(Int64($0)) }), on: loop)
        }
        try report.finish()
    }
}

/// Opens watchers on several connections, then puts and waits for all of them, over and over.
final class WatchLoad: Load {
    struct Plan: Sendable {
        var server: Server
        var watchers: Int
        var events: Int
        var hold: TimeAmount?
    }

    private let plan: Plan
    private let loop: any EventLoop
    private var connections: [LoadConnection] = []
    private var created = 0
    private var seen = 0
    private var round = 0
    private var putTime = NIODeadline.now()
    private let startTime = NIODeadline.now()
    private var report = Report()
    private var latencies = Latencies()
    private var requests = Requests(keyCount: 1, valueBytes: 256)
    private var done: ((Result<Report, LoadError>) -> Void)?

    private static let path = "/etcdserverpb.Watch/Watch"
    private static let connectionCount = 10
    /// Watches on one stream when they are only to be there.
    private static let heldPerStream = 100

    init(_ plan: Plan, on loop: any EventLoop) {
        self.plan = plan
        self.loop = loop
    }

    func start(done: @escaping (Result<Report, LoadError>) -> Void) {
        self.done = done
        // The last connection is for the puts.
        for number in 0...Self.connectionCount {
            LoadConnection.connect(number: number, to: plan.server, on: loop, receiver: self)
        }
    }

    func open(_ connection: LoadConnection) {
        connections.append(connection)
        guard connections.count == Self.connectionCount + 1 else { return }
        connections.sort { $0.number < $1.number }
        guard plan.hold != nil else {
            for watcher in 0..<plan.watchers { openStream(watcher, first: 0, count: 1) }
            return
        }
        let starts = stride(from: 0, to: plan.watchers, by: Self.heldPerStream)
        for (number, first) in starts.enumerated() {
            let count = min(Self.heldPerStream, plan.watchers - first)
            openStream(number, first: first + 1, count: count)
        }
    }

    private func openStream(_ number: Int, first: Int, count: Int) {
        let connection = connections[number % Self.connectionCount]
        let message = Requests.watch(key: first)
        let stream = connection.openStream(Self.path, message, tag: UInt64(number))
        guard let stream else { return fail("stream ids have run out") }
        for key in (first..<first + count).dropFirst() {
            connection.send(Requests.watch(key: key), on: stream)
        }
    }

    func receive(
        _ message: [UInt8], tag: UInt64, at time: NIODeadline, on connection: LoadConnection
    ) {
        guard connection.number < Self.connectionCount else { return }
        if created < plan.watchers {
            created += 1
            if created == plan.watchers { begin() }
            return
        }
        seen += 1
        guard seen == plan.watchers else { return }
        latencies.add(from: putTime, to: .now())
        report.succeeded += 1
        put()
    }

    private func begin() {
        guard let hold = plan.hold else { return put() }
        print("ready")
        fflush(nil)
        let bound = NIOLoopBound(self, eventLoop: loop)
        loop.scheduleTask(in: hold) { bound.value.finish() }
    }

    private func put() {
        guard round < plan.events else { return finish() }
        round += 1
        seen = 0
        putTime = .now()
        connections[Self.connectionCount].call(
            Work.put.path, requests.message(for: .put), tag: UInt64(round))
    }

    func finish(tag: UInt64, failure: String?, on connection: LoadConnection) {
        if connection.number < Self.connectionCount { fail("a watch ended: \(failure ?? "")") }
        if let failure { fail("a put failed: \(failure)") }
    }

    func lose(_ connection: LoadConnection, reason: String) {
        fail(reason)
    }

    private func finish() {
        for connection in connections { connection.close() }
        report.seconds = Double((NIODeadline.now() - startTime).nanoseconds) / 1e9
        report.latency = latencies.summary
        done?(.success(report))
        done = nil
    }

    private func fail(_ reason: String) {
        done?(.failure(LoadError(description: reason)))
        done = nil
    }
}
