import RaftCore
import Replica

/// A blow that waits for its moment. Nothing in it is unreal: what chance would bring about once in
/// a thousand worlds, it brings about in one of ten.
struct Ambush: Sendable {
    /// When a member is easily hurt.
    enum Moment: Sendable {
        /// A leader put a change of the membership into its log, and nobody else has it.
        case changesMembership
        /// A member became leader.
        case begins
        /// A member cut back its log.
        case truncates
        /// A leader told another member to take over.
        case handsOver
        /// What is left of the leases' times was committed.
        case recordsLeases
        /// A member has a snapshot of entries that its own log has yet to sync: others committed them.
        case outrunsItsLog
        /// A leader begins to send a member its snapshot.
        case sendsSnapshot
        /// A member is about to give a snapshot that it wrote its name.
        case namesSnapshot
        /// A member wrote the first batch of a segment, and is about to sync it.
        case beginsSegment
    }
    /// What is done to the member.
    enum Blow: Sendable {
        /// Nothing it sends from now on arrives, nor does anything reach it.
        case cutOff
        /// The same while clients call it.
        case cutOffWithCallers
        /// It and one other are cut off from the rest.
        case cutOffWithCompanion
        /// Its process or its machine fails a moment later.
        case fell
        /// An operator wants the membership changed.
        case changeMembership
        /// It is asked to hand over.
        case handOver
        /// Its order to take over comes late, and nothing else until then.
        case orderIsLate
        /// Its process is killed, and its machine loses power when it has just started again.
        case killedThenLosesPower
        /// The last snapshot that a leader sent it arrives once more: the sender missed the answer.
        case snapshotComesAgain
        /// Its disk fails a sync, and keeps nothing of what that was about.
        case syncFails
        /// The same for every sync of that segment: what is said again there is lost again. When it
        /// has gone on to the next one, the power fails.
        case syncsKeepFailing
        /// Its machine loses power now.
        case losesPower
    }
    var moment: Moment
    var blow: Blow

    static let all = [
        Ambush(moment: .changesMembership, blow: .cutOff),
        Ambush(moment: .changesMembership, blow: .fell),
        Ambush(moment: .begins, blow: .changeMembership),
        Ambush(moment: .begins, blow: .cutOffWithCallers),
        Ambush(moment: .begins, blow: .cutOff),
        Ambush(moment: .truncates, blow: .fell),
        Ambush(moment: .handsOver, blow: .cutOffWithCompanion),
        Ambush(moment: .handsOver, blow: .orderIsLate),
    ]
    /// Those that strike a disk between two states.
    static let ofDisks = [
        Ambush(moment: .outrunsItsLog, blow: .killedThenLosesPower),
        Ambush(moment: .outrunsItsLog, blow: .snapshotComesAgain),
        Ambush(moment: .outrunsItsLog, blow: .fell),
        Ambush(moment: .namesSnapshot, blow: .killedThenLosesPower),
        Ambush(moment: .beginsSegment, blow: .syncFails),
        Ambush(moment: .beginsSegment, blow: .syncsKeepFailing),
    ]
}

/// Knows the moments of all members.
struct Lookout {
    private struct Seen {
        var boot: UInt64 = 0
        var isLeader = false
        var term: Term = 0
        var last: LogIndex = 0
        var configuration: LogIndex = 0
        var snapshot: LogIndex = 0
    }
    private var seen: [MemberID: Seen] = [:]
    /// No blow falls before this.
    private var restsUntil: Microseconds = 0
    private let pause: Microseconds
    private let ambushes: [Ambush]
    var random: RandomStream

    init(scenario: Scenario, random: RandomStream) {
        ambushes = scenario.ambushes
        pause =
            scenario.ambushPauseElectionTimeouts
            * scenario.settings.raft.electionTimeoutMicroseconds
        self.random = random
    }

    var isIdle: Bool { ambushes.isEmpty }

    /// The blows that fall on a member after an event of its.
    mutating func blows(on member: borrowing Replica, now: Microseconds) -> [Ambush.Blow] {
        let before = seen[member.id] ?? Seen()
        let after = Seen(
            boot: member.boot, isLeader: member.isLeader, term: member.term,
            last: member.lastIndex, configuration: member.configurationIndex,
            snapshot: member.snapshotIndex)
        seen[member.id] = after
        guard before.boot == after.boot else { return [] }
        if after.isLeader, !before.isLeader || before.term != after.term {
            return blows(at: .begins, now: now)
        }
        if after.isLeader, after.configuration > before.configuration {
            return blows(at: .changesMembership, now: now)
        }
        if after.last < before.last { return blows(at: .truncates, now: now) }
        if after.snapshot > before.snapshot, member.durableIndex < after.snapshot {
            return blows(at: .outrunsItsLog, now: now)
        }
        return []
    }

