import Foundation
import RaftCore
import Testing

/// Runs the golden scripts: each file is named after a behaviour and holds commands, `----` and the
/// transcript expected. With MARTLET_UPDATE_SCRIPTS=1 the transcripts are written anew.
@Suite("Golden scripts")
struct ScriptTests {
    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("Scripts")
    static let names =
        (try? FileManager.default.contentsOfDirectory(atPath: folder.path))?
        .filter { $0.hasSuffix(".txt") }.sorted() ?? []

    @Test("there are scripts")
    func exist() { #expect(Self.names.count >= 6) }

    @Test("a script tells what it should", arguments: names)
    func script(name: String) throws {
        let file = Self.folder.appendingPathComponent(name)
        let text = try String(contentsOf: file, encoding: .utf8)
        var runner = ScriptRunner()
        let told = runner.run(text)
        if ProcessInfo.processInfo.environment["MARTLET_UPDATE_SCRIPTS"] == "1" {
            try told.write(to: file, atomically: true, encoding: .utf8)
        }
        #expect(told == text)
    }
}

/// Carries a script out and writes it anew with what happened.
struct ScriptRunner {
    private var cluster = RaftCluster(voters: 1)
    private var isCut: Set<[MemberID]> = []

    mutating func run(_ text: String) -> String {
        var output: [String] = []
        for block in text.components(separatedBy: "\n\n") {
            let lines = block.split(separator: "\n").map(String.init)
            let input = Array(lines.prefix { $0 != "----" })
            let commands = input.filter { !$0.hasPrefix("#") }
            guard !commands.isEmpty else {
                output.append(block.trimmingCharacters(in: .newlines))
                continue
            }
            cluster.transcript = []
            for command in commands { perform(command.split(separator: " ").map(String.init)) }
            output.append((input + ["----"] + cluster.transcript).joined(separator: "\n"))
        }
        return output.joined(separator: "\n\n") + "\n"
    }

    private func member(_ word: String) -> MemberID { MemberID(word.dropFirst())! }

    private mutating func perform(_ words: [String]) {
        switch words[0] {
        case "cluster":
            var settings = RaftSettings()
            if words.last == "many-reads" { settings.manyReadsPerSecond = 0 }
            cluster = RaftCluster(
                voters: Int(words[1])!, learners: words.count > 2 ? Int(words[2]) ?? 0 : 0,
                settings: settings)
        case "elect": quietly { $0.elect(MemberID(words[1].dropFirst())!) }
        case "timeout": cluster.timeout(member(words[1]))
        case "pass": cluster.pass(Microseconds(words[1])! * 1_000)
        case "propose":
            let result = cluster.propose(member(words[1]))
            if case .accepted(let index) = result {
                cluster.transcript.append("\(words[1]) accepts \(index)")
            } else {
                cluster.transcript.append("\(words[1]) refuses: \(result)")
            }
        case "read": cluster.read(member(words[1]), context: UInt64(words[2])!)
        case "deliver": deliver()
        case "drop":
            for message in cluster.takeMessages() {
                cluster.transcript.append("lost \(RaftCluster.describe(message))")
            }
        case "cut":
            isCut.insert([member(words[1]), member(words[2])])
            isCut.insert([member(words[2]), member(words[1])])
        case "heal": isCut = []
        case "hold": cluster.holdDisk(member(words[1]), true)
        case "sync": cluster.holdDisk(member(words[1]), false)
        case "crash": cluster.crash(member(words[1]))
        case "gone":
            cluster.step(
                .leaderProcessGone(leader: member(words[2]), term: cluster[member(words[1])].term),
                on: member(words[1]))
        case "disconnect":
            cluster.step(.peerDisconnected(member(words[2])), on: member(words[1]))
        case "transfer":
            cluster.step(.transferLeadership(to: member(words[2])), on: member(words[1]))
        case "state":
            for id in cluster.nodes.keys.sorted() { cluster.transcript.append(cluster.state(id)) }
        default: cluster.transcript.append("unknown command \(words[0])")
        }
    }

    private mutating func quietly(_ body: (inout RaftCluster) -> Void) {
        let before = cluster.transcript
        body(&cluster)
        cluster.transcript = before
    }

    private mutating func deliver() {
        let cut = isCut
        cluster.deliver { cut.contains([$0.from, $0.to]) }
    }
}
