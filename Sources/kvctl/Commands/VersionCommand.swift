import ArgumentParser

/// `kvctl version`.
struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "version", abstract: "Show the version of kvctl and of the API it speaks.")

    static let martlet = "0.1.0"
    static let api = "3.6"
    static let text = "kvctl version: \(martlet)\nAPI version: \(api)"

    @OptionGroup var globals: GlobalOptions

    func run() {
        switch globals.writeOut {
        case .simple, .table: Output.write(Self.text + "\n")
        case .json:
            let json = JSON.object([("version", .string(Self.martlet)), ("api", .string(Self.api))])
            Output.write(json.text + "\n")
        }
    }
}
