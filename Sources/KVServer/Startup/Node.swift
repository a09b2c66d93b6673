import DurableLog
import Glibc
import KVCore
import Logging
import NIOCore
import RaftCore
import Replica
import SocketTransport

/// All parts of a running member, on one event loop.
///
/// `@unchecked Sendable`: made on its loop and used there only; other threads hop onto the loop.
final class Node: @unchecked Sendable {
    private let configuration: ServerConfiguration
    private let loop: SocketLoop
    private let logger: Logger
    private let exit: ExitCode
    private let logWriter: LogWriter
    private let backgroundDisk: DiskThread
    private let snapshotDisk: DiskThread
    private let peers: PeerNetwork
    private let replica: ReplicaLoop
    private let clients: ClientListener
    private var isStopping = false

    /// How far work on whole snapshots and large ranges stands back behind what clients wait for.
    static let bulkNiceness: Int32 = 10

    init(
        configuration: ServerConfiguration, recovered: RecoveredReplica,
        applyRecord: ApplyRecord, loop: SocketLoop, logger: Logger, exit: ExitCode
    ) {
        self.configuration = configuration
        self.loop = loop
        self.logger = logger
        self.exit = exit
        let directory = configuration.dataDirectory
        logWriter = LogWriter(directory: directory, loop: loop, logger: logger)
        backgroundDisk = DiskThread(directory: directory)
        snapshotDisk = DiskThread(directory: directory, isBulk: true)
        var generator = SystemRandomNumberGenerator()
        let boot: UInt64 = generator.next()
        let identity = recovered.identity
        peers = PeerNetwork(
            identity: identity, incarnation: boot, limits: configuration.replica.store, loop: loop,
            directory: directory, readDisk: backgroundDisk, logger: logger)
        replica = ReplicaLoop(
            recovered: recovered, configuration: configuration,
            attributes: MemberAttributes(
                id: identity.memberID, name: configuration.name,
                clientURLs: configuration.advertiseClients,
                directoryID: identity.directoryID.bytes),
            boot: boot, seed: generator.next(), applyRecord: applyRecord, peers: peers,
            logWriter: logWriter, backgroundDisk: backgroundDisk,
            snapshotDisk: snapshotDisk, loop: loop, logger: logger
        ) { failure in
            logger.critical("stopping: \(failure)")
            exit.set(1)
        }
        clients = ClientListener(
            replica: replica, configuration: configuration, loop: loop, logger: logger)
        let replica = replica
        peers.deliver = { event in replica.submit(event) }
        logWriter.completed = { completion in replica.submit(.diskCompleted(completion)) }
    }

    /// Listens and joins the cluster.
    ///
    /// - Throws: what `SocketListener` throws of an address that can't be bound.
    func start() throws {
        replica.submit(.start)
        try peers.start(listeningOn: configuration.listenPeers, members: replica.status.members)
        try clients.listen(on: configuration.listenClients)
    }

    /// Stops accepting, hands leadership over, finishes what was accepted, leaves.
    func shutDown(limit: TimeAmount) {
        guard !isStopping else { return }
        isStopping = true
        clients.stopAccepting()
        if replica.status.isLeader { replica.submit(.transferLeadership(to: nil)) }
        // Behind the event just submitted, so that the transfer shows in the status.
        loop.execute { self.waitForHandOver(until: .now() + limit) }
    }

    /// Looks every few milliseconds whether somebody else leads and every call is answered.
    private func waitForHandOver(until deadline: NIODeadline) {
        let status = replica.status
        // A leader that nobody can follow, because the others are gone, has nothing to hand over.
        let isFree = !status.isLeader || !status.isTransferring
        guard (isFree && clients.isIdle) || .now() >= deadline else {
            loop.scheduleTask(in: .milliseconds(2)) { self.waitForHandOver(until: deadline) }
            return
        }
        clients.close()
        peers.close()
        logWriter.close()
        backgroundDisk.close()
        snapshotDisk.close()
        logger.info("stopped")
        exit.set(0)
    }
}
