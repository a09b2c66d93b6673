import RaftCore

/// Members without a shell: messages lie in a list until they are delivered, writes in another
/// until they are synced, and time moves only when told.
struct RaftCluster {
    struct Node {
        var raft: Raft
        /// What a crash leaves: the state as of the last synced write.
        var platter: Platter
        var pendingWrites: [Persist] = []
        var holdsDisk = false
        var applied: LogIndex = 0
    }

    struct Platter {
        var hardState = HardState(term: 0, vote: nil)
        var entries: [(entry: EntryMetadata, configuration: Configuration?)] = []
    }

    private(set) var nodes: [MemberID: Node] = [:]
    private(set) var network: [Message] = []
    private(set) var now: Microseconds = 1_000_000
    /// Everything that happened, one line each.
    var transcript: [String] = []
    let configuration: Configuration
    let settings: RaftSettings
    private var nextDigest: UInt64 = 100
    private var boots: UInt64 = 0

    init(voters: Int, learners: Int = 0, settings: RaftSettings = RaftSettings()) {
        self.settings = settings
        configuration = Configuration(
            voters: (1...voters).map { MemberID($0) },
            learners: (0..<learners).map { MemberID(voters + 1 + $0) })
        for id in configuration.members { start(id, Platter()) }
    }

    private mutating func start(_ id: MemberID, _ platter: Platter) {
        boots += 1
        let base = SnapshotMark(position: .zero, configuration: configuration)
        let raft = Raft(
            id: id, settings: settings, hardState: platter.hardState, snapshot: base, base: .zero,
            baseConfiguration: configuration, entries: platter.entries,
            durableIndex: LogIndex(platter.entries.count), commitIndex: 0,
            seed: id &* 1_000 &+ boots, now: now)
        nodes[id] = Node(raft: raft, platter: platter)
        nodes[id]!.raft.step(.persisted(token: Raft.recoveryToken), now: now)
    }

    subscript(id: MemberID) -> Raft { nodes[id]!.raft }

    // MARK: - Doing

    mutating func step(_ event: Event, on id: MemberID) {
        nodes[id]!.raft.step(event, now: now)
        flush(id)
    }

    mutating func flush(_ id: MemberID) {
        var effects: [Effect] = []
        nodes[id]!.raft.flush(into: &effects)
        for effect in effects {
            switch effect {
            case .persist(let persist): nodes[id]!.pendingWrites.append(persist)
            case .send(let message): network.append(message)
            case .commit(let index):
                nodes[id]!.applied = index
                note("n\(id) commit=\(index)")
            case .readReady(let context, let index):
                note("n\(id) read \(context) at \(index)")
            case .readFailed(let context): note("n\(id) read \(context) failed")
            case .readLog(let peer, let range):
                note("n\(id) reads \(range.lowerBound)..\(range.upperBound) for n\(peer)")
            case .sendSnapshot(let peer): note("n\(id) snapshot to n\(peer)")
            case .restoreSnapshot(let mark): note("n\(id) restores \(mark.position.index)")
            case .becameLeader(let term, _): note("n\(id) leads term \(term)")
            case .following(let leader, let term):
                note("n\(id) follows \(leader.map { "n\($0)" } ?? "nobody") in term \(term)")
            case .diverged(let index, let leader):
                note("n\(id) differs from n\(leader) at \(index)")
            case .peerFault(let peer, let reason): note("n\(id) blames n\(peer): \(reason)")
            }
        }
        if !nodes[id]!.holdsDisk { sync(id) }
    }

    private mutating func note(_ line: String) { transcript.append(line) }

    /// Completes every write of a member, in order.
    mutating func sync(_ id: MemberID) {
        while !nodes[id]!.pendingWrites.isEmpty {
            let persist = nodes[id]!.pendingWrites.removeFirst()
            record(persist, on: id)
            network += persist.thenSend
            nodes[id]!.raft.step(.persisted(token: persist.token), now: now)
            flush(id)
        }
    }

    private mutating func record(_ persist: Persist, on id: MemberID) {
        let raft = nodes[id]!.raft
        if let hardState = persist.hardState { nodes[id]!.platter.hardState = hardState }
        if let truncation = persist.truncation {
            nodes[id]!.platter.entries.removeLast(
                nodes[id]!.platter.entries.count - Int(truncation))
        }
        guard let entries = persist.entries else { return }
        for index in entries {
            // A write that was truncated meanwhile is followed by the one that says so.
            guard index <= raft.lastIndex else { break }
            nodes[id]!.platter.entries.append(raft.metadata(at: index))
        }
    }

