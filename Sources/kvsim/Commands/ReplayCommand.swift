import ArgumentParser
import Simulation

struct ReplayCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replay", abstract: "Run one seed again, on demand with its story.")

    @Argument(help: "The seed.")
    var seed: UInt64

    @Flag(help: "Tell all that happens, one line each.")
    var trace = false

    @OptionGroup var options: ScenarioOptions

    func run() throws {
        let world = World(seed: seed, scenario: options.scenario(seed: seed))
        let result = world.run(listener: trace ? { print($0) } : nil)
        let seconds = Double(result.simulatedMicroseconds) / 1e6
        print(
            """
            seed \(seed): \(result.events) events in \(seconds) simulated seconds, \
            \(result.counts.writes) writes, \(result.counts.reads) reads, trace hash \
            \(String(result.traceHash, radix: 16))
            """)
        if let violation = result.violation {
            print("broken promise: \(violation)")
            throw ExitCode(1)
        }
        print("all promises kept")
    }
}
