import RaftCore

/// A way to make a scenario simpler without changing what its seed draws otherwise.
public enum Simplification: String, CaseIterable, Sendable {
    /// No frame is lost.
    case loss
    /// No frame arrives twice or late.
    case duplication
    /// Frames keep their order.
    case disorder
    /// No link is cut or reset.
    case cuts
    /// No process or machine fails.
    case crashes
    /// No process pauses.
    case pauses
    /// The membership stays as it is.
    case membership
    /// Nobody is asked to hand over leadership.
    case transfers
    /// All clocks are right.
    case drift
    /// No clock jumps.
    case jumps
    /// No blow waits for its moment.
    case ambushes
    /// All kinds of frame fare alike.
    case fickleKinds
    /// All disks are equally fast.
    case slowDisk
    /// Snapshots arrive, and go, as fast as elsewhere.
    case slowSnapshots
    /// The leader isn't removed in the end.
    case removal
    /// No disk call fails.
    case diskFailures
    /// No disk stalls.
    case stalls
    /// Nothing rots.
    case rot
    /// No snapshot is taken.
    case snapshots
    /// Nobody watches.
    case watches
    /// Only half of the clients.
    case clients
    /// Only half of the calls.
    case calls

    func apply(to scenario: inout Scenario) {
        switch self {
        case .loss: scenario.network.lossPermille = 0
        case .duplication:
            scenario.network.duplicationPermille = 0
            scenario.network.replayPermille = 0
        case .disorder: scenario.network.keepsOrder = true
        case .cuts:
            scenario.network.faultEveryMicroseconds = 0
            scenario.network.lostAnswersEveryMicroseconds = 0
            scenario.network.forksEveryMicroseconds = 0
        case .crashes: scenario.machine.crashEveryMicroseconds = 0
        case .pauses: scenario.machine.pauseEveryMicroseconds = 0
        case .membership: scenario.machine.membershipEveryMicroseconds = 0
        case .transfers: scenario.machine.transferEveryMicroseconds = 0
        case .drift: scenario.machine.driftPerMillion = 0
        case .jumps: scenario.machine.jumps = false
        case .ambushes: scenario.ambushes = []
        case .fickleKinds: scenario.network.ficklePermille = 0
        case .slowDisk: scenario.disk.slowMember = nil
        case .slowSnapshots:
            scenario.network.snapshotMicroseconds = Scenario.NetworkWeather().snapshotMicroseconds
            scenario.disk.removalFactor = 1
        case .removal: scenario.machine.endsWithRemoval = false
        case .diskFailures: scenario.disk.failuresPerMillion = 0
        case .stalls: scenario.disk.stallPermille = 0
        case .rot: scenario.disk.rots = false
        case .snapshots:
            scenario.settings.snapshotEntries = .max
            scenario.settings.snapshotLogBytes = .max / 2
        case .watches: scenario.work.watches = 0
        case .clients: scenario.work.sessions = max(1, scenario.work.sessions / 2)
        case .calls: scenario.work.callsPerSecond = max(1, scenario.work.callsPerSecond / 2)
        }
    }
}

extension Scenario {
    /// The scenario of a seed, made simpler.
    ///
    /// - Parameter faultMicroseconds: how long faults go on; nil for as long as the seed says.
    public init(
        seed: UInt64, without simplifications: [Simplification], faultMicroseconds: UInt64? = nil
    ) {
        self.init(seed: seed)
        for simplification in simplifications { simplification.apply(to: &self) }
        if let faultMicroseconds { self.faultMicroseconds = faultMicroseconds }
    }
}
