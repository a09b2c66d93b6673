import DurableLog
import Glibc
import KVCore
import Logging
import NIOCore
import RaftCore
import Replica
import SocketTransport

/// The life of a kvserver process.
enum Server {
    /// How long a stopping leader waits for a successor, and a stopping member for its last
    /// answers to leave.
    private static let handOverLimit = TimeAmount.seconds(2)

    /// Serves until SIGTERM or SIGINT, or until the member can't go on.
    static func run(_ configuration: ServerConfiguration, logger: Logger) throws(StartupError) {
        signal(SIGPIPE, SIG_IGN)
        let lock = try DirectoryLock(directory: configuration.dataDirectory)
        let applyRecord = try ApplyRecord(directory: configuration.dataDirectory)
        if let entry = applyRecord.hopelessEntry { waitBeside(entry, configuration, logger) }
        let recovered = try recover(configuration, logger: logger)
        let loop = SocketLoop(idlePolling: configuration.idlePoll)
        let exit = ExitCode(loop: loop)
        let node: Node
        do {
            node = try loop.submit {
                Node(
                    configuration: configuration, recovered: recovered,
                    applyRecord: applyRecord, loop: loop, logger: logger, exit: exit)
            }.wait()
            try loop.submit { try node.start() }.wait()
        } catch {
            throw StartupError.listening(error)
        }
        logger.info(
            "serving",
            metadata: [
                "clients":
                    "\(configuration.listenClients.map(\.description).joined(separator: ","))",
                "peers": "\(configuration.listenPeers.map(\.description).joined(separator: ","))",
                "id": "\(String(recovered.identity.memberID, radix: 16))",
                "cluster": "\(String(recovered.identity.clusterID, radix: 16))",
                "version": "\(Version.martlet)",
                "allocator": "\(Allocator.description)",
            ])
        let signals = SignalWatch(signals: [SIGTERM, SIGINT]) { number in
            logger.info("stopping", metadata: ["signal": "\(number)"])
            loop.execute { node.shutDown(limit: handOverLimit) }
        }
        let code = exit.wait()
        signals.cancel()
        withExtendedLifetime(lock) {}
        Glibc.exit(code)
    }

    /// Says which entry stops this member and waits for the operator, instead of being restarted
    /// over and over.
    private static func waitBeside(
        _ entry: UInt64, _ configuration: ServerConfiguration, _ logger: Logger
    ) -> Never {
        logger.critical(
            """
            entry \(entry) of the log stopped this member \(ApplyRecord.patience) times; it waits \
            and serves nothing. Keep the data directory and report the entry; start a version that \
            can apply it after removing the file applying, or remove this member and add it again
            """,
            metadata: ["directory": "\(configuration.dataDirectory)"])
        signal(SIGTERM, SIG_DFL)
        while true { pause() }
    }

    /// Opens the data directory, or makes it for a new cluster.
    private static func recover(
        _ configuration: ServerConfiguration, logger: Logger
    ) throws(StartupError) -> RecoveredReplica {
        var disk = PosixDisk(directory: configuration.dataDirectory)
        do throws(LogError) {
            let identity: DirectoryIdentity
            if let known = try DirectoryIdentity.load(from: &disk) {
                identity = known
                try check(known, against: configuration)
            } else {
                identity = try bootstrap(configuration, &disk)
                logger.info("made a new data directory")
            }
            let recovered = try RecoveredReplica.open(
                &disk, identity: identity, limits: configuration.replica.store)
            disk.closeAll()
            if let torn = recovered.tornTail {
                logger.warning("cut off a write that a crash tore", metadata: ["at": "\(torn)"])
            }
            return recovered
        } catch {
            throw StartupError(
                "data directory \(configuration.dataDirectory): \(error)",
                remedy: "nothing was overwritten")
        }
    }

    /// The flags of a restart must mean the same member as those of the first start.
    private static func check(
        _ identity: DirectoryIdentity, against configuration: ServerConfiguration
    ) throws(LogError) {
        guard configuration.isNewCluster else { return }
        if configuration.initialClusterID == identity.clusterID,
            let id = configuration.initialMemberID, id != identity.memberID
        {
            throw .foreign(
                file: "identity",
                reason: """
                    it belongs to member \(String(identity.memberID, radix: 16)), not to \
                    "\(configuration.name)" (\(String(id, radix: 16)))
                    """)
        }
        if configuration.initialClusterID != identity.clusterID {
            throw .foreign(
                file: "identity",
                reason: """
                    it belongs to cluster \(String(identity.clusterID, radix: 16)), the flags name \
                    cluster \(String(configuration.initialClusterID, radix: 16))
                    """)
        }
    }

    private static func bootstrap(
        _ configuration: ServerConfiguration, _ disk: inout PosixDisk
    ) throws(LogError) -> DirectoryIdentity {
        guard configuration.isNewCluster, let memberID = configuration.initialMemberID else {
            throw .missing(
                file: "identity",
                reason: "--initial-cluster-state is existing, but the directory is empty")
        }
        var generator = SystemRandomNumberGenerator()
        let identity = DirectoryIdentity(
            clusterID: configuration.initialClusterID, memberID: memberID,
            directoryID: DirectoryID(high: generator.next(), low: generator.next()))
        try RecoveredReplica.initialize(
            &disk, identity: identity, membership: configuration.initialMembership,
            settings: configuration.replica.log)
        return identity
    }
}

extension StartupError {
    /// A failure to bind, in words.
    static func listening(_ error: any Error) -> StartupError {
        if let error = error as? StartupError { return error }
        if let error = error as? IOError, error.errnoCode == EADDRINUSE {
            return StartupError(
                "a port is in use: \(error)",
                remedy: "stop what uses it, or choose others with --listen-client-urls and "
                    + "--listen-peer-urls")
        }
        return StartupError(
            "can't listen: \(error)",
            remedy: "check --listen-client-urls and --listen-peer-urls")
    }
}
