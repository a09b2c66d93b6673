import Glibc

/// The regular files below a folder. Names are bytes; they need not be UTF-8.
struct FileTree {
    /// Relative to the folder, sorted.
    private(set) var files: [[UInt8]] = []
    /// What is neither a folder nor a regular file, such as symbolic links.
    private(set) var skipped: [[UInt8]] = []
    private(set) var failures: [String] = []

    init(_ folder: String) throws(CommandFailure) {
        let root = Array(folder.utf8)
        guard let directory = opendir(folder) else { throw FileIO.failure("can't read", folder) }
        closedir(directory)
        var waiting: [[UInt8]] = [[]]
        while let relative = waiting.popLast() {
            list(Self.join(root, relative), relative, &waiting)
        }
        files.sort { $0.lexicographicallyPrecedes($1) }
    }

    private mutating func list(
        _ path: [UInt8], _ relative: [UInt8], _ waiting: inout [[UInt8]]
    ) {
        guard let directory = Self.withPath(path, { opendir($0) }) else {
            failures.append(
                FileIO.failure("can't read", String(decoding: path, as: UTF8.self)).text)
            return
        }
        defer { closedir(directory) }
        while let entry = readdir(directory) {
            // The C library ends the name with a zero within the field.
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                Array($0.prefix { $0 != 0 })
            }
            guard name != Array(".".utf8), name != Array("..".utf8) else { continue }
            let child = Self.join(relative, name)
            var status = stat()
            guard Self.withPath(Self.join(path, name), { lstat($0, &status) }) == 0 else {
                continue
            }
            switch status.st_mode & S_IFMT {
            case S_IFDIR: waiting.append(child)
            case S_IFREG: files.append(child)
            default: skipped.append(child)
            }
        }
    }

    static func join(_ folder: [UInt8], _ name: [UInt8]) -> [UInt8] {
        if folder.isEmpty { return name }
        if name.isEmpty { return folder }
        return folder + (folder.last == UInt8(ascii: "/") ? [] : [UInt8(ascii: "/")]) + name
    }

    static func withPath<Answer>(
        _ path: [UInt8], _ body: (UnsafePointer<CChar>) -> Answer
    ) -> Answer {
        (path.map { CChar(bitPattern: $0) } + [0]).withUnsafeBufferPointer { buffer in
            guard let start = buffer.baseAddress else {
                preconditionFailure("a terminated path isn't empty")
            }
            return body(start)
        }
    }
}
