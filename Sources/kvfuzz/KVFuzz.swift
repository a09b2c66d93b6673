import ArgumentParser
import Foundation
import Fuzzing

/// Runs fuzz targets for as long as wanted, and repeats what they found.
@main
struct KVFuzz: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kvfuzz",
        abstract: "Feeds hostile bytes to Martlet's decoders and checks what must hold.",
        subcommands: [ListCommand.self, RunCommand.self, ReplayCommand.self, CorpusCommand.self])

    /// The target of a name, or an error that says which there are.
    static func target(_ name: String) throws -> any FuzzTarget {
        guard let target = Targets.named(name) else {
            let names = Targets.all.map(\.name).joined(separator: ", ")
            throw ValidationError("there is no target \"\(name)\"; there are \(names)")
        }
        return target
    }

    /// The committed inputs of a target, by name of the file; none if there is no folder.
    static func corpus(_ folder: String, _ target: String) -> [[UInt8]] {
        let path = folder + "/" + target
        let names = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
        return names.sorted().compactMap { try? bytes(path + "/" + $0) }
    }

    static func bytes(_ path: String) throws -> [UInt8] {
        [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
    }
}

/// What cases are made from.
struct CaseOptions: ParsableArguments {
    @Option(help: "Seed of every case.")
    var seed: UInt64 = 1

    @Option(help: "Folder with a folder of inputs for each target.")
    var corpus = "Tests/FuzzingTests/Corpus"

    func fuzzer(_ name: String) throws -> Fuzzer {
        Fuzzer(try KVFuzz.target(name), seed: seed, corpus: KVFuzz.corpus(corpus, name))
    }
}

struct ListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Names the targets and what must hold for them.")

    func run() {
        for target in Targets.all { print("\(target.name): \(target.summary)") }
    }
}

struct ReplayCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replay", abstract: "Runs one case again, in this process.")

    @Argument(help: "Name of the target.")
    var target: String

    @Argument(help: "A file, or the number of a case under the seed.")
    var input: String

    @OptionGroup var options: CaseOptions

    func run() throws {
        if let number = Int(input) {
            // A case may build on what earlier ones led to, so these run as well.
            var fuzzer = try options.fuzzer(target)
            try fuzzer.run(cases: number)
            let bytes = fuzzer.nextCase()
            print(hexadecimal(bytes))
            try fuzzer.run(bytes)
        } else {
            let behaviour = try KVFuzz.target(target).run(KVFuzz.bytes(input))
            print(behaviour.isAccepted ? "accepted" : "refused")
        }
        print("every property holds")
    }
}

struct CorpusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "corpus",
        abstract: "Writes seeds, and the shortest inputs that led to something new, to a folder.")

    @Argument(help: "Name of the target.")
    var target: String

    @Option(help: "Cases to look among.")
    var cases = 20_000

    @Option(help: "Inputs to write beside the seeds.")
    var limit = 12

    @OptionGroup var options: CaseOptions

    func run() throws {
        let folder = options.corpus + "/" + target
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: true)
        var fuzzer = Fuzzer(try KVFuzz.target(target), seed: options.seed)
        try fuzzer.run(cases: cases)
        let found = fuzzer.kept.sorted { $0.count < $1.count }.prefix(limit)
        for bytes in fuzzer.target.seeds() + found {
            let digits = String(stableHash(bytes), radix: 16)
            try Data(bytes).write(to: URL(fileURLWithPath: "\(folder)/\(digits).bin"))
        }
    }
}
