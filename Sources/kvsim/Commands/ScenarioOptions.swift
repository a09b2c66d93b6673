import ArgumentParser
import Simulation

extension Simplification: ExpressibleByArgument {}

/// What to leave out of a seed's scenario.
struct ScenarioOptions: ParsableArguments {
    @Option(
        parsing: .upToNextOption,
        help: "Leave these out: \(Simplification.allCases.map(\.rawValue).joined(separator: ", "))."
    )
    var without: [Simplification] = []

    @Option(help: "End the faults after so many simulated milliseconds.")
    var faultMilliseconds: UInt64?

    func scenario(seed: UInt64) -> Scenario {
        Scenario(
            seed: seed, without: without, faultMicroseconds: faultMilliseconds.map { $0 * 1_000 })
    }

    /// The same options for another process, or for a person to type.
    var arguments: [String] {
        (without.isEmpty ? [] : ["--without"] + without.map(\.rawValue))
            + (faultMilliseconds.map { ["--fault-milliseconds", "\($0)"] } ?? [])
    }
}
