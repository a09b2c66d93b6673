import ArgumentParser
import FoundationEssentials
import Glibc
import KVClient

/// `kvctl edit`.
struct EditCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "edit", abstract: "Change a value in your editor.",
        discussion: """
            Opens $VISUAL, $EDITOR or vi. Saves only if nobody has changed the key in the meantime;
            otherwise your text is kept in a file that is named. A missing key is created.
            """)

    @Argument(help: "The key.")
    var key: String

    @OptionGroup var globals: GlobalOptions

    func run() async throws {
        let client = try globals.makeClient()
        let current = try await client.get(Array(key.utf8))
        let old = current.map { [UInt8]($0.value) } ?? []
        let file = try draftFile()
        let text: [UInt8]?
        do {
            try FileIO.write(old, to: file)
            try await openEditor(file)
            text = Self.edited(try FileIO.read(file), from: old, isNew: current == nil)
        } catch {
            // Kept only if there is something of the user's in it.
            if let draft = try? FileIO.read(file), draft != old {
                Output.note("kvctl: your text is in \(file)")
            } else {
                Self.remove(file)
            }
            throw error
        }
        guard let text else {
            Self.remove(file)
            Output.note("kvctl: \(key) is unchanged")
            return
        }
        let request = saveRequest(text, over: current)
        let check = "kvctl get \(key.shellQuoted)"
        let response: Etcd.TxnResponse
        do {
            response = try await writing(check: check) { () throws(KVClientError) in
                try await client.txn(request)
            }
        } catch {
            Output.note("kvctl: your text is in \(file)")
            throw error
        }
        guard response.succeeded else {
            throw CommandFailure(
                "\(key) was changed by somebody else while you edited; nothing is saved. "
                    + "Your text is in \(file)")
        }
        Self.remove(file)
        Output.write("OK\n")
    }

    /// A transaction that writes only over what was read, and keeps the key's lease.
    func saveRequest(_ text: [UInt8], over current: Etcd.KeyValue?) -> Etcd.TxnRequest {
        var compare = Etcd.Compare()
        compare.key = Data(key.utf8)
        compare.target = .mod
        compare.result = .equal
        compare.modRevision = current?.modRevision ?? 0
        var put = Etcd.PutRequest()
        put.key = Data(key.utf8)
        put.value = Data(text)
        put.ignoreLease = current != nil
        var operation = Etcd.RequestOp()
        operation.requestPut = put
        var request = Etcd.TxnRequest()
        request.compare = [compare]
        request.success = [operation]
        return request
    }

    /// What to save, or nil. Editors end a file with a newline; a value that had none keeps none.
    static func edited(_ text: [UInt8], from old: [UInt8], isNew: Bool) -> [UInt8]? {
        var text = text
        let newline = UInt8(ascii: "\n")
        if text.last == newline, old.last != newline, !isNew || text.count > 1 { text.removeLast() }
        return text == old ? nil : text
    }

    /// In a folder of its own, under the key's last part, so that the editor knows the syntax.
    private func draftFile() throws(CommandFailure) -> String {
        let base = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template = Array("\(base)/kvctl-edit-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw FileIO.failure("can't write into", base) }
        let folder = template.withUnsafeBytes {
            String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
        }
        let name = key.split(separator: "/").last.map(String.init) ?? "value"
        let isPlain = name != "." && name != ".." && name.utf8.count < 200
        return "\(folder)/\(isPlain ? name : "value")"
    }

    private static func remove(_ file: String) {
        unlink(file)
        rmdir(String(file[..<(file.lastIndex(of: "/") ?? file.endIndex)]))
    }

    private func openEditor(_ file: String) async throws {
        let editor =
            ["VISUAL", "EDITOR"].lazy.compactMap(GlobalOptions.environment).first { !$0.isEmpty }
            ?? "vi"
        let child = try ChildProcess.start(["/bin/sh", "-c", "\(editor) \"$1\"", "sh", file])
        let status = await child.wait()
        guard status == 0 else {
            throw CommandFailure(
                "\(editor) ended with exit code \(status); nothing is saved")
        }
    }
}
