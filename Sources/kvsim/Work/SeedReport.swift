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

    init(_ result: RunResult) {
        seed = result.seed
        violation = result.violation.map { ($0.check, $0.detail) }
        traceHash = result.traceHash
        events = result.events
        simulatedMicroseconds = result.simulatedMicroseconds
        writes = result.counts.writes
        reads = result.counts.reads
    }

    /// The seed ended its process.
    init(trapOf seed: UInt64, cause: String) {
        self.seed = seed
        violation = ("Trap", cause)
    }

    var line: String {
        let detail = violation.map {
            "\($0.check)\t\($0.detail.replacingOccurrences(of: "\n", with: " "))"
        }
        return "done\t\(seed)\t\(traceHash)\t\(events)\t\(simulatedMicroseconds)\t\(writes)\t\(reads)"
            + (detail.map { "\t\($0)" } ?? "")
    }

    init?(line: Substring) {
        let fields = line.split(separator: "\t", omittingEmptySubsequences: false)
        guard fields.count == 7 || fields.count == 9, fields[0] == "done",
            let seed = UInt64(fields[1]), let hash = UInt64(fields[2]),
            let events = Int(fields[3]), let simulated = UInt64(fields[4]),
            let writes = Int(fields[5]), let reads = Int(fields[6])
        else { return nil }
        self.seed = seed
        traceHash = hash
        self.events = events
        simulatedMicroseconds = simulated
        self.writes = writes
        self.reads = reads
        if fields.count == 9 { violation = (String(fields[7]), String(fields[8])) }
    }

    /// How to see it again.
    var repetition: String { "kvsim replay \(seed) --trace" }
}
