import Foundation
import Fuzzing
import Testing

/// The committed inputs of a target, by name.
func corpus(_ target: String) throws -> [(name: String, input: [UInt8])] {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appending(path: "Corpus/\(target)")
    guard FileManager.default.fileExists(atPath: folder.path) else { return [] }
    return try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted().map { name in
        (name, [UInt8](try Data(contentsOf: folder.appending(path: name))))
    }
}

/// Targets in programs, which `kvfuzz` can't reach.
let programTargets: [any FuzzTarget] = [PeerFramingTarget(), TxnTextTarget()]

/// How many cases of a target a test run makes; none takes more than about a second.
private let caseCounts = [
    "requests": 1_000, "messages": 1_000, "http2-server": 400, "http2-client": 200,
    "grpc-framing": 1_000, "hpack": 500, "log": 500, "log-damage": 500, "snapshot-file": 800,
    "snapshot-content": 800, "entries": 80, "calls": 50, "peers": 60, "peer-framing": 1_500,
    "txn-text": 1_000,
]

@Suite("Hostile bytes")
struct FuzzTests {
    static let targets = (Targets.all + programTargets).map(\.name)

    private func target(_ name: String) throws -> any FuzzTarget {
        try #require((Targets.all + programTargets).first { $0.name == name })
    }

    @Test("every property holds for the committed inputs", arguments: targets)
    func replay(name: String) throws {
        let target = try target(name)
        let inputs = try corpus(name)
        #expect(!inputs.isEmpty)
        for (file, input) in inputs {
            do {
                _ = try target.run(input)
            } catch {
                Issue.record("\(name)/\(file): \(error)")
            }
        }
    }

    @Test("every property holds for damaged inputs", arguments: targets)
    func damaged(name: String) throws {
        let count = try #require(caseCounts[name])
        var fuzzer = Fuzzer(try target(name), seed: 1, corpus: try corpus(name).map(\.input))
        try fuzzer.run(cases: count)
        // Neither does everything pass nor does nothing get through.
        #expect(fuzzer.acceptedCount > 0 && fuzzer.acceptedCount < count)
        #expect(fuzzer.featureCount > 10)
    }

    @Test("the same seed makes the same cases, another one others", arguments: targets)
    func determinism(name: String) throws {
        func digests(_ seed: UInt64) throws -> [UInt64] {
            var fuzzer = Fuzzer(try target(name), seed: seed)
            var digests: [UInt64] = []
            try fuzzer.run(cases: fuzzer.target.seeds().count + 10) { _, input in
                digests.append(stableHash(input))
            }
            return digests
        }
        let first = try digests(5)
        #expect(try digests(5) == first)
        #expect(try digests(6) != first)
    }

    @Test("a breach ends the run and names the case")
    func failure() {
        struct Broken: FuzzTarget {
            let name = "broken"
            let summary = "fails at every input that begins with an odd byte"
            func seeds() -> [[UInt8]] { [[2, 4], [6]] }
            func run(_ input: [UInt8]) throws(PropertyBreach) -> Behaviour {
                try require((input.first ?? 0) % 2 == 0, "inputs begin with an even byte")
                return Behaviour(isAccepted: true)
            }
        }
        var fuzzer = Fuzzer(Broken(), seed: 3)
        var last: (number: Int, input: [UInt8])?
        do {
            try fuzzer.run(cases: 1_000) { last = ($0, $1) }
            Issue.record("nothing was found")
        } catch {
            #expect(error.number == last?.number && error.input == last?.input)
            #expect(error.breach == PropertyBreach("inputs begin with an even byte"))
        }
    }
}
