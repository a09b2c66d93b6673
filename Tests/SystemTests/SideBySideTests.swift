import Foundation
import Testing

/// kvctl prints what etcdctl 3.4 prints, byte for byte: scripts may take either.
@Suite("kvctl beside etcdctl", .serialized)
struct SideBySideTests {
    private enum Program: CaseIterable {
        case etcdctl
        case kvctl
    }

    private let cluster: ProcessCluster

    init() async throws {
        cluster = try ProcessCluster(size: 1)
        try cluster.startAll()
        try await cluster.waitUntilServing()
    }

    @discardableResult
    private func call(
        _ program: Program, _ arguments: [String], input: String? = nil
    ) throws -> String {
        let name =
            switch program {
            case .etcdctl: "etcdctl"
            case .kvctl: ProcessCluster.program("kvctl").path
            }
        let result = try run(
            name, ["--endpoints", cluster.endpoints] + arguments,
            environment: ["ETCDCTL_API": "3"], input: input)
        #expect(result.code == 0, "\(program) \(arguments): \(result.errors)")
        return result.output
    }

    private func expectSame(_ arguments: String..., input: String? = nil) throws {
        let theirs = try call(.etcdctl, arguments, input: input)
        let ours = try call(.kvctl, arguments, input: input)
        #expect(ours == theirs, "\(arguments)")
    }

    @Test("reads")
    func reads() throws {
        for (key, value) in [("a", "1"), ("app/x", "two\nlines"), ("app/y", ""), ("b", "3")] {
            try call(.kvctl, ["put", key, value])
        }
        try call(.kvctl, ["put", "a", "4"])
        try expectSame("get", "a")
        try expectSame("get", "a", "c")
        try expectSame("get", "app/", "--prefix")
        try expectSame("get", "", "--from-key")
        try expectSame("get", "a", "--keys-only")
        try expectSame("get", "", "--prefix", "--keys-only")
        try expectSame("get", "", "--prefix", "--print-value-only")
        try expectSame("get", "", "--prefix", "--limit", "2")
        try expectSame("get", "", "--prefix", "--sort-by", "MODIFY", "--order", "DESCEND")
        try expectSame("get", "a", "--rev", "2")
        try expectSame("get", "a", "--consistency", "s")
        try expectSame("get", "a", "--hex")
        try expectSame("get", "a", "-w", "simple")
        try expectSame("get", "", "--prefix", "-w", "json")
        try expectSame("get", "", "--prefix", "--keys-only", "-w", "json")
        try expectSame("get", "none", "--prefix")
        try expectSame("member", "list")
        try expectSame("member", "list", "-w", "json")
    }

    @Test("puts, deletions, transactions")
    func writes() throws {
        // Each program writes a key of its own before both write this one.
        for program in Program.allCases {
            try call(program, ["put", "k", "same"])
            try call(program, ["put", "p/1", "same"])
        }
        try expectSame("put", "k", "same")
        try expectSame("put", "k", "same", "--prev-kv")
        try expectSame("put", "k", input: "same")
        try expectSame("del", "none")
        try expectSame("del", "none", "--prev-kv")
        var outputs: [String] = []
        for program in Program.allCases {
            try call(.kvctl, ["put", "p/1", "one"])
            try call(.kvctl, ["put", "p/2", "two"])
            outputs.append(try call(program, ["del", "p/", "--prefix", "--prev-kv"]))
        }
        #expect(outputs[0] == outputs[1])
        try expectSame("txn", input: "mod(\"k\") > \"0\"\n\nput t 1\nget t\ndel none\n\nget k\n\n")
        try expectSame("txn", input: "ver(\"k\") = \"0\"\n\nput t 1\n\nget k\nget none\n\n")
    }

    @Test("leases")
    func leases() throws {
        var outputs: [[String]] = []
        for program in Program.allCases {
            var lines: [String] = []
            let grant = try call(program, ["lease", "grant", "100"])
            let lease = String(grant.split(separator: " ")[1])
            func add(_ arguments: String...) throws {
                lines.append(
                    try call(program, arguments).replacingOccurrences(of: lease, with: "ID"))
            }
            lines.append(grant.replacingOccurrences(of: lease, with: "ID"))
            try call(program, ["put", "l/1", "x", "--lease", lease])
            try call(program, ["put", "l/2", "x", "--lease", lease])
            try add("lease", "list")
            try add("lease", "keep-alive", "--once", lease)
            try add("lease", "timetolive", lease, "--keys")
            // How much is left depends on when it was asked.
            lines[3].replace(/remaining\([0-9]+s\)/, with: "remaining(…)")
            #expect(lines[3].contains("…"))
            try add("lease", "revoke", lease)
            try add("lease", "timetolive", lease)
            outputs.append(lines)
        }
        #expect(outputs[0] == outputs[1])
    }
}
