import HTTP2
import NIOCore

/// The same kind of call over and over, on several connections: each of their streams as soon as
/// the last answer has come, or all together on a schedule.
final class CallLoad: Load {
    struct Plan {
        var server: Server
        /// The method called.
        var path: String
        /// The message of each call, by its number from 0. Not asked for renewals.
        var message: (Int) -> [UInt8]
        var connections = 1
        var streams = 1
        /// Ends after that many calls.
        var count = Int.max
        /// Ends after that time.
        var time: TimeAmount?
        /// Calls a second on a schedule. A call that must wait for its turn counts from the
        /// time at which it was due: a stalled server can't hide its stall.
        var rate: Int?
        /// Lost connections are made anew and failed calls made again, without end.
        var allowsFailures = false
        /// Leases to renew, one for each stream of each connection; empty for unary calls.
        var leases: [Int64] = []

        var isStreaming: Bool { !leases.isEmpty }
    }

    // Some properties are unchecked as `LoadConnection.core` is.
    @exclusivity(unchecked) private var plan: Plan
    private let loop: any EventLoop
    private var connections: [LoadConnection?]
    private var openCount = 0
    @exclusivity(unchecked) private var started = 0
    @exclusivity(unchecked) private var ended = 0
    @exclusivity(unchecked) private var report = Report()
    @exclusivity(unchecked) private var latencies = Latencies()
    private var startTime = NIODeadline.now()
    @exclusivity(unchecked) private var lastSuccess = NIODeadline.now()
    @exclusivity(unchecked) private var isOver = false
    /// For keep-alive streams, whose messages carry no tag: when each sent its last one, where, and
    /// what it sends.
    @exclusivity(unchecked) private var sent:
        [(at: NIODeadline, stream: StreamID, message: [UInt8])]
    private var done: ((Result<Report, LoadError>) -> Void)?
    private var nextTurn = 0

    init(_ plan: Plan, on loop: any EventLoop) {
        self.plan = plan
        self.loop = loop
        connections = Array(repeating: nil, count: plan.connections)
        sent = []
    }

    // MARK: Life

    func start(done: @escaping (Result<Report, LoadError>) -> Void) {
        self.done = done
        for number in 0..<plan.connections { connect(number) }
    }

    private func connect(_ number: Int) {
        LoadConnection.connect(number: number, to: plan.server, on: loop, receiver: self)
    }

    func open(_ connection: LoadConnection) {
        let isFirst = openCount < plan.connections
        connections[connection.number] = connection
        guard isFirst else { return startStreams(of: connection) }
        openCount += 1
        guard openCount == plan.connections else { return }
        startTime = .now()
        lastSuccess = startTime
        if let time = plan.time { after(time) { $0.finish() } }
        if let rate = plan.rate { return keepSchedule(rate: rate) }
        for connection in connections.compactMap(\.self) { startStreams(of: connection) }
    }

    private func startStreams(of connection: LoadConnection) {
        guard plan.rate == nil else { return }
        guard plan.isStreaming else {
            for _ in 0..<plan.streams { startCall(on: connection, at: .now()) }
            return
        }
        for place in 0..<plan.streams { openRenewals(on: connection, place) }
    }

    private func after(_ time: TimeAmount, _ action: @escaping (CallLoad) -> Void) {
        let bound = NIOLoopBound((load: self, action: action), eventLoop: loop)
        loop.scheduleTask(in: time) {
            let (load, action) = bound.value
            if !load.isOver { action(load) }
        }
    }

    private func finish() {
        guard !isOver else { return }
        isOver = true
        let now = NIODeadline.now()
        noteGap(until: now)
        report.seconds = Double((now - startTime).nanoseconds) / 1e9
        report.latency = latencies.summary
        for connection in connections { connection?.close() }
        done?(.success(report))
    }

    // MARK: Unary calls

    private func startCall(on connection: LoadConnection, at due: NIODeadline) {
        guard started < plan.count else { return }
        let message = plan.message(started)
        started += 1
        connection.call(plan.path, message, tag: due.uptimeNanoseconds)
    }

