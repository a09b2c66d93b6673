import ArgumentParser
import Logging
import NIOCore
import Replica
import SocketTransport

/// The program `kvserver`.
@main
struct KVServerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kvserver",
        abstract: "One node of a Martlet cluster, a key-value store that speaks the etcd v3 API.",
        discussion: """
            Without flags it is a single node for development, on localhost:2379, with its data in
            ./default.martlet.

            EXAMPLES
              kvserver
              kvserver --name n1 --data-dir /var/lib/martlet \\
                --listen-client-urls http://10.0.0.1:2379 \\
                --advertise-client-urls http://10.0.0.1:2379 \\
                --listen-peer-urls http://10.0.0.1:2380 \\
                --initial-advertise-peer-urls http://10.0.0.1:2380 \\
                --initial-cluster n1=http://10.0.0.1:2380,n2=http://10.0.0.2:2380,n3=http://10.0.0.3:2380

            EXIT CODES
              0 after SIGTERM or SIGINT, 1 when it can't start or go on, 64 for wrong flags.
            """,
        version: KVServerCommand.versionText)

    static let versionText = "Martlet \(Version.martlet) (etcd API \(Version.etcdAPI))"

    @Option(help: "This member's name, as in --initial-cluster.")
    var name = "default"

    @Option(help: "Where the data is kept. (default: ./NAME.martlet)")
    var dataDir: String?

    @Option(help: "URLs to serve clients on, separated by commas.")
    var listenClientUrls = "http://localhost:2379"

    @Option(help: "URLs that clients are told. (default: those of --listen-client-urls)")
    var advertiseClientUrls: String?

    @Option(help: "URLs to listen on for other members.")
    var listenPeerUrls = "http://localhost:2380"

    @Option(
        help: "URLs that other members reach this one by. (default: those of --listen-peer-urls)")
    var initialAdvertisePeerUrls: String?

    @Option(help: "All initial members as NAME=URL, separated by commas. (default: this one alone)")
    var initialCluster: String?

    @Option(help: "Keeps clusters apart that were created with the same URLs.")
    var initialClusterToken = "martlet-cluster"

    @Option(help: "\"new\" to create a cluster, \"existing\" to join one.")
    var initialClusterState = "new"

    @Option(help: "Milliseconds between a leader's signs of life.")
    var heartbeatInterval = 100

    @Option(help: "Milliseconds without a leader before an election; at least 5 heartbeats.")
    var electionTimeout = 1_000

    @Option(help: "Entries after which a snapshot is taken. (default: decided by the log's size)")
    var snapshotCount: UInt64?

    @Option(help: "Largest request in bytes.")
    var maxRequestBytes = 1_572_864

    @Option(help: "Operations in each list of a transaction.")
    var maxTxnOps = 128

    @Option(help: "Logical size in bytes at which writes are refused.")
    var quotaBackendBytes: UInt64 = 2 << 30

    @Option(
        help:
            "Microseconds to look for work before sleeping, while work is frequent; 0 never to.")
    var idlePoll = Self.microseconds(IdlePolling.usualLimit)

    @Option(help: "debug, info, warn or error.")
    var logLevel = "info"

    @Option(help: "console or json.")
    var logFormat = "console"

    func run() throws {
        do throws(StartupError) {
            let configuration = try makeConfiguration()
            let logger = try makeLogger()
            try Server.run(configuration, logger: logger)
        } catch {
            throw ExitText(error)
        }
    }

    /// Prints a startup error as one line and exits with 1.
    private struct ExitText: Error, CustomStringConvertible {
        let description: String
        init(_ error: StartupError) { description = "kvserver: \(error)" }
    }

    private func makeLogger() throws(StartupError) -> Logger {
        let level: Logger.Level
        switch logLevel {
        case "debug": level = .debug
        case "info": level = .info
        case "warn": level = .warning
        case "error": level = .error
        default:
            throw StartupError(
                "--log-level is \"\(logLevel)\"", remedy: "use debug, info, warn or error")
        }
        guard let format = LogFormat(rawValue: logFormat) else {
            throw StartupError("--log-format is \"\(logFormat)\"", remedy: "use console or json")
        }
        var logger = Logger(label: "kvserver") { _ in LineLogHandler(format: format) }
        logger.logLevel = level
        logger[metadataKey: "member"] = "\(name)"
        return logger
    }

    /// A request, the batch it closes and a segment's header must fit into one segment.
    static let largestRequestBytes = 8 << 20

    private static func microseconds(_ time: TimeAmount) -> Int64 { time.nanoseconds / 1_000 }

    func makeConfiguration() throws(StartupError) -> ServerConfiguration {
        let listenPeers = try Endpoint.list(listenPeerUrls, flag: "--listen-peer-urls")
        let advertisePeers = try Endpoint.list(
            initialAdvertisePeerUrls ?? listenPeerUrls, flag: "--initial-advertise-peer-urls")
        let listenClients = try Endpoint.list(listenClientUrls, flag: "--listen-client-urls")
        let advertiseClients = try Endpoint.list(
            advertiseClientUrls ?? listenClientUrls, flag: "--advertise-client-urls")
        let cluster = try parseInitialCluster(ownURLs: advertisePeers.map(\.description))
        guard initialClusterState == "new" || initialClusterState == "existing" else {
            throw StartupError(
                "--initial-cluster-state is \"\(initialClusterState)\"",
                remedy: "use new or existing")
        }
        guard heartbeatInterval > 0, electionTimeout >= 5 * heartbeatInterval else {
            throw StartupError(
                "--election-timeout \(electionTimeout) is less than 5 times --heartbeat-interval "
                    + "\(heartbeatInterval)",
                remedy: "raise the one or lower the other")
        }
        guard (1...Self.largestRequestBytes).contains(maxRequestBytes) else {
            throw StartupError(
                "--max-request-bytes is \(maxRequestBytes)",
                remedy: "choose 1 to \(Self.largestRequestBytes)")
        }
        guard maxTxnOps > 0 else {
            throw StartupError("--max-txn-ops is \(maxTxnOps)", remedy: "choose 1 or more")
        }
        let largestIdlePoll = Self.microseconds(IdlePolling.largestLimit)
        guard (0...largestIdlePoll).contains(idlePoll) else {
            throw StartupError(
                "--idle-poll is \(idlePoll)", remedy: "choose 0 to \(largestIdlePoll)")
        }
        var replica = ReplicaSettings()
        replica.raft.heartbeatIntervalMicroseconds = UInt64(heartbeatInterval) * 1_000
        replica.raft.electionTimeoutMicroseconds = UInt64(electionTimeout) * 1_000
        replica.maxTxnOperations = maxTxnOps
        replica.store.quotaBytes = quotaBackendBytes
        if let snapshotCount { replica.snapshotEntries = max(1, snapshotCount) }
        return ServerConfiguration(
            name: name, dataDirectory: dataDir ?? "\(name).martlet", listenClients: listenClients,
            advertiseClients: advertiseClients.map(\.description), listenPeers: listenPeers,
            initialCluster: cluster, clusterToken: initialClusterToken,
            isNewCluster: initialClusterState == "new", maxRequestBytes: maxRequestBytes,
            idlePoll: .microseconds(idlePoll), replica: replica)
    }

    private func parseInitialCluster(
        ownURLs: [String]
    ) throws(StartupError) -> [(name: String, urls: [String])] {
        guard let initialCluster else { return [(name, ownURLs)] }
        var members: [(name: String, urls: [String])] = []
        for part in initialCluster.split(separator: ",") {
            let pair = part.split(separator: "=", maxSplits: 1).map(String.init)
            guard pair.count == 2, !pair[0].isEmpty else {
                throw StartupError(
                    "--initial-cluster has \"\(part)\"", remedy: "write members as NAME=URL")
            }
            let url = try Endpoint(pair[1], flag: "--initial-cluster").description
            if let known = members.firstIndex(where: { $0.name == pair[0] }) {
                members[known].urls.append(url)
            } else {
                members.append((pair[0], [url]))
            }
        }
        guard let own = members.first(where: { $0.name == name }) else {
            throw StartupError(
                "--initial-cluster doesn't name this member, \"\(name)\"",
                remedy: "add \(name)=URL to it or change --name")
        }
        guard own.urls.sorted() == ownURLs.sorted() else {
            throw StartupError(
                "--initial-cluster has \(own.urls.joined(separator: ",")) for \"\(name)\", but "
                    + "--initial-advertise-peer-urls is \(ownURLs.joined(separator: ","))",
                remedy: "make them the same")
        }
        let urls = members.flatMap(\.urls)
        guard Set(urls).count == urls.count else {
            throw StartupError(
                "--initial-cluster has a URL twice", remedy: "give each member its own")
        }
        return members
    }
}
