import KVClient
import Testing

@testable import kvctl

@Suite("Transactions as text")
struct TxnTextTests {
    private func parse(_ text: String) throws -> Etcd.TxnRequest {
        var reader = TxnText()
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            _ = try reader.take(String(line))
        }
        return reader.request
    }

    @Test("conditions, then the one branch, then the other, parted by empty lines")
    func whole() throws {
        let request = try parse(
            """
            mod("a") > "0"
            val("a") = "x y"

            put a "new\\nvalue" --lease=1f
            get b --prefix

            del 'c d' --prev-kv

            """)
        #expect(request.compare.count == 2 && request.success.count == 2)
        #expect(request.compare[0].target == .mod && request.compare[0].result == .greater)
        #expect(request.compare[1].value == .init("x y".utf8))
        #expect(request.success[0].requestPut.value == .init("new\nvalue".utf8))
        #expect(request.success[0].requestPut.lease == 0x1f)
        #expect(request.success[1].requestRange.rangeEnd == .init("c".utf8))
        #expect(request.failure[0].requestDeleteRange.key == .init("c d".utf8))
        #expect(request.failure[0].requestDeleteRange.prevKv)
    }

    @Test(
        "every target has the names etcdctl gives it",
        arguments: [
            ("ver", Etcd.Compare.CompareTarget.version), ("version", .version), ("c", .create),
            ("create", .create), ("m", .mod), ("mod", .mod), ("lease", .lease),
        ])
    func targets(name: String, target: Etcd.Compare.CompareTarget) throws {
        #expect(try TxnText.compare("\(name)(\"k\") != \"5\"").target == target)
    }

    @Test(
        "what makes no sense is a usage error",
        arguments: [
            "mod(a) > \"0\"", "mod(\"a\") ~ \"0\"", "mod(\"a\") > 0", "mod(\"a\") > \"x\"",
            "size(\"a\") > \"0\"", "nothing", "mod(\"a\" > \"0\"", "mod(\"a\") > \"0\" more",
        ])
    func malformed(line: String) {
        let error = #expect(throws: CommandFailure.self) { try TxnText.compare(line) }
        #expect(error?.status == ExitStatus.usage)
    }

    @Test(
        "operations that make no sense are usage errors",
        arguments: ["put a", "frob a", "get", "put a \"b", "get a --nope", #"put a "\q""#])
    func malformedOperation(line: String) {
        #expect(throws: CommandFailure.self) { try TxnText.operation(line) }
    }

    @Test("Go's escapes are understood in double quotes and left alone in single ones")
    func escapes() throws {
        let put = try TxnText.operation(#"put "\x00\377\u00e4" '\n'"#).requestPut
        #expect(Array(put.value) == Array(#"\n"#.utf8))
        #expect(Array(put.key).first == 0)
    }
}