    /// Every millisecond what is due by now is sent, in turn over the connections.
    private func keepSchedule(rate: Int) {
        let elapsed = (NIODeadline.now() - startTime).nanoseconds
        let due = min(plan.count, Int(Double(elapsed) / 1e9 * Double(rate)) + 1)
        while started < due, let connection = nextConnection() {
            let offset = Double(started) / Double(rate) * 1e9
            startCall(on: connection, at: startTime + .nanoseconds(Int64(offset)))
        }
        after(.milliseconds(1)) { $0.keepSchedule(rate: rate) }
    }

    private func nextConnection() -> LoadConnection? {
        for _ in connections.indices {
            nextTurn = (nextTurn + 1) % connections.count
            if let connection = connections[nextTurn] { return connection }
        }
        return nil
    }

    func finish(tag: UInt64, failure: String?, on connection: LoadConnection) {
        guard !isOver else { return }
        if plan.isStreaming { return lose(connection, reason: failure ?? "it ended") }
        countCall(since: .uptimeNanoseconds(tag), until: .now(), failure: failure)
        guard plan.rate == nil, !isOver else { return }
        guard failure != nil, plan.allowsFailures else {
            return startCall(on: connection, at: .now())
        }
        // A server without a leader would otherwise be asked as fast as it can refuse.
        after(.milliseconds(1)) { load in
            guard load.connections[connection.number] === connection else { return }
            load.startCall(on: connection, at: .now())
        }
    }

    private func countCall(since start: NIODeadline, until now: NIODeadline, failure: String?) {
        ended += 1
        if let failure {
            report.failed += 1
            if report.failure == nil { report.failure = failure }
        } else {
            report.succeeded += 1
            latencies.add(from: start, to: now)
            noteGap(until: now)
            lastSuccess = now
        }
        if ended == plan.count { finish() }
    }

    private func noteGap(until now: NIODeadline) {
        let gap = Int((now - lastSuccess).nanoseconds / 1000)
        report.longestGapMicroseconds = max(report.longestGapMicroseconds ?? 0, gap)
    }

    func lose(_ connection: LoadConnection, reason: String) {
        guard !isOver else { return }
        guard plan.allowsFailures, openCount == plan.connections else {
            isOver = true
            done?(.failure(LoadError(description: reason)))
            return
        }
        connections[connection.number] = nil
        report.failed += 1
        if report.failure == nil { report.failure = reason }
        let number = connection.number
        after(.milliseconds(10)) { $0.connect(number) }
    }

    // MARK: Renewals

    private func openRenewals(on connection: LoadConnection, _ place: Int) {
        let slot = connection.number * plan.streams + place
        if sent.isEmpty {
            sent = Array(
                repeating: (.now(), StreamID(0), []), count: plan.connections * plan.streams)
        }
        let message = Requests.renewal(of: plan.leases[slot])
        guard
            let stream = connection.openStream(plan.path, message, tag: UInt64(slot))
        else { return lose(connection, reason: "stream ids have run out") }
        started += 1
        sent[slot] = (.now(), stream, message)
    }

    func receive(
        _ message: [UInt8], tag: UInt64, at time: NIODeadline, on connection: LoadConnection
    ) {
        guard plan.isStreaming, !isOver else { return }
        let slot = Int(tag)
        countCall(
            since: sent[slot].at, until: time,
            failure: Answers.isRenewed(message) ? nil : "a lease is gone")
        guard started < plan.count, !isOver else { return }
        started += 1
        sent[slot].at = time
        connection.send(sent[slot].message, on: sent[slot].stream)
    }
}

extension CallLoad {
    /// Makes the calls that a measurement needs to have been made: as many, none of which may
    /// fail. `what` says in an error what couldn't be done.
    static func prepare(
        _ what: String, _ server: Server, path: String, count: Int,
        message: @escaping @Sendable (Int) -> [UInt8]
    ) async throws {
        let report = try await run { loop in
            var plan = Plan(server: server, path: path, message: message)
            plan.connections = 8
            plan.streams = 32
            plan.count = count
            return CallLoad(plan, on: loop)
        }
        guard report.failed == 0 else {
            throw LoadError(description: "can't \(what): \(report.failure ?? "")")
        }
    }
}
