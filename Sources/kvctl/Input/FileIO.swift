import Glibc

/// Whole files as bytes.
enum FileIO {
    /// Larger input can't be a value anyway.
    static let maximumBytes = 1 << 30

    static func read(_ path: String) throws(CommandFailure) -> [UInt8] {
        try read(Array(path.utf8))
    }

    static func read(_ path: [UInt8]) throws(CommandFailure) -> [UInt8] {
        let name = String(decoding: path, as: UTF8.self)
        let descriptor = FileTree.withPath(path) { open($0, O_RDONLY | O_CLOEXEC) }
        guard descriptor >= 0 else { throw failure("can't open", name) }
        defer { close(descriptor) }
        return try read(descriptor, name: name)
    }

    static func readStandardInput() throws(CommandFailure) -> [UInt8] {
        try read(STDIN_FILENO, name: "stdin")
    }

    private static func read(
        _ descriptor: Int32, name: String
    ) throws(CommandFailure) -> [UInt8] {
        var content: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            // The kernel writes `$0.count` bytes at most.
            let count = buffer.withUnsafeMutableBytes {
                Glibc.read(descriptor, $0.baseAddress, $0.count)
            }
            if count == 0 { return content }
            if count < 0 {
                if errno == EINTR { continue }
                throw failure("can't read", name)
            }
            content += buffer[..<count]
            guard content.count <= maximumBytes else {
                throw CommandFailure("\(name) is larger than \(maximumBytes) bytes")
            }
        }
    }

    /// Writes a file in one go; what was there under that name stays until all is written.
    static func write(_ content: [UInt8], to path: String) throws(CommandFailure) {
        try write(content, to: Array(path.utf8))
    }

    /// Writes a file in one go; what was there under that name stays until all is written.
    static func write(_ content: [UInt8], to path: [UInt8]) throws(CommandFailure) {
        let aside = try AsideFile(path)
        try aside.write(content)
        try aside.commit(isSynced: false)
    }

    static func writeAll(
        _ content: [UInt8], to descriptor: Int32, name: String
    ) throws(CommandFailure) {
        var position = 0
        while position < content.count {
            // The kernel reads `$0.count` bytes at most.
            let count = content[position...].withUnsafeBytes {
                Glibc.write(descriptor, $0.baseAddress, $0.count)
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw failure("can't write", name) }
            position += count
        }
    }

    static func failure(_ action: String, _ path: String) -> CommandFailure {
        CommandFailure("\(action) \(path): \(String(cString: strerror(errno)))")
    }
}

/// A file that gets its name only when it is complete.
final class AsideFile {
    private let path: [UInt8]
    private let asidePath: [UInt8]
    private let descriptor: Int32
    private var isCommitted = false

    convenience init(_ path: String) throws(CommandFailure) {
        try self.init(Array(path.utf8))
    }

    init(_ path: [UInt8]) throws(CommandFailure) {
        self.path = path
        asidePath = path + Array(".\(getpid()).part".utf8)
        descriptor = FileTree.withPath(asidePath) {
            open($0, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        }
        guard descriptor >= 0 else { throw FileIO.failure("can't write", name) }
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
        if !isCommitted { _ = FileTree.withPath(asidePath) { unlink($0) } }
    }

    private var name: String { String(decoding: path, as: UTF8.self) }

    func write(_ content: [UInt8]) throws(CommandFailure) {
        try FileIO.writeAll(content, to: descriptor, name: name)
    }

    /// Gives the file its name.
    ///
    /// - Parameter isSynced: first make sure that it is on disk.
    func commit(isSynced: Bool) throws(CommandFailure) {
        guard !isSynced || fsync(descriptor) == 0 else {
            throw FileIO.failure("can't sync", name)
        }
        let result = FileTree.withPath(asidePath) { from in
            FileTree.withPath(path) { rename(from, $0) }
        }
        guard result == 0 else { throw FileIO.failure("can't write", name) }
        isCommitted = true
    }
}

extension String {
    /// The text as one word of a shell.
    var shellQuoted: String {
        let isPlain =
            !isEmpty
            && utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "/"), UInt8(ascii: "."),
                    UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: ":"), UInt8(ascii: "="):
                    true
                default: false
                }
            }
        if isPlain { return self }
        return "'"
            + split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''")
            + "'"
    }
}