    mutating func holdDisk(_ id: MemberID, _ holds: Bool) {
        nodes[id]!.holdsDisk = holds
        if !holds { sync(id) }
    }

    mutating func propose(_ id: MemberID, _ new: Configuration? = nil) -> Raft.ProposeResult {
        nextDigest += 1
        let result = nodes[id]!.raft.propose(
            Raft.Proposal(byteCount: 10, digest: nextDigest, configuration: new), now: now)
        flush(id)
        return result
    }

    mutating func read(_ id: MemberID, context: UInt64) {
        nodes[id]!.raft.read(context: context, calls: 1, now: now)
        flush(id)
    }

    /// Lets a member's next deadline come.
    mutating func timeout(_ id: MemberID) {
        now = max(now, nodes[id]!.raft.nextDeadline)
        step(.timer, on: id)
    }

    mutating func pass(_ microseconds: Microseconds) { now += microseconds }

    mutating func crash(_ id: MemberID) {
        network.removeAll { $0.to == id }
        start(id, nodes[id]!.platter)
    }

    // MARK: - The network

    /// Delivers what lies there and what that leads to, unless `isLost` says otherwise.
    mutating func deliver(losing isLost: (Message) -> Bool = { _ in false }) {
        var rounds = 0
        while !network.isEmpty {
            rounds += 1
            precondition(rounds < 10_000, "the members never come to rest")
            let message = network.removeFirst()
            if isLost(message) { continue }
            deliverOne(message)
        }
    }

    mutating func deliverOne(_ message: Message) {
        note(Self.describe(message))
        guard nodes[message.to] != nil else { return }
        step(.receive(message), on: message.to)
    }

    mutating func takeMessages() -> [Message] {
        defer { network = [] }
        return network
    }

    /// Elects a member whatever the clock says.
    mutating func elect(_ id: MemberID) {
        for other in nodes.keys.sorted() where nodes[other]!.raft.isLeader && other != id {
            step(.transferLeadership(to: id), on: other)
            deliver()
            if self[id].isLeader { return }
        }
        pass(3_000_000)
        timeout(id)
        deliver()
        precondition(self[id].isLeader, "the election of n\(id) failed")
    }

    // MARK: - Showing

    /// The whole state of a member on one line.
    func state(_ id: MemberID) -> String {
        let raft = self[id]
        let leader = raft.leader.map { "n\($0)" } ?? "-"
        return "n\(id)@\(raft.term) \(raft.role) leader=\(leader) "
            + "last=\(raft.lastIndex)@\(raft.term(at: raft.lastIndex)!) commit=\(raft.commitIndex) "
            + "durable=\(raft.durableIndex)"
    }

    static func describe(_ message: Message) -> String {
        let head = "n\(message.from)->n\(message.to)@\(message.term)"
        switch message.body {
        case .preVoteRequest(let request):
            return "\(head) pre-vote? last=\(request.lastIndex)@\(request.lastTerm)"
        case .preVoteResponse(let granted): return "\(head) pre-vote \(granted ? "yes" : "no")"
        case .voteRequest(let request):
            return "\(head) vote? last=\(request.lastIndex)@\(request.lastTerm)"
                + (request.isTransfer ? " transfer" : "")
        case .voteResponse(let granted): return "\(head) vote \(granted ? "yes" : "no")"
        case .append(let append):
            let entries =
                append.entries.isEmpty
                ? "nothing" : "\(append.previous.index + 1)..\(append.lastIndex)"
            return
                "\(head) append \(entries) after \(append.previous.index)@\(append.previous.term)"
                + " commit=\(append.commitIndex)"
        case .appendResponse(let response):
            switch response.outcome {
            case .matched(let index): return "\(head) matched \(index)"
            case .rejected(let previous, let hintIndex, let hintTerm):
                return "\(head) rejected \(previous) hint=\(hintIndex)@\(hintTerm)"
            }
        case .heartbeat(let heartbeat):
            return "\(head) heartbeat commit=\(heartbeat.commitIndex) round=\(heartbeat.round)"
        case .heartbeatResponse(let response): return "\(head) heard round=\(response.round)"
        case .timeoutNow: return "\(head) campaign now"
        case .readIndexRequest(let context): return "\(head) read \(context)?"
        case .readIndexResponse(let context, let index):
            return "\(head) read \(context) at \(index.map(String.init) ?? "unknown")"
        }
    }
}

extension Message {
    var isAppend: Bool { if case .append = body { true } else { false } }
}
