import KVClient
import Testing

@testable import kvctl

@Suite("What is printed")
struct OutputTests {
    private func kv(_ key: String, _ value: String) -> Etcd.KeyValue {
        var kv = Etcd.KeyValue()
        kv.key = .init(key.utf8)
        kv.value = .init(value.utf8)
        kv.createRevision = 2
        kv.modRevision = 3
        kv.version = 2
        return kv
    }

    private func printer(_ format: OutputFormat, isHex: Bool = false) -> Printer {
        Printer(format: format, isHex: isHex)
    }

    private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    private var response: Etcd.RangeResponse {
        var response = Etcd.RangeResponse()
        response.header.clusterID = .max
        response.header.revision = 3
        response.kvs = [kv("a", "c")]
        response.count = 1
        return response
    }

    @Test("a pair is its key and its value, each on a line, or as hexadecimal escapes")
    func simple() {
        #expect(text(printer(.simple).get(response)) == "a\nc\n")
        #expect(text(printer(.simple).get(response, content: .values)) == "c\n")
        #expect(text(printer(.simple).get(response, content: .keys)) == "a\n\n")
        #expect(text(printer(.simple, isHex: true).get(response)) == "\\x61\n\\x63\n")
        #expect(text(printer(.simple).get(response, isCountOnly: true)) == "1\n")
    }

    @Test("JSON is etcdctl's: base64, zero values left out, 64-bit numbers in full")
    func json() {
        #expect(
            text(printer(.json).get(response))
                == #"{"header":{"cluster_id":18446744073709551615,"revision":3},"kvs":[{"key":"YQ==","#
                + #""create_revision":2,"mod_revision":3,"version":2,"value":"Yw=="}],"count":1}"#
                + "\n")
    }

    @Test("binary values pass unchanged in the simple form and can't break a table")
    func binary() {
        var response = response
        response.kvs[0].value = .init([0, 0x0a, 0xff])
        #expect(printer(.simple).get(response).dropFirst(2) == [0, 0x0a, 0xff, 0x0a])
        #expect(text(printer(.table).get(response)).contains(#"\x00\x0a\xff"#))
    }

    @Test("lease texts are etcdctl's")
    func leases() {
        var granted = Etcd.LeaseGrantResponse()
        granted.id = 0x694d
        granted.ttl = 10
        #expect(
            text(printer(.simple).leaseGrant(granted))
                == "lease 000000000000694d granted with TTL(10s)\n")
        var live = Etcd.LeaseTimeToLiveResponse()
        live.id = 1
        live.ttl = 4
        live.grantedTtl = 10
        live.keys = [.init("a".utf8), .init("b".utf8)]
        #expect(
            text(printer(.simple).leaseTimeToLive(live, keys: true))
                == "lease 0000000000000001 granted with TTL(10s), remaining(4s), "
                + "attached keys([a b])\n")
        live.grantedTtl = 0
        #expect(
            text(printer(.simple).leaseTimeToLive(live, keys: true))
                == "lease 0000000000000001 already expired\n")
    }

    @Test("strings in JSON are escaped, and an event's bytes come as text or in base64")
    func commandLines() {
        #expect(JSON.string("a\"\\\n\u{1}").text == #""a\"\\\n\u0001""#)
        var event = Etcd.Event()
        event.kv = kv("k", "")
        event.kv.value = .init([0xff])
        #expect(
            text(Printer.commandLine(event))
                == #"{"type":"PUT","key":"k","value_base64":"/w==","mod_revision":3,"#
                + #""create_revision":2,"version":2}"# + "\n")
    }

    @Test(
        "sizes and times look as Go prints them",
        arguments: [
            (Int64(9), "9 B"), (196, "196 B"), (1_500, "1.5 kB"), (20_480, "20 kB"),
            (109_696, "110 kB"), (2_147_483_648, "2.1 GB"),
        ])
    func sizes(byteCount: Int64, expected: String) {
        #expect(Printer.size(byteCount) == expected)
        #expect(Printer.goText(.nanoseconds(1_500_000)) == "1.5ms")
        #expect(Printer.goText(.seconds(2)) == "2s")
    }

    @Test("a tree is drawn with its folders, and keys that are folders as well appear once each")
    func tree() {
        let tree = TreeText()
        for path in ["a", "a/b", "a/c/d", "e"] {
            tree.add(path.split(separator: "/").map(String.init))
        }
        #expect(
            tree.text()
                == "├── a\n├── a/\n│   ├── b\n│   └── c/\n│       └── d\n└── e\n")
    }

    @Test("a folder's list has each folder below once, and reading goes on behind it")
    func lister() {
        var lister = FolderLister(prefix: Array("p/".utf8))
        let keys = ["p/a", "p/d/1", "p/d/2", "p/e/"].map { Array($0.utf8) }
        #expect(
            keys.compactMap { lister.take($0) }.map(text) == ["p/a", "p/d/", "p/e/"])
        #expect(text(lister.next(after: keys[3])) == "p/e0")
        var flat = FolderLister(prefix: [])
        _ = flat.take([0x61])
        #expect(flat.next(after: [0x61]) == [0x61, 0])
    }
}
