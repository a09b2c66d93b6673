import ArgumentParser
import NIOCore

/// Lets many leases expire at once, and measures puts meanwhile.
struct LeasesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "leases",
        abstract: "Leases with a key each that all expire in one second; puts meanwhile.",
        discussion: """
            Prints the figures of the puts: on a schedule, from one second before the leases expire.
            """)

    @OptionGroup var serverOptions: ServerOptions
    @Option(help: "Leases.")
    var count = 100_000
    @Option(help: "Seconds from the start to the second in which all expire.")
    var seconds = 40
    @Option(help: "Puts a second.")
    var rate = 500
    @Option(help: "Seconds of puts.")
    var putSeconds = 10

    func validate() throws {
        guard count > 0, rate > 0, putSeconds > 0 else {
            throw ValidationError("a number of leases, puts or seconds is above 0")
        }
    }

    func run() async throws {
        let server = try serverOptions.server
        let end = NIODeadline.now() + .seconds(Int64(seconds))
        let first = Int64.random(in: 1..<Int64.max / 2)
        try await CallLoad.prepare(
            "grant leases", server, path: Requests.grantPath, count: count
        ) { number in
            // A lease granted later is granted for less; all end in the second before `end`.
            let left = (end - .now()).nanoseconds
            return Requests.grant(
                id: first + Int64(number), ttlSeconds: max(1, left / 1_000_000_000))
        }
        try await CallLoad.prepare("put keys", server, path: Work.put.path, count: count) {
            Requests(keyCount: 1, valueBytes: 0).put($0 + 1, lease: first + Int64($0))
        }
        let wait = (end - .now()).nanoseconds - 1_000_000_000
        guard wait > 0 else {
            throw LoadError(description: "the leases expire already: give more --seconds")
        }
        // The load runs from a second before the leases end.
        try await Task.sleep(for: .nanoseconds(wait))
        let report = try await CallLoad.run { [rate, putSeconds] loop in
            var source = Requests(keyCount: 1, valueBytes: 256)
            var plan = CallLoad.Plan(server: server, path: Work.put.path) { _ in
                source.message(for: .put)
            }
            plan.connections = 8
            plan.rate = rate
            plan.count = rate * putSeconds
            return CallLoad(plan, on: loop)
        }
        try report.finish()
    }
}
