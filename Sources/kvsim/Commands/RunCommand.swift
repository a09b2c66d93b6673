import ArgumentParser
import Foundation
import Synchronization

struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Run many seeds and report every broken promise.")

    @Option(help: "How many seeds.")
    var seeds: UInt64 = 1_000

    @Option(help: "The first seed; by default one that no earlier run had, from the clock.")
    var from: UInt64?

    @Option(help: "Processes at a time.")
    var jobs = ProcessInfo.processInfo.activeProcessorCount

    @Option(help: "Stop after so many seconds, even if seeds are left.")
    var seconds: Double?

    @OptionGroup var options: ScenarioOptions

    func validate() throws {
        guard jobs > 0 else { throw ValidationError("--jobs must be at least 1.") }
    }

    func run() throws {
        let first = from ?? UInt64(Date().timeIntervalSince1970) * 1_000
        let start = ContinuousClock.now
        let processorSeconds = Self.childSeconds()
        let totals = Mutex(Totals())
        let limit = seconds
        let arguments = options.arguments
        Workers(arguments: arguments, jobs: jobs).run(
            first..<first + seeds,
            stop: { limit.map { start.duration(to: .now) > .seconds($0) } ?? false },
            report: { report in
                totals.withLock { $0.add(report) }
                if let violation = report.violation {
                    print("seed \(report.seed): \(violation.check): \(violation.detail)")
                    print("  \(([report.repetition] + arguments).joined(separator: " "))")
                    fflush(nil)
                }
            })
        let result = totals.withLock { $0 }
        print(result.summary(from: first, processorSeconds: Self.childSeconds() - processorSeconds))
        if result.violations > 0 { throw ExitCode(1) }
    }

    /// Processor time of the children that have ended, in seconds.
    private static func childSeconds() -> Double {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_CHILDREN.rawValue), &usage)
        return Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
            + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6
    }
}

/// Sums over seeds.
struct Totals {
    var seeds = 0
    var violations = 0
    private var events = 0
    private var simulatedMicroseconds: UInt64 = 0
    private var writes = 0
    private var reads = 0

    mutating func add(_ report: SeedReport) {
        seeds += 1
        if report.violation != nil { violations += 1 }
        events += report.events
        simulatedMicroseconds += report.simulatedMicroseconds
        writes += report.writes
        reads += report.reads
    }

    func summary(from first: UInt64, processorSeconds: Double) -> String {
        func text(_ number: Double, _ digits: Int = 1) -> String {
            String(format: "%.\(digits)f", number)
        }
        let hours = Double(simulatedMicroseconds) / 3.6e9
        let minutes = max(processorSeconds / 60, 1e-9)
        return """
            \(seeds) seeds from \(first), \(violations) with a broken promise
            \(text(hours)) simulated cluster-hours, \(events) events, \(writes) acknowledged writes, \
            \(reads) reads
            \(text(processorSeconds)) CPU seconds: \(text(hours / minutes)) cluster-hours a CPU-minute
            """
    }
}
