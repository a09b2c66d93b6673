import ArgumentParser
import FoundationEssentials
import Glibc
import KVClient

/// `kvctl export`.
struct ExportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export", abstract: "Store keys as the files of a folder.",
        discussion: """
            The opposite of import: a file's path within the folder is its key without the prefix.
            All keys are read at one revision. Files without a key stay.
            """)

    @Argument(help: "What the keys begin with.")
    var prefix: String

    @Argument(help: "The folder; it is made if it is missing.", completion: .directory)
    var folder: String

    @OptionGroup var globals: GlobalOptions

    /// Values of a page are held at once, and each may be large.
    private static let pageKeys: Int64 = 32

    func run() async throws {
        let client = try globals.makeClient()
        let start = Array(prefix.utf8)
        let root = Array(folder.utf8)
        var request = Etcd.RangeRequest.keys(.prefix(start))
        request.limit = Self.pageKeys
        var count = 0
        var failureCount = 0
        try makeFolder(root)
        try await client.pages(request) { page in
            for kv in page.kvs {
                do {
                    let path = try ExportPath.relative(Array(kv.key.dropFirst(start.count)))
                    try write([UInt8](kv.value), to: path, in: root)
                    count += 1
                } catch let failure as CommandFailure {
                    failureCount += 1
                    Output.complain("\(globals.printer.cell(kv.key)): \(failure.text)")
                }
            }
        }
        Output.note("kvctl: exported \(count) keys to \(folder)")
        if failureCount > 0 { throw CommandFailure("\(failureCount) keys failed") }
    }

    private func write(
        _ content: [UInt8], to path: [UInt8], in root: [UInt8]
    ) throws(CommandFailure) {
        var parent = root
        for part in path.split(separator: UInt8(ascii: "/")).dropLast() {
            parent = FileTree.join(parent, Array(part))
            try makeFolder(parent)
        }
        try FileIO.write(content, to: FileTree.join(root, path))
    }

    private func makeFolder(_ path: [UInt8]) throws(CommandFailure) {
        let result = FileTree.withPath(path) { mkdir($0, 0o755) }
        // Links are refused: a key must not lead out of the folder.
        var status = stat()
        let isThere = FileTree.withPath(path) { lstat($0, &status) } == 0
        guard result == 0 || isThere && (status.st_mode & S_IFMT == S_IFDIR || isRoot(path)) else {
            let name = String(decoding: path, as: UTF8.self)
            throw CommandFailure("can't make the folder \(name): something else is there")
        }
    }

    private func isRoot(_ path: [UInt8]) -> Bool { path == Array(folder.utf8) }
}

/// Keys as paths that stay within a folder.
enum ExportPath {
    static func relative(_ key: [UInt8]) throws(CommandFailure) -> [UInt8] {
        let parts = key.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        for part in parts {
            if part.isEmpty || part.elementsEqual(".".utf8) || part.elementsEqual("..".utf8) {
                throw CommandFailure("no file can have this name")
            }
            if part.contains(0) || part.count > 255 {
                throw CommandFailure("no file can have this name")
            }
        }
        return key
    }
}
