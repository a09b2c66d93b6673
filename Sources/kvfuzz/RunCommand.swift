import ArgumentParser
import Foundation
import Fuzzing

/// Runs cases in a child process, so that one that ends the process is known and kept.
struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Runs cases of one target, or of all.")

    @Argument(help: "Name of the target, or \"all\".")
    var target: String

    @Option(help: "How many cases to run.")
    var cases = 100_000

    @Option(help: "Where a case that fails is written.")
    var finds = "."

    @Option(help: .hidden)
    var notes: String?

    @OptionGroup var options: CaseOptions

    func run() throws {
        if let notes {
            try runHere(notes: notes)
        } else {
            let names = target == "all" ? Targets.all.map(\.name) : [target]
            for name in names { try runChild(name) }
        }
    }

    // MARK: The child

    private func runHere(notes path: String) throws {
        var fuzzer = try options.fuzzer(target)
        let notes = try CaseNotes(path: path)
        let start = ContinuousClock.now
        var longest = (duration: Duration.zero, number: 0)
        var began = start
        do {
            try fuzzer.run(cases: cases) { number, input in
                let now = ContinuousClock.now
                if number > 0, now - began > longest.duration {
                    longest = (now - began, number - 1)
                }
                began = now
                notes.write(number: number, input)
                // A case that never ends is a find as well.
                alarm(CaseNotes.secondsPerCase)
            }
        } catch {
            print(error.breach)
            throw ExitCode(CaseNotes.breachStatus)
        }
        let seconds = (ContinuousClock.now - start) / .seconds(1)
        print(
            """
            \(target): \(fuzzer.caseCount) cases, seed \(options.seed), \
            \(fuzzer.acceptedCount) accepted, \(fuzzer.featureCount) features, \
            \(Int(Double(fuzzer.caseCount) / seconds)) cases/s, \
            longest \(Int(longest.duration / .milliseconds(1))) ms (case \(longest.number))
            """)
    }

    // MARK: The parent

    private func runChild(_ name: String) throws {
        let path = NSTemporaryDirectory() + "/kvfuzz-\(getpid())-\(name).notes"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let child = Process()
        child.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        child.arguments = [
            "run", name, "--cases", "\(cases)", "--seed", "\(options.seed)", "--corpus",
            options.corpus, "--notes", path,
        ]
        try child.run()
        child.waitUntilExit()
        switch (child.terminationReason, child.terminationStatus) {
        case (.exit, 0): return
        case (.exit, CaseNotes.breachStatus): try report(name, path, "a property doesn't hold")
        case (.exit, let status): throw ExitCode(status)
        case (_, SIGALRM):
            try report(name, path, "no end after \(CaseNotes.secondsPerCase) seconds")
        case (_, let signal): try report(name, path, "the process ended by signal \(signal)")
        }
    }

    private func report(_ name: String, _ path: String, _ what: String) throws {
        let (number, input) = try CaseNotes.read(path)
        let file = "\(finds)/\(name)-\(String(stableHash(input), radix: 16)).bin"
        try FileManager.default.createDirectory(atPath: finds, withIntermediateDirectories: true)
        try Data(input).write(to: URL(fileURLWithPath: file))
        print("\(name), seed \(options.seed), case \(number): \(what)")
        print("repeat it with: kvfuzz replay \(name) \(file)")
        throw ExitCode.failure
    }
}

/// The case that runs, in a file that outlives the process: its pages are shared memory, so writing
/// them costs no system call.
struct CaseNotes {
    /// The child's exit status when a property doesn't hold.
    static let breachStatus: Int32 = 3
    /// How long a case may take.
    static let secondsPerCase: UInt32 = 20

    private static let headBytes = 16
    private static let maximumInputBytes = 1 << 20
    private let memory: UnsafeMutableRawBufferPointer

    init(path: String) throws {
        let size = Self.headBytes + Self.maximumInputBytes
        let file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0o600)
        guard file >= 0, ftruncate(file, size) == 0,
            let start = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0),
            start != MAP_FAILED
        else { throw ValidationError("\(path) can't be made: \(String(cString: strerror(errno)))") }
        close(file)
        memory = UnsafeMutableRawBufferPointer(start: start, count: size)
    }

    func write(number: Int, _ input: [UInt8]) {
        let count = min(input.count, Self.maximumInputBytes)
        memory.storeBytes(of: number, as: Int.self)
        memory.storeBytes(of: count, toByteOffset: 8, as: Int.self)
        UnsafeMutableRawBufferPointer(rebasing: memory[Self.headBytes...])
            .copyBytes(from: input.prefix(count))
    }

    static func read(_ path: String) throws -> (number: Int, input: [UInt8]) {
        let bytes = try KVFuzz.bytes(path)
        return bytes.withUnsafeBytes { raw in
            let count = raw.load(fromByteOffset: 8, as: Int.self)
            return (raw.load(as: Int.self), Array(raw[headBytes..<(headBytes + count)]))
        }
    }
}
