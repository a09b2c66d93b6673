import ArgumentParser
import FoundationEssentials
import KVClient

/// `kvctl put`.
struct PutCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "put", abstract: "Write a key.",
        discussion: """
            The value is the second argument, or a file's content, or stdin if it is "-" or left
            out. A value that begins with "-" goes behind "--".

              kvctl put KEY VALUE
              kvctl put KEY --file photo.png
              tar c dir | kvctl put KEY -
            """)

    @Argument(help: "The key.")
    var key: String

    @Argument(help: "The value; \"-\" is stdin.")
    var value: String?

    @Option(help: "Take the value from this file.", completion: .file())
    var file: String?

    @Option(help: "Tie the key to this lease (in hexadecimal).")
    var lease = LeaseText(0)

    @Flag(help: "Print the pair that was there before.")
    var prevKv = false

    @Flag(help: "Keep the value, change the lease.")
    var ignoreValue = false

    @Flag(help: "Keep the lease, change the value.")
    var ignoreLease = false

    @OptionGroup var globals: GlobalOptions

    func validate() throws {
        let sources = [value != nil, file != nil, ignoreValue].filter { $0 }.count
        if sources > 1 {
            throw ValidationError("give one of a value, --file and --ignore-value")
        }
    }

    func request(value: [UInt8]) -> Etcd.PutRequest {
        var request = Etcd.PutRequest()
        request.key = Data(key.utf8)
        request.value = Data(value)
        request.lease = lease.id
        request.prevKv = prevKv
        request.ignoreValue = ignoreValue
        request.ignoreLease = ignoreLease
        return request
    }

    private func readValue() throws -> [UInt8] {
        if ignoreValue { return [] }
        if let file { return try FileIO.read(file) }
        guard let value, value != "-" else { return try FileIO.readStandardInput() }
        return Array(value.utf8)
    }

    func run() async throws {
        let client = try globals.makeClient()
        let request = request(value: try readValue())
        let check = "kvctl get \(key.shellQuoted)"
        let response = try await writing(check: check) { () throws(KVClientError) in
            try await client.put(request)
        }
        Output.write(globals.printer.put(response))
    }
}
