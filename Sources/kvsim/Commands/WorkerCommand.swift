import ArgumentParser
import Foundation
import Simulation

extension Workers.Mode: ExpressibleByArgument {}

/// What `run` starts as a child process: a line for each seed, as it ends.
struct WorkerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "worker", shouldDisplay: false)

    @Option var mode = Workers.Mode.seeds
    @Option var from: UInt64
    @Option var seeds: UInt64
    @OptionGroup var options: ScenarioOptions

    func run() {
        let points = mode == .crashPoints ? CrashPoints() : nil
        for seed in from..<from + seeds {
            let start = clock()
            let result =
                points?.run(Int(seed))
                ?? World(seed: seed, scenario: options.scenario(seed: seed)).run()
            // Unbuffered: the next seed may end this process.
            let microseconds = UInt64(clock() - start) * 1_000_000 / UInt64(CLOCKS_PER_SEC)
            let report = SeedReport(result, processorMicroseconds: microseconds)
            FileHandle.standardOutput.write(Data((report.line + "\n").utf8))
        }
    }
}
