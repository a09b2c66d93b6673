import ArgumentParser
import Foundation
import Simulation

/// What `run` starts as a child process: a line for each seed, as it ends.
struct WorkerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "worker", shouldDisplay: false)

    @Option var from: UInt64
    @Option var seeds: UInt64
    @OptionGroup var options: ScenarioOptions

    func run() {
        for seed in from..<from + seeds {
            let result = World(seed: seed, scenario: options.scenario(seed: seed)).run()
            // Unbuffered: the next seed may end this process.
            FileHandle.standardOutput.write(Data((SeedReport(result).line + "\n").utf8))
        }
    }
}
