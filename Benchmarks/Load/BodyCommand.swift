import ArgumentParser
import FoundationEssentials

/// A request body for h2load.
struct BodyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "body", abstract: "Writes a gRPC request body for `h2load -d` to a file.")

    @Argument(help: "put, range, serializable-range or txn.")
    var work: Work
    @Argument(help: "The file.")
    var file: String
    @Option(help: "Bytes of each value.")
    var valueBytes = 256
    @Option(help: "Different keys of a transaction.")
    var keys = 1
    @Flag(help: "A range of all keys instead of one.")
    var allKeys = false

    func validate() throws {
        guard work != .keepAlive else { throw ValidationError("h2load can't renew leases") }
        guard keys > 0 else { throw ValidationError("a number of keys is above 0") }
    }

    func run() throws {
        var requests = Requests(keyCount: keys, valueBytes: valueBytes)
        let message = allKeys ? Requests.rangeOfAll : requests.message(for: work)
        let length = UInt32(message.count)
        let prefix = [0] + (0..<4).map { UInt8(truncatingIfNeeded: length >> (24 - 8 * $0)) }
        try Data(prefix + message).write(to: URL(filePath: file))
    }
}
