import ArgumentParser
import Foundation
import Simulation
import Synchronization

struct CrashPointsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "crash-points",
        abstract: "Lose power at every disk call of scripted scenarios, torn in every way.")

    @Option(help: "Processes at a time.")
    var jobs = ProcessInfo.processInfo.activeProcessorCount

    @Option(help: "Run this one only.")
    var only: Int?

    @Flag(help: "With --only: tell all that happens.")
    var trace = false

    func run() throws {
        let points = CrashPoints()
        if let only {
            guard (0..<points.count).contains(only) else {
                throw ValidationError("There are \(points.count) points, counted from 0.")
            }
            print(points.label(only))
            let result = points.run(only, listener: trace ? { print($0) } : nil)
            print(result.violation.map { "broken promise: \($0)" } ?? "all promises kept")
            if result.violation != nil { throw ExitCode(1) }
            return
        }
        for part in points.summary { print("\(part.points) points: \(part.name)") }
        let broken = Mutex(0)
        Workers(mode: .crashPoints, jobs: jobs).run(0..<UInt64(points.count)) { report in
            guard let violation = report.violation else { return }
            broken.withLock { $0 += 1 }
            print("point \(report.seed): \(violation.check): \(violation.detail)")
            print("  \(points.label(Int(report.seed)))")
            print("  kvsim crash-points --only \(report.seed) --trace")
        }
        let count = broken.withLock { $0 }
        print("\(points.count) crash points, \(count) with a broken promise")
        if count > 0 { throw ExitCode(1) }
    }
}
