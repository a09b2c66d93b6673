import ArgumentParser
import KVClient

/// `kvctl txn`.
struct TxnCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "txn", abstract: "Compare and write in one step.",
        discussion: """
            Reads conditions, then what to do if all hold, then what to do if not, from stdin; an
            empty line ends each part.

              kvctl txn <<'END'
              mod("flag") = "0"

              put flag "on"

              get flag
              END

            Conditions are ver, create, mod, val or lease of a key, with = != > or <. They all hold
            if there are none. Exits with 0 whichever part ran; the first line says which.
            """)

    @Flag(name: .shortAndLong, help: "Ask for each part.")
    var interactive = false

    @OptionGroup var globals: GlobalOptions

    func run() async throws {
        let request = try readRequest()
        let client = try globals.makeClient()
        let response = try await writing(check: "kvctl get KEY, for a key that it writes") {
            () throws(KVClientError) in
            try await client.txn(request)
        }
        Output.write(globals.printer.txn(response))
    }

    private func readRequest() throws(CommandFailure) -> Etcd.TxnRequest {
        var text = TxnText()
        if interactive { Output.note(TxnText.Part.compares.prompt) }
        while let part = text.part {
            guard let line = readLine() else { break }
            guard try text.take(line), interactive else { continue }
            if let next = TxnText.Part(rawValue: part.rawValue + 1) { Output.note(next.prompt) }
        }
        return text.request
    }
}
