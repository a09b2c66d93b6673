import ArgumentParser
import FoundationEssentials
import KVClient

/// `kvctl ls`.
struct ListCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls", abstract: "List keys like a folder, one level deep.",
        discussion: "Names that end with \"/\" have keys below them.")

    @Argument(help: "The folder; without it the top.")
    var folder = ""

    @OptionGroup var globals: GlobalOptions

    private static let pageKeys: Int64 = 200

    func run() async throws {
        let client = try globals.makeClient()
        let prefix = Folder.prefix(folder)
        var request = Folder.keys(prefix, pageKeys: Self.pageKeys)
        var lister = FolderLister(prefix: prefix)
        if !prefix.isEmpty, folder.utf8.count < prefix.count,
            let own = try await client.get(Array(folder.utf8))
        {
            show(Array(own.key))
        }
        while true {
            let page = try await client.range(request)
            for kv in page.kvs {
                if let name = lister.take(Array(kv.key)) { show(name) }
            }
            guard page.more, let last = page.kvs.last else { return }
            if request.revision == 0 { request.revision = page.header.revision }
            request.key = Data(lister.next(after: Array(last.key)))
        }
    }

    private func show(_ name: [UInt8]) {
        var text = globals.printer.cell(Data(name))
        if name.last == UInt8(ascii: "/") { text = Style.directory(text, on: 1) }
        Output.write(text + "\n")
    }
}

/// Keys as folders.
enum Folder {
    /// What keys in a folder begin with.
    static func prefix(_ folder: String) -> [UInt8] {
        let bytes = Array(folder.utf8)
        return bytes.isEmpty || bytes.last == UInt8(ascii: "/")
            ? bytes : bytes + [UInt8(ascii: "/")]
    }

    /// A request for the keys below a prefix, without their values, a page at a time.
    static func keys(_ prefix: [UInt8], pageKeys: Int64) -> Etcd.RangeRequest {
        var request = Etcd.RangeRequest.keys(.prefix(prefix))
        request.keysOnly = true
        request.limit = pageKeys
        return request
    }
}

/// Reduces sorted keys to the names right below a prefix.
struct FolderLister {
    let prefix: [UInt8]
    private var lastFolder: [UInt8]?

    init(prefix: [UInt8]) {
        self.prefix = prefix
    }

    /// The name that a key adds to the list, or nil if it is in a folder that is listed.
    mutating func take(_ key: [UInt8]) -> [UInt8]? {
        let rest = key.dropFirst(prefix.count)
        guard let slash = rest.firstIndex(of: UInt8(ascii: "/")), slash < key.count else {
            return key
        }
        let folder = Array(key[...slash])
        guard folder != lastFolder else { return nil }
        lastFolder = folder
        return folder
    }

    /// Where to read on: behind a whole folder, if the last key was in one.
    func next(after key: [UInt8]) -> [UInt8] {
        if let lastFolder, key.starts(with: lastFolder) { return KeyRange.prefixEnd(lastFolder) }
        return key + [0]
    }
}

/// `kvctl tree`.
struct TreeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tree", abstract: "Show keys as a tree.")

    @Argument(help: "The folder; without it everything.")
    var folder = ""

    @OptionGroup var globals: GlobalOptions

    private static let pageKeys: Int64 = 1_000

    func run() async throws {
        let client = try globals.makeClient()
        let prefix = Folder.prefix(folder)
        let request = Folder.keys(prefix, pageKeys: Self.pageKeys)
        let printer = globals.printer
        let tree = TreeText()
        try await client.pages(request) { page in
            for kv in page.kvs {
                let parts = kv.key.dropFirst(prefix.count).split(
                    separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
                tree.add(parts.map { printer.cell(Data($0)) })
            }
        }
        if !prefix.isEmpty { Output.write(printer.cell(Data(prefix)) + "\n") }
        Output.write(tree.text { Style.directory($0, on: 1) })
    }
}

/// Draws paths as a tree. Paths come sorted.
struct TreeText {
    private final class Node {
        var isKey = false
        var names: [String] = []
        var children: [String: Node] = [:]
    }

    private let root = Node()

    func add(_ path: [String]) {
        var node = root
        for (depth, part) in path.enumerated() {
            let name = depth == path.count - 1 ? part : part + "/"
            if let child = node.children[name] {
                node = child
            } else {
                let child = Node()
                node.names.append(name)
                node.children[name] = child
                node = child
            }
        }
        node.isKey = true
    }

    func text(_ folderStyle: (String) -> String = { $0 }) -> String {
        var lines: [String] = []
        Self.append(root, indent: "", folderStyle, to: &lines)
        return lines.map { $0 + "\n" }.joined()
    }

    private static func append(
        _ node: Node, indent: String, _ folderStyle: (String) -> String, to lines: inout [String]
    ) {
        for (index, name) in node.names.enumerated() {
            guard let child = node.children[name] else { continue }
            let isLast = index == node.names.count - 1
            let shown = child.names.isEmpty && child.isKey ? name : folderStyle(name)
            lines.append(indent + (isLast ? "└── " : "├── ") + shown)
            append(child, indent: indent + (isLast ? "    " : "│   "), folderStyle, to: &lines)
        }
    }
}
