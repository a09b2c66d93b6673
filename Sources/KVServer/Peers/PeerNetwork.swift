import DurableLog
import KVCore
import Logging
import NIOCore
import RaftCore
import Replica
import SocketTransport

/// All connections to other members: one link out and one in per peer, and one more for each
/// snapshot under way. Lives on the replica's event loop.
final class PeerNetwork {
    private let identity: DirectoryIdentity
    private let incarnation: UInt64
    private let limits: StoreLimits
    private let loop: SocketLoop
    /// Reads the snapshots that are sent, piece by piece.
    private let readDisk: DiskThread
    private let directory: String
    /// Writes and loads those that come: whoever sends one waits for each piece, and so must not
    /// wait for this member's own. Most members never receive any.
    private lazy var receivingDisk = DiskThread(directory: directory, isBulk: true)
    private let logger: Logger
    // Accesses of what each frame needs end with their statements; not checked again each time.
    /// Links are few: to look along a row of them takes less than a hash.
    @exclusivity(unchecked) private var links: [PeerLink] = []
    /// Something was sent on a link since the last flush.
    @exclusivity(unchecked) private var isUnflushed = false
    private var listener: PeerListener?
    private var members: [ClusterMember] = []
    private var snapshotReceiver: SnapshotReceiver?
    /// Where events go; set once, before anything is connected.
    @exclusivity(unchecked) var deliver: (ReplicaEvent) -> Void = { _ in }

    init(
        identity: DirectoryIdentity, incarnation: UInt64, limits: StoreLimits, loop: SocketLoop,
        directory: String, readDisk: DiskThread, logger: Logger
    ) {
        self.identity = identity
        self.incarnation = incarnation
        self.limits = limits
        self.loop = loop
        self.readDisk = readDisk
        self.directory = directory
        self.logger = logger
    }

    /// Listens and connects.
    ///
    /// - Throws: what `SocketListener` throws of an address that can't be bound.
    func start(listeningOn endpoints: [Endpoint], members: [ClusterMember]) throws {
        let listener = PeerListener(
            loop: loop, incarnation: incarnation, logger: logger,
            callbacks: PeerListener.Callbacks(
                refusal: { [weak self] hello in self?.refusal(of: hello) },
                frame: { [weak self] peer, frame in self?.deliver(.peerFrame(peer, frame)) },
                snapshot: { [weak self] channel, peer in self?.receiver(on: channel, from: peer) }
            ))
        self.listener = listener
        membersChanged(members)
        try listener.listen(on: endpoints)
    }

    func close() {
        listener?.close()
        for link in links { link.close() }
        links.removeAll()
        if snapshotReceiver != nil { receivingDisk.close() }
    }

    private func link(to peer: MemberID) -> PeerLink? {
        for link in links where link.peer == peer { return link }
        return nil
    }

    func send(_ frame: [UInt8], to peer: MemberID) {
        link(to: peer)?.send(frame)
        isUnflushed = true
    }

    func flush() {
        guard isUnflushed else { return }
        isUnflushed = false
        for link in links { link.flush() }
    }

    func fault(_ fault: PeerFault, of peer: MemberID) {
        logger.warning(
            "a peer sent what no member sends: \(fault.reason)",
            metadata: ["peer": "\(String(peer, radix: 16))"])
        listener?.closeMain(of: peer)
    }

    /// Connects to members that are new and lets go of those that are gone.
    func membersChanged(_ members: [ClusterMember]) {
        self.members = members
        for member in members where member.id != identity.memberID && link(to: member.id) == nil {
            guard let url = member.peerURLs.first,
                let endpoint = try? Endpoint(url, flag: "a member's peer URL")
            else {
                logger.error(
                    "a member has no usable peer URL", metadata: ["urls": "\(member.peerURLs)"])
                continue
            }
            let peer = member.id
            let link = PeerLink(
                peer: peer, endpoint: endpoint, loop: loop, hello: hello(.main, to: peer),
                logger: logger
            ) { [weak self] report in
                switch report {
                case .connected: self?.deliver(.peerConnected(peer))
                case .disconnected: self?.deliver(.peerDisconnected(peer))
                case .processGone: self?.deliver(.peerProcessGone(peer))
                }
            }
            links.append(link)
            link.connect()
        }
        let isGone = { (link: PeerLink) in !members.contains { $0.id == link.peer } }
        let gone = links.filter(isGone)
        links.removeAll(where: isGone)
        for link in gone { link.close() }
    }

