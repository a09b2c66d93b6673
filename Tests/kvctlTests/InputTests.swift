import KVClient
import Testing

@testable import kvctl

@Suite("What people type")
struct InputTests {
    @Test(
        "lengths of time are read as Go writes them; a bare number is seconds",
        arguments: [
            ("500ms", 500), ("2s", 2_000), ("1m30s", 90_000), ("1.5s", 1_500), ("3", 3_000),
            ("2h", 7_200_000),
        ])
    func durations(text: String, milliseconds: Int) {
        #expect(DurationText.parse(text) == .milliseconds(milliseconds))
    }

    @Test("other texts are no length of time", arguments: ["", "s", "1x", "-1s", "1s2", "1..2s"])
    func noDuration(text: String) {
        #expect(DurationText.parse(text) == nil)
    }

    @Test("lease ids are hexadecimal and printed with sixteen digits")
    func leases() {
        #expect(LeaseText(argument: "694d81ad3b1ae205")?.id == 0x694d_81ad_3b1a_e205)
        #expect(LeaseText(argument: "0x1f")?.description == "000000000000001f")
        #expect(LeaseText(argument: "ffffffffffffffff")?.id == -1)
        #expect(LeaseText(argument: "xyz") == nil && LeaseText(argument: "") == nil)
    }

    @Test("global flags may stand before the command, and after --flag=true nothing remains")
    func rewriting() {
        #expect(
            ArgumentRewriting.rewrite([
                "--endpoints", "a:1", "-w=json", "--hex", "get", "k", "--prefix=true",
                "--prev-kv=false",
            ]) == ["get", "k", "--prefix", "--endpoints", "a:1", "-w", "json", "--hex"])
    }

    @Test("what stands behind -- is left alone")
    func rewritingTail() {
        let tail = ["--", "echo", "--x=true", "-wjson"]
        #expect(
            ArgumentRewriting.rewrite(["--dial-timeout=1s", "watch", "k"] + tail)
                == ["watch", "k", "--dial-timeout=1s"] + tail)
    }

    @Test("endpoints come from the flag, else from the environment, else are the local one")
    func endpoints() throws {
        let flags = try GlobalOptions.parse(["--endpoints", "a:1,b:2"])
        #expect(try flags.endpointList { _ in "c:3" }.map(\.host) == ["a", "b"])
        let none = try GlobalOptions.parse([])
        #expect(
            try none.endpointList { $0 == "ETCDCTL_ENDPOINTS" ? "c:3" : nil }.map(\.host) == ["c"])
        #expect(try none.endpointList { _ in "m:1" }.map(\.host) == ["m"])
        #expect(try none.endpointList { _ in nil }.map(\.port) == [2_379])
    }

    @Test("get's flags become the request that etcdctl would send")
    func getRequest() throws {
        let get = try GetCommand.parse([
            "a", "--prefix", "--limit", "3", "--rev", "7", "--sort-by", "MODIFY", "--order",
            "DESCEND", "--consistency=s", "--keys-only",
        ])
        #expect(get.request.key == .init("a".utf8) && get.request.rangeEnd == .init("b".utf8))
        #expect(get.request.limit == 3 && get.request.revision == 7 && get.request.keysOnly)
        #expect(get.request.sortTarget == .mod && get.request.sortOrder == .descend)
        #expect(get.request.serializable)
        let range = try GetCommand.parse(["a", "f"])
        #expect(range.request.rangeEnd == .init("f".utf8) && !range.request.serializable)
    }

    @Test(
        "contradictions are refused",
        arguments: [
            ["a", "--prefix", "--from-key"], ["a", "b", "--prefix"], [],
            ["a", "--keys-only", "--print-value-only"],
        ])
    func contradictions(arguments: [String]) {
        #expect(throws: (any Error).self) { try GetCommand.parse(arguments) }
    }

    @Test("what an import puts under a lease is split at the first equals sign")
    func pairs() {
        #expect(KeyValueText(argument: "a=b=c")?.value == Array("b=c".utf8))
        #expect(KeyValueText(argument: "a=")?.value == [])
        #expect(KeyValueText(argument: "=b") == nil && KeyValueText(argument: "ab") == nil)
    }

    @Test("words for the shell are quoted only where needed")
    func shell() {
        #expect("a/b-1".shellQuoted == "a/b-1")
        #expect("a b'c".shellQuoted == "'a b'\\''c'")
        #expect("".shellQuoted == "''")
    }
}
