import ArgumentParser
import FoundationEssentials
import KVClient

/// `kvctl del`.
struct DeleteCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "del", abstract: "Delete a key or a range of keys.",
        discussion: "Prints how many there were; deleting nothing is fine.")

    @OptionGroup var range: RangeArguments

    @Flag(help: "Print the pairs that were deleted.")
    var prevKv = false

    @OptionGroup var globals: GlobalOptions

    var request: Etcd.DeleteRangeRequest {
        var request = Etcd.DeleteRangeRequest()
        request.key = Data(range.range.start)
        request.rangeEnd = Data(range.range.end)
        request.prevKv = prevKv
        return request
    }

    func run() async throws {
        let client = try globals.makeClient()
        let response = try await writing(check: checkCommand) { () throws(KVClientError) in
            try await client.delete(request)
        }
        Output.write(globals.printer.delete(response))
    }

    private var checkCommand: String {
        let flags = range.prefix ? " --prefix" : range.fromKey ? " --from-key" : ""
        let end = range.rangeEnd.map { " " + $0.shellQuoted } ?? ""
        return "kvctl get \(range.key.shellQuoted)\(end)\(flags) --count-only"
    }
}
