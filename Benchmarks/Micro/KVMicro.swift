import ArgumentParser
import CAllocations
import FoundationEssentials

/// A hot part, and how to run it.
struct Part {
    let name: String
    /// What one operation is.
    let title: String
    /// Runs that many operations. What is prepared before is made when the part is made.
    let run: (Int) throws -> Void
}

@main
struct KVMicro: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kvmicro",
        abstract: "Allocations of the hot parts for one operation, on their own.",
        discussion: """
            Counts are the same on every machine, however busy; times are not, so none are compared.

              kvmicro                                   prints a table
              kvmicro --check Benchmarks/Micro/thresholds.txt
                                                        fails where a part allocates more
              valgrind --tool=callgrind kvmicro --only replica-put --operations 6400
                                                        where the instructions go
            """)

    @Option(help: "A file with a line `PART ALLOCATIONS` for each part.")
    var check: String?
    @Option(help: "One part alone.")
    var only: String?
    @Option(help: "Operations of each part.")
    var operations = 6_400

    func run() throws {
        let limits = try check.map(Self.limits) ?? [:]
        var isExceeded = false
        for make in Parts.all where only == nil || make.name == only {
            let part = try make.make()
            // What is allocated once, caches and tables, isn't an operation's.
            try part.run(operations)
            let before = martlet_allocations()
            try part.run(operations)
            let each = Double(martlet_allocations() - before) / Double(operations)
            var line = Self.pad(part.name, to: 22) + Self.pad(Self.decimal(each), to: 10)
            line += part.title
            if check != nil {
                guard let limit = limits[part.name] else {
                    throw ValidationError("\(check ?? "") has no line for \(part.name)")
                }
                if each > limit {
                    isExceeded = true
                    line += "  MORE THAN \(limit)"
                }
            }
            print(line)
        }
        if isExceeded {
            print(
                """
                A part allocates more than before. If that is worth it, raise its line in \(check ?? "") \
                and say why in the commit.
                """)
            throw ExitCode.failure
        }
    }

    private static func limits(_ file: String) throws -> [String: Double] {
        let text = String(decoding: try Data(contentsOf: URL(filePath: file)), as: UTF8.self)
        var limits: [String: Double] = [:]
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            let words = line.split(separator: " ")
            guard words.count == 2, let limit = Double(words[1]) else {
                throw ValidationError("\(file): a line is PART ALLOCATIONS, not \(line)")
            }
            limits[String(words[0])] = limit
        }
        return limits
    }

    private static func decimal(_ value: Double) -> String {
        let hundredths = Int((value * 100).rounded())
        let fraction = String(hundredths % 100)
        return "\(hundredths / 100)." + (fraction.count == 1 ? "0" : "") + fraction
    }

    private static func pad(_ text: String, to width: Int) -> String {
        text + String(repeating: " ", count: max(1, width - text.count))
    }
}
