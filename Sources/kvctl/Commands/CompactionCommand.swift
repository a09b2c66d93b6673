import ArgumentParser
import KVClient

/// `kvctl compaction`.
struct CompactionCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compaction", abstract: "Forget the history before a revision.",
        aliases: ["compact"])

    @Argument(help: "The oldest revision to keep.")
    var revision: Int64

    @Flag(help: "Wait until the space is free.")
    var physical = false

    @OptionGroup var globals: GlobalOptions

    func run() async throws {
        let client = try globals.makeClient()
        let response = try await writing(check: "kvctl get x --rev \(max(revision - 1, 1))") {
            () throws(KVClientError) in
            try await client.compact(revision, physical: physical)
        }
        switch globals.writeOut {
        case .simple, .table: Output.write("compacted revision \(revision)\n")
        case .json:
            let json = JSON.object([("header", Printer.json(response.header))])
            Output.write(globals.printer.jsonLine(json))
        }
    }
}
