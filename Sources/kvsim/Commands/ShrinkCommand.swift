import ArgumentParser
import Simulation
import Synchronization

struct ShrinkCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "shrink",
        abstract: "Find out which faults a failing seed takes, and for how long.")

    @Argument(help: "The seed.")
    var seed: UInt64

    func run() throws {
        var options = ScenarioOptions()
        options.without = []
        options.faultMilliseconds = nil
        guard let check = failure(options) else {
            print("seed \(seed) keeps all promises")
            return
        }
        print("seed \(seed) fails \(check)")
        var milliseconds = Scenario(seed: seed).faultMicroseconds / 1_000
        for simplification in Simplification.allCases {
            var simpler = options
            simpler.without.append(simplification)
            if failure(simpler) == check {
                options = simpler
                print("  without \(simplification.rawValue): still")
            }
        }
        var step = milliseconds / 2
        while step >= 50 {
            var shorter = options
            shorter.faultMilliseconds = milliseconds - step
            if failure(shorter) == check {
                milliseconds -= step
                options = shorter
                print("  with faults for \(milliseconds) ms: still")
            }
            step = min(step / 2, milliseconds / 2)
        }
        print((["kvsim replay \(seed) --trace"] + options.arguments).joined(separator: " "))
        throw ExitCode(1)
    }

    /// The check that a scenario fails, in a process of its own.
    private func failure(_ options: ScenarioOptions) -> String? {
        let check = Mutex<String?>(nil)
        Workers(arguments: options.arguments, jobs: 1).run(seed..<seed + 1) { report in
            check.withLock { $0 = report.violation?.check }
        }
        return check.withLock { $0 }
    }
}
