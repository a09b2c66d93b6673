import Dispatch
import Foundation
import Synchronization

/// Runs seeds in child processes: a broken precondition ends a process, and is a finding like any
/// other.
struct Workers: Sendable {
    /// What the numbers stand for.
    enum Mode: String, Sendable, CaseIterable {
        case seeds
        case crashPoints
    }
    /// Why a child ended in the middle of a seed.
    enum EndCause: Sendable {
        case trap(String)
        case hang
    }

    var mode = Mode.seeds
    /// Arguments for every worker, such as what to leave out of the scenario.
    var arguments: [String] = []
    /// Added to the children's environment.
    var environment: [String: String] = [:]
    /// Child processes at a time.
    var jobs = 2
    /// Seeds one child runs.
    var seedsPerProcess: UInt64 = 50
    /// Whether a seed that ended its process is run again to find the place.
    var explainsTraps = true
    /// How long a child may take for its seeds. One takes about a tenth of a second.
    static let patienceSeconds = 300.0

    /// Runs the seeds and hands each report over as it comes, in no order.
    ///
    /// - Parameter stop: asked before each child; true ends the run.
    func run(
        _ seeds: Range<UInt64>, stop: @escaping @Sendable () -> Bool = { false },
        report: @escaping @Sendable (SeedReport) -> Void
    ) {
        let next = Mutex(seeds.lowerBound)
        DispatchQueue.concurrentPerform(iterations: jobs) { _ in
            while !stop() {
                let first = next.withLock { value in
                    defer { value += seedsPerProcess }
                    return value
                }
                guard first < seeds.upperBound else { return }
                runChunk(first..<min(first + seedsPerProcess, seeds.upperBound), report)
            }
        }
    }

    private func runChunk(_ seeds: Range<UInt64>, _ report: (SeedReport) -> Void) {
        var first = seeds.lowerBound
        while first < seeds.upperBound {
            let child = launch(workerArguments(from: first, to: seeds.upperBound))
            let reports = child.output.split(separator: "\n").compactMap { SeedReport(line: $0) }
            for done in reports { report(done) }
            first = (reports.last?.seed).map { $0 + 1 } ?? first
            guard first < seeds.upperBound else { return }
            // The child ended in the middle of this seed.
            report(SeedReport(endOf: first, cause: child.wasStopped ? .hang : .trap(place(first))))
            first += 1
        }
    }

    private func workerArguments(from first: UInt64, to end: UInt64) -> [String] {
        ["worker", "--mode", mode.rawValue, "--from", "\(first)", "--seeds", "\(end - first)"]
            + arguments
    }

    /// Runs a seed again with a backtrace and picks out the place where it ends.
    private func place(_ seed: UInt64) -> String {
        guard explainsTraps else { return "a broken precondition" }
        let output = launch(workerArguments(from: seed, to: seed + 1), backtrace: true).output
        let lines = output.split(separator: "\n")
        let message = lines.first { $0.contains("failure:") || $0.contains("Fatal error:") }
        let frame = lines.first { $0.contains(" at ") && $0.contains("/Sources/") }
        let file = frame.flatMap { line in
            line.range(of: "/Sources/").map { line[$0.upperBound...] }
        }
        return [message.map { $0.drop { "* ".contains($0) } }, file].compactMap { $0 }
            .joined(separator: " at ")
    }

    private func launch(
        _ arguments: [String], backtrace: Bool = false
    ) -> (output: String, wasStopped: Bool) {
        let child = Process()
        child.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        child.arguments = arguments
        child.environment = ProcessInfo.processInfo.environment
            .merging(environment) { _, new in new }
            .merging(["SWIFT_BACKTRACE": backtrace ? "enable=yes,color=no" : "enable=no"]) {
                _, new in new
            }
        let pipe = Pipe()
        child.standardOutput = pipe
        child.standardError = backtrace ? pipe : FileHandle.nullDevice
        do {
            try child.run()
        } catch {
            preconditionFailure("this very program can't be started again: \(error)")
        }
        let stopped = Mutex(false)
        let watchdog = DispatchWorkItem {
            stopped.withLock { $0 = true }
            kill(child.processIdentifier, SIGKILL)
        }
        DispatchQueue.global().asyncAfter(
            deadline: .now() + Self.patienceSeconds, execute: watchdog)
        let data = pipe.fileHandleForReading.readDataToEndOfFile()
        child.waitUntilExit()
        watchdog.cancel()
        return (String(decoding: data, as: UTF8.self), stopped.withLock { $0 })
    }
}