    /// The blows that fall at a moment.
    mutating func blows(at moment: Ambush.Moment, now: Microseconds) -> [Ambush.Blow] {
        guard now >= restsUntil else { return [] }
        let due = ambushes.filter { $0.moment == moment }.map(\.blow)
        if !due.isEmpty, !due.contains(where: { $0.isGentle }) { restsUntil = now + pause }
        return due
    }
}

extension Ambush.Blow {
    /// Whether it harms nobody by itself, so that the next may follow at once.
    fileprivate var isGentle: Bool {
        switch self {
        case .changeMembership, .snapshotComesAgain: true
        default: false
        }
    }
}

extension World {
    /// After an event of a member, and before anything it wants done is.
    func springAmbushes(on member: Member) {
        guard !lookout.isIdle, phase == .faults, let process = member.process else { return }
        for blow in lookout.blows(on: process.replica, now: now) { strike(member, blow) }
    }

    /// At a moment that another subsystem noticed. Returns whether a blow is about to fall.
    @discardableResult
    func springAmbushes(at moment: Ambush.Moment, on member: Member?) -> Bool {
        guard !lookout.isIdle, phase == .faults, let member else { return false }
        let blows = lookout.blows(at: moment, now: now)
        for blow in blows {
            schedule(.blow(blow, member: member.position, boot: member.boot), in: 0)
        }
        return !blows.isEmpty
    }

    /// A member began a segment: whether the sync of it fails.
    func springAmbush(onSegment file: String, of member: Member) {
        guard !lookout.isIdle, phase == .faults, member.isRunning else { return }
        if member.badSegment != nil {
            member.badSegment = nil
            let soon = lookout.random.draw(UInt64(0)...20_000)
            schedule(.blow(.losesPower, member: member.position, boot: member.boot), in: soon)
            return
        }
        for blow in lookout.blows(at: .beginsSegment, now: now) {
            member.disk.failsAtCall = member.disk.callCount + 1
            if case .syncsKeepFailing = blow { member.badSegment = file }
        }
    }

    /// A leader orders another member to take over: how late the order is, if that is a moment for
    /// it to be. The leader takes writes again once it has given up waiting.
    func delayOfOrder(from member: Member, to receiver: Int) -> Microseconds? {
        guard !lookout.isIdle, phase == .faults else { return nil }
        var delay: Microseconds?
        for blow in lookout.blows(at: .handsOver, now: now) {
            if case .orderIsLate = blow {
                let timeout = scenario.settings.raft.electionTimeoutMicroseconds
                delay = timeout + lookout.random.draw(timeout / 10...timeout)
                cut([member.position], from: [receiver], bothWays: false, for: delay!)
            } else {
                schedule(.blow(blow, member: member.position, boot: member.boot), in: 0)
            }
        }
        return delay
    }

    private func strike(_ member: Member, _ blow: Ambush.Blow) {
        switch blow {
        case .cutOff, .cutOffWithCallers, .cutOffWithCompanion, .orderIsLate:
            blowFalls(blow, on: member)
        case .fell, .handOver:
            schedule(
                .blow(blow, member: member.position, boot: member.boot),
                in: lookout.random.draw(UInt64(0)...20_000))
        case .changeMembership, .killedThenLosesPower, .losesPower, .snapshotComesAgain,
            .syncFails, .syncsKeepFailing:
            schedule(.blow(blow, member: member.position, boot: member.boot), in: 0)
        }
    }

    func blowFalls(_ blow: Ambush.Blow, on member: Member) {
        guard phase == .faults, member.isRunning else { return }
        let timeout = scenario.settings.raft.electionTimeoutMicroseconds
        switch blow {
        case .cutOff, .cutOffWithCallers:
            isolate([member.position], for: lookout.random.draw(timeout...5 * timeout))
            if case .cutOffWithCallers = blow {
                schedule(.callers(at: member.position), in: lookout.random.draw(0...timeout / 2))
            }
        case .cutOffWithCompanion:
            let others = members.indices.filter { $0 != member.position }
            guard let companion = lookout.random.pick(others) else { return }
            isolate(
                [member.position, companion], for: lookout.random.draw(timeout...4 * timeout))
        case .fell: fell(member, losesPower: lookout.random.chance(700))
        case .changeMembership: changeMembership()
        case .handOver: deliver(.transferLeadership(to: nil), to: member)
        case .killedThenLosesPower:
            crash(member, losesPower: false)
            let start = lookout.random.draw(UInt64(1_000)...50_000)
            schedule(.start(member: member.position), in: start)
            schedule(
                .blow(.losesPower, member: member.position, boot: member.boot + 1),
                in: start + lookout.random.draw(1...10_000))
        case .losesPower: losePower(member)
        case .snapshotComesAgain: receiveAgain(member)
        // The order itself is put off, a sync fails: nothing befalls the member now.
        case .orderIsLate, .syncFails, .syncsKeepFailing: break
        }
    }

    private func isolate(_ side: [Int], for duration: Microseconds) {
        let others = members.indices.filter { !side.contains($0) }
        cut(side, from: others, bothWays: true, for: duration)
    }
}
