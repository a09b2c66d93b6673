import ArgumentParser
import NIOCore

/// The same call over and over.
struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "The same call over and over, in turn or on a schedule.")

    @Argument(help: "\(Work.allCases.map(\.rawValue).joined(separator: ", ")).")
    var work: Work
    @OptionGroup var serverOptions: ServerOptions
    @Option(help: "Connections.")
    var connections = 1
    @Option(help: "Calls under way on each connection.")
    var streams = 1
    @Option(help: "Ends after that many calls.")
    var requests: Int?
    @Option(help: "Ends after that many seconds.")
    var seconds: Int?
    @Option(help: "Calls a second, on a schedule; a late call counts from when it was due.")
    var rate: Int?
    @Option(help: "Different keys, drawn at random.")
    var keys = 1
    @Option(help: "Bytes of each value.")
    var valueBytes = 256
    @Flag(help: "Goes on when calls fail or connections are lost.")
    var allowFailures = false

    func validate() throws {
        guard requests != nil || seconds != nil else {
            throw ValidationError("say when to end: --requests or --seconds")
        }
        guard connections > 0, streams > 0, keys > 0, requests ?? 1 > 0, rate ?? 1 > 0 else {
            throw ValidationError("a number of connections, streams, keys or calls is above 0")
        }
        guard work != .keepAlive || rate == nil else {
            throw ValidationError("a renewal follows the answer to the last: it takes no --rate")
        }
    }

    func run() async throws {
        let leases = work == .keepAlive ? try await grantLeases() : []
        let report = try await runLoad(leases: leases)
        try report.finish(allowsFailures: allowFailures)
    }

    private func runLoad(leases: [Int64]) async throws -> Report {
        let server = try serverOptions.server
        return try await CallLoad.run { [self] loop in
            var source = Requests(keyCount: keys, valueBytes: valueBytes)
            var plan = CallLoad.Plan(server: server, path: work.path) { [work] _ in
                source.message(for: work)
            }
            plan.connections = connections
            plan.streams = streams
            plan.count = requests ?? .max
            plan.time = seconds.map { .seconds(Int64($0)) }
            plan.rate = rate
            plan.allowsFailures = allowFailures
            plan.leases = leases
            return CallLoad(plan, on: loop)
        }
    }

    /// One lease for each stream; they last an hour.
    private func grantLeases() async throws -> [Int64] {
        let server = try serverOptions.server
        let first = Int64.random(in: 1..<Int64.max / 2)
        let count = connections * streams
        try await CallLoad.prepare(
            "grant leases", server, path: Requests.grantPath, count: count
        ) { Requests.grant(id: first + Int64($0), ttlSeconds: 3600) }
        return (0..<Int64(count)).map { first + $0 }
    }
}