    private func hello(_ kind: PeerHello.LinkKind, to peer: MemberID) -> PeerHello {
        PeerHello(
            kind: kind, clusterID: identity.clusterID, sender: identity.memberID, receiver: peer,
            directoryID: identity.directoryID, incarnation: incarnation)
    }

    /// Why a hello isn't accepted. The text is logged on both sides.
    private func refusal(of hello: PeerHello) -> String? {
        let sender = String(hello.sender, radix: 16)
        guard hello.lowestVersion <= PeerHello.version, PeerHello.version <= hello.highestVersion
        else {
            return """
                member \(sender) speaks peer protocol \(hello.lowestVersion) to \
                \(hello.highestVersion), this one \(PeerHello.version)
                """
        }
        guard hello.clusterID == identity.clusterID else {
            return """
                member \(sender) belongs to cluster \(String(hello.clusterID, radix: 16)), this one to \
                \(String(identity.clusterID, radix: 16)); check --initial-cluster and \
                --initial-cluster-token
                """
        }
        guard hello.receiver == identity.memberID else {
            return """
                member \(sender) looks for \(String(hello.receiver, radix: 16)) here, but this is \
                \(String(identity.memberID, radix: 16)); check the peer URLs
                """
        }
        guard let known = members.first(where: { $0.id == hello.sender }) else {
            return "\(sender) is no member of this cluster; was it removed?"
        }
        let directory = hello.directoryID.bytes
        if !known.directoryID.isEmpty, known.directoryID != directory {
            return """
                member \(sender) came back with another data directory; what it promised is lost with \
                the old one. Remove it and add it again
                """
        }
        return nil
    }

    // MARK: - Snapshots

    func sendSnapshot(_ file: String, term: Term, to peer: MemberID) {
        guard let link = link(to: peer), let index = SnapshotName.index(file) else {
            deliver(.snapshotSent(to: peer, succeeded: false))
            return
        }
        logger.info(
            "sending a snapshot",
            metadata: ["peer": "\(String(peer, radix: 16))", "index": "\(index)"])
        SnapshotSender(
            file: file, index: index, term: term, hello: hello(.snapshot, to: peer), loop: loop,
            disk: readDisk
        ) { [weak self] delivery in
            let metadata: Logger.Metadata = [
                "peer": "\(String(peer, radix: 16))", "index": "\(index)",
            ]
            switch delivery {
            case .taken: self?.logger.info("snapshot sent", metadata: metadata)
            case .failed(let reason):
                self?.logger.warning("a snapshot could not be sent: \(reason)", metadata: metadata)
            }
            self?.deliver(.snapshotSent(to: peer, succeeded: delivery == .taken))
        }.start(to: link.endpoint)
    }

    private func receiver(on channel: Channel, from peer: MemberID) -> SnapshotReceiver {
        // A newer one replaces it: the sender of the old one may be gone without a word.
        snapshotReceiver?.abandon()
        logger.info(
            "receiving a snapshot", metadata: ["peer": "\(String(peer, radix: 16))"])
        let receiver = SnapshotReceiver(
            channel: channel, disk: receivingDisk, clusterID: identity.clusterID,
            limits: limits, logger: logger
        ) { [weak self] snapshot, term in
            self?.deliver(.snapshotReceived(snapshot, from: peer, term: term))
        }
        snapshotReceiver = receiver
        return receiver
    }
}

extension DirectoryID {
    /// The id as the member table keeps it.
    var bytes: [UInt8] {
        [high, low].flatMap { half in
            (0..<8).map { UInt8(truncatingIfNeeded: half >> (56 - 8 * $0)) }
        }
    }
}
