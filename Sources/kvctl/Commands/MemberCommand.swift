import ArgumentParser
import KVClient

/// `kvctl member …`.
struct MemberCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "member", abstract: "Look at the cluster's members.",
        subcommands: [List.self])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the members.")

        @OptionGroup var globals: GlobalOptions

        func run() async throws {
            let response = try await globals.makeClient().memberList()
            Output.write(globals.printer.members(response))
        }
    }
}
