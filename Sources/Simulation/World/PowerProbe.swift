import DurableLog
import RaftCore
import Replica

/// Asks of many moments of a run what a loss of power there would leave, on a copy of the disk: the
/// world itself goes on as if nothing had been. One run so stands for hundreds of crashes.
struct PowerProbe {
    private var random: RandomStream
    /// Of a thousand disk calls, how many are followed by a probe.
    private let permille: UInt64

    init(permille: UInt64, random: RandomStream) {
        self.permille = permille
        self.random = random
    }

    /// Whether to look after a disk call; more often where names or the log's shape change.
    mutating func isDue(after step: DiskStep, _ batch: LogInspection.Batch?) -> Bool {
        let weight: UInt64 =
            switch step {
            case .remove: 40
            case .rename, .create: 8
            case .write(_, _, let bytes):
                batch?.changesShape ?? false || bytes.count > 2 * SimulatedDisk.sectorBytes ? 8 : 1
            case .sync, .syncDirectory: 1
            case .read: 0
            }
        return random.chance(weight * permille)
    }

    /// Whether to look after a member has read its directory back.
    mutating func isDueAfterStart() -> Bool { random.chance(20 * permille) }

    /// A copy of a disk as a loss of power at this moment might leave it.
    mutating func afterLoss(_ disk: SimulatedDisk) -> SimulatedDisk {
        var copy = disk
        copy.failuresPerMillion = 0
        copy.failsAtCall = .max
        copy.isFull = false
        copy.tear = SimulatedDisk.Tear()
        copy.crash(drawingFrom: random.forked(random.next()))
        return copy
    }
}

extension LogInspection.Batch {
    /// Whether it does more than append.
    fileprivate var changesShape: Bool {
        records.contains { record in
            switch record {
            case .truncation, .compaction, .reset: true
            case .vote, .entry: false
            }
        }
    }
}

extension World {
    /// A member that loses power now must find a log to go on with, which holds what it promised.
    func probePower(of member: Member) {
        guard !member.isDamaged, !member.disk.hasLostPower else { return }
        var disk = powerProbe.afterLoss(member.disk)
        guarded { () throws(Violation) in
            let recovered: RecoveredReplica
            do throws(LogError) {
                recovered = try RecoveredReplica.open(
                    &disk, identity: member.identity, limits: scenario.settings.store)
            } catch {
                throw Violation(
                    "PowerProbe", "without power now, \(member.id) would refuse to start: \(error)")
            }
            var account = member.platter
            try checkRecovered(recovered, of: member, account: &account, afterPowerLoss: true)
        }
    }
}
