import ArgumentParser
import FoundationEssentials
import NIOCore

/// Latencies in the order in which they were seen.
struct Latencies {
    private(set) var microseconds: [UInt32] = []

    mutating func add(from start: NIODeadline, to end: NIODeadline) {
        microseconds.append(UInt32(clamping: (end - start).nanoseconds / 1000))
    }

    /// What is printed of them.
    struct Summary: Encodable {
        let medianMicroseconds: Int
        let meanMicroseconds: Int
        let p99Microseconds: Int
        let maximumMicroseconds: Int
    }

    /// Nil if there are none. The percentiles are nearest ranks.
    var summary: Summary? {
        guard !microseconds.isEmpty else { return nil }
        let sorted = microseconds.sorted()
        let sum = sorted.reduce(0) { $0 + Int($1) }
        return Summary(
            medianMicroseconds: Int(sorted[(sorted.count - 1) / 2]),
            meanMicroseconds: sum / sorted.count,
            p99Microseconds: Int(sorted[(sorted.count * 99 + 99) / 100 - 1]),
            maximumMicroseconds: Int(sorted[sorted.count - 1]))
    }
}

/// The figures of one load, printed as one line of JSON.
struct Report: Encodable {
    var succeeded = 0
    var failed = 0
    var seconds = 0.0
    var latency: Latencies.Summary?
    /// The longest time between two successes that followed each other; nil for watches.
    var longestGapMicroseconds: Int?
    /// One of the failures, the first.
    var failure: String?

    /// Prints it; a failure that isn't allowed is the command's.
    func finish(allowsFailures: Bool = false) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        print(String(decoding: try encoder.encode(self), as: UTF8.self))
        if failed > 0, !allowsFailures { throw ExitCode.failure }
    }
}
