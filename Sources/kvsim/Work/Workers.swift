import Dispatch
import Foundation
import Synchronization

/// Runs seeds in child processes: a broken precondition ends a process, and is a finding like any
/// other.
struct Workers: Sendable {
    /// Arguments for every worker, such as what to leave out of the scenario.
    var arguments: [String] = []
    /// Child processes at a time.
    var jobs = 2
    /// Seeds one child runs.
    static let seedsPerProcess: UInt64 = 50

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
                    defer { value += Self.seedsPerProcess }
                    return value
                }
                guard first < seeds.upperBound else { return }
                runChunk(first..<min(first + Self.seedsPerProcess, seeds.upperBound), report)
            }
        }
    }

    private func runChunk(_ seeds: Range<UInt64>, _ report: (SeedReport) -> Void) {
        var first = seeds.lowerBound
        while first < seeds.upperBound {
            let reports = runChild(first..<seeds.upperBound)
            for done in reports { report(done) }
            first = (reports.last?.seed).map { $0 + 1 } ?? first
            guard first < seeds.upperBound else { return }
            // The child ended in the middle of this seed.
            report(SeedReport(trapOf: first, cause: causeOfTrap(first)))
            first += 1
        }
    }

    private func runChild(_ seeds: Range<UInt64>) -> [SeedReport] {
        let output = launch(
            ["worker", "--from", "\(seeds.lowerBound)", "--seeds", "\(seeds.count)"] + arguments,
            backtrace: false)
        return output.split(separator: "\n").compactMap { SeedReport(line: $0) }
    }

    /// Runs the seed again with a backtrace and picks out the place.
    private func causeOfTrap(_ seed: UInt64) -> String {
        let output = launch(
            ["worker", "--from", "\(seed)", "--seeds", "1"] + arguments, backtrace: true)
        let lines = output.split(separator: "\n")
        let message = lines.first { $0.contains("failure:") || $0.contains("Fatal error:") }
        let place = lines.first { $0.contains(" at ") && $0.contains("/Sources/") }
        let text = place.flatMap { line in
            line.range(of: "/Sources/").map { line[$0.upperBound...] }
        }
        return [message.map(Self.withoutStars), text].compactMap { $0 }.joined(separator: " at ")
    }

    private static func withoutStars(_ line: Substring) -> Substring {
        line.drop { $0 == "*" || $0 == " " }
    }

    private func launch(_ arguments: [String], backtrace: Bool) -> String {
        let child = Process()
        child.executableURL = URL(fileURLWithPath: CommandLine.arguments[0])
        if !CommandLine.arguments[0].contains("/") {
            child.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        }
        child.arguments = arguments
        var environment = ProcessInfo.processInfo.environment
        environment["SWIFT_BACKTRACE"] = backtrace ? "enable=yes,color=no" : "enable=no"
        child.environment = environment
        let pipe = Pipe()
        child.standardOutput = pipe
        child.standardError = backtrace ? pipe : FileHandle.nullDevice
        do {
            try child.run()
        } catch {
            return ""
        }
        let data = pipe.fileHandleForReading.readDataToEndOfFile()
        child.waitUntilExit()
        return String(decoding: data, as: UTF8.self)
    }
}
