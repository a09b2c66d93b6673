import Simulation

/// What became of one seed, in a form that a worker process can print and its parent read.
struct SeedReport {
    var seed: UInt64
    /// The check that noticed something, and what; nil when all promises were kept.
    var violation: (check: String, detail: String)?
    var traceHash: UInt64 = 0
    var events = 0
    var simulatedMicroseconds: UInt64 = 0
    var writes = 0
    var reads = 0
    /// Processor time the seed took.
    var processorMicroseconds: UInt64 = 0

    init(_ result: RunResult, processorMicroseconds: UInt64) {
        self.processorMicroseconds = processorMicroseconds
        seed = result.seed
        violation = result.violation.map { ($0.check, $0.detail) }
        traceHash = result.traceHash
        events = result.events
        simulatedMicroseconds = result.simulatedMicroseconds
        writes = result.counts.writes
        reads = result.counts.reads
    }

    /// The seed ended its process.
    init(endOf seed: UInt64, cause: Workers.EndCause) {
        self.seed = seed
        switch cause {
        case .trap(let place): violation = ("Trap", place)
        case .hang: violation = ("Hang", "no end after \(Int(Workers.patienceSeconds)) seconds")
        }
    }

    var line: String {
        let detail = violation.map {
            "\($0.check)\t\($0.detail.replacingOccurrences(of: "\n", with: " "))"
        }
        let numbers = [
            seed, traceHash, UInt64(events), simulatedMicroseconds, UInt64(writes), UInt64(reads),
            processorMicroseconds,
        ]
        return (["done"] + numbers.map(String.init) + (detail.map { [$0] } ?? []))
            .joined(separator: "\t")
    }

    init?(line: Substring) {
        let fields = line.split(separator: "\t", omittingEmptySubsequences: false)
        guard fields.count == 8 || fields.count == 10, fields[0] == "done" else { return nil }
        let numbers = fields[1...7].compactMap { UInt64($0) }
        guard numbers.count == 7 else { return nil }
        seed = numbers[0]
        traceHash = numbers[1]
        events = Int(numbers[2])
        simulatedMicroseconds = numbers[3]
        writes = Int(numbers[4])
        reads = Int(numbers[5])
        processorMicroseconds = numbers[6]
        if fields.count == 10 { violation = (String(fields[8]), String(fields[9])) }
    }

    /// How to see it again.
    var repetition: String { "kvsim replay \(seed) --trace" }
}
