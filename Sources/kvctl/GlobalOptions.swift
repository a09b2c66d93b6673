import ArgumentParser
import Glibc
import KVClient
import NIOPosix

/// The flags that every command takes.
struct GlobalOptions: ParsableArguments {
    static let defaultEndpoints = "127.0.0.1:2379"
    static let endpointVariables = ["MARTLET_ENDPOINTS", "ETCDCTL_ENDPOINTS"]

    @Option(
        help: ArgumentHelp(
            "Servers, separated by commas (default: $MARTLET_ENDPOINTS, or \(defaultEndpoints)).",
            valueName: "url,…"))
    var endpoints: [String] = []

    @Option(help: "How long connecting may take.")
    var dialTimeout = DurationText(.seconds(2))

    @Option(help: "How long a call may take.")
    var commandTimeout = DurationText(.seconds(5))

    @Option(name: [.customShort("w"), .customLong("write-out")], help: "How to print.")
    var writeOut = OutputFormat.simple

    @Flag(help: "Print keys and values in hexadecimal.")
    var hex = false

    func makeClient() throws(KVClientError) -> KVClient {
        try makeClient(endpoints: endpointList())
    }

    func makeClient(endpoints: [Endpoint]) -> KVClient {
        KVClient(
            KVClientConfiguration(
                endpoints: endpoints, dialTimeout: dialTimeout.duration,
                commandTimeout: commandTimeout.duration, userAgent: "kvctl"),
            eventLoops: MultiThreadedEventLoopGroup(numberOfThreads: 1))
    }

    /// The servers: from the flag, else from the environment, else the local one.
    func endpointList(
        environment: (String) -> String? = Self.environment
    ) throws(KVClientError) -> [Endpoint] {
        if !endpoints.isEmpty {
            return try Endpoint.list(endpoints.joined(separator: ","))
        }
        for name in Self.endpointVariables {
            if let text = environment(name), !text.isEmpty { return try Endpoint.list(text) }
        }
        return try Endpoint.list(Self.defaultEndpoints)
    }

    static func environment(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }
    }

    var printer: Printer {
        Printer(format: writeOut, isHex: hex)
    }
}

/// How answers are printed.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
    case simple
    case table
    case json
}
