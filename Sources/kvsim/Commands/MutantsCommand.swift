#if MUTATIONS
    import ArgumentParser
    import Foundation
    import Planted
    import Synchronization

    /// Lets every planted bug loose, one by one, and reports which checks caught it.
    struct MutantsCommand: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "mutants", abstract: "Check that every planted bug is caught.")

        @Option(help: "Seeds tried for each bug, at most.")
        var seeds: UInt64 = 1_500

        @Option(help: "Go on until so many seeds have caught a bug.")
        var wanted = 3

        @Option(help: "Only these bugs, by number.")
        var only: [Int] = []

        @Option(help: "Processes at a time.")
        var jobs = ProcessInfo.processInfo.activeProcessorCount

        func run() throws {
            print("bug   caught by  of seeds  CPU s to the first  checks")
            var missed: [Int] = []
            var times: [Double] = []
            for bug in plantedBugs where only.isEmpty || only.contains(bug.number) {
                let hunt = Hunt(bug: bug.number, seeds: seeds, wanted: wanted, jobs: jobs)
                let result = hunt.run()
                if result.caught.count < wanted { missed.append(bug.number) }
                if let first = result.secondsToFirst { times.append(first) }
                print(result.row(bug.number, bug.title))
                fflush(nil)
            }
            times.sort()
            let median = times.isEmpty ? 0 : times[times.count / 2]
            print(
                """
                \(times.count) bugs caught, in \(String(format: "%.1f", median)) CPU seconds in the \
                median; caught by fewer than \(wanted) seeds: \(missed)
                """)
            if !missed.isEmpty { throw ExitCode(1) }
        }
    }

    /// The search for seeds that catch a bug.
    struct Hunt {
        var bug: Int
        var seeds: UInt64
        var wanted: Int
        var jobs: Int

        struct Result {
            var caught: [(seed: UInt64, check: String)] = []
            var tried = 0
            var secondsToFirst: Double?

            func row(_ number: Int, _ title: String) -> String {
                func padded(_ text: String, _ width: Int) -> String {
                    String(repeating: " ", count: max(0, width - text.count)) + text
                }
                let checks = Dictionary(grouping: caught, by: \.check).keys.sorted()
                let seconds = secondsToFirst.map { String(format: "%.1f", $0) } ?? "-"
                return [
                    padded("\(number)", 3), padded("\(caught.count)", 9), padded("\(tried)", 9),
                    padded(seconds, 19), " \(checks.joined(separator: ", ")): \(title)",
                ].joined(separator: " ")
            }
        }

        func run() -> Result {
            let reports = Mutex<[SeedReport]>([])
            let enough = wanted
            var workers = Workers()
            workers.environment = ["MARTLET_BUG": "\(bug)"]
            workers.jobs = jobs
            workers.seedsPerProcess = 10
            workers.explainsTraps = false
            workers.run(
                1..<seeds + 1,
                stop: { reports.withLock { $0.count { $0.violation != nil } } >= enough },
                report: { report in reports.withLock { $0.append(report) } })
            var result = Result()
            var microseconds: UInt64 = 0
            for report in reports.withLock({ $0 }).sorted(by: { $0.seed < $1.seed }) {
                result.tried += 1
                microseconds += report.processorMicroseconds
                guard let violation = report.violation else { continue }
                if result.caught.isEmpty { result.secondsToFirst = Double(microseconds) / 1e6 }
                result.caught.append((report.seed, violation.check))
            }
            return result
        }
    }
#endif
