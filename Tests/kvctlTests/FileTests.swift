import KVClient
import Testing

@testable import kvctl

@Suite("Values and files")
struct FileTests {
    private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    @Test("an editor's newline is not added to a value that had none")
    func newline() {
        #expect(EditCommand.edited(bytes("a\n"), from: bytes("a"), isNew: false) == nil)
        #expect(EditCommand.edited(bytes("b\n"), from: bytes("a"), isNew: false) == bytes("b"))
        #expect(EditCommand.edited(bytes("b\n"), from: bytes("a\n"), isNew: false) == bytes("b\n"))
        #expect(EditCommand.edited(bytes("a\n"), from: bytes("a\n"), isNew: false) == nil)
    }

    @Test("an edit writes only over the revision that was read")
    func guarded() throws {
        let edit = try EditCommand.parse(["k"])
        let create = edit.saveRequest([1], over: nil)
        #expect(create.compare[0].modRevision == 0 && !create.success[0].requestPut.ignoreLease)
        var kv = Etcd.KeyValue()
        kv.modRevision = 9
        let change = edit.saveRequest([1], over: kv)
        #expect(change.compare[0].modRevision == 9 && change.success[0].requestPut.ignoreLease)
        #expect(change.failure.isEmpty)
    }

    @Test(
        "no key leads out of the folder it is exported to",
        arguments: ["../x", "a/../../x", "/x", "a//b", "", "a/", ".", "a\0b"])
    func escape(key: String) {
        #expect(throws: CommandFailure.self) { try ExportPath.relative(bytes(key)) }
    }

    @Test("ordinary keys keep their path")
    func path() throws {
        #expect(try ExportPath.relative(bytes("a/..b/c")) == bytes("a/..b/c"))
    }
}
