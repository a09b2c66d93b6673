import ArgumentParser

/// Writes many keys once, in transactions of many puts.
struct FillCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fill", abstract: "Writes keys once each, in transactions of 100 puts.")

    @OptionGroup var serverOptions: ServerOptions
    @Option(help: "Keys to write.")
    var keys = 1_000_000
    @Option(help: "Bytes of each value.")
    var valueBytes = 256

    private static let putsPerTransaction = 100

    func validate() throws {
        guard keys > 0 else { throw ValidationError("a number of keys is above 0") }
    }

    func run() async throws {
        let server = try serverOptions.server
        let report = try await CallLoad.run { [keys, valueBytes] loop in
            let source = Requests(keyCount: keys, valueBytes: valueBytes)
            var plan = CallLoad.Plan(server: server, path: Work.txn.path) { number in
                let first = number * Self.putsPerTransaction
                return source.transaction(
                    Array(first..<min(keys, first + Self.putsPerTransaction)))
            }
            plan.connections = 4
            plan.streams = 2
            plan.count = (keys + Self.putsPerTransaction - 1) / Self.putsPerTransaction
            return CallLoad(plan, on: loop)
        }
        try report.finish()
    }
}
