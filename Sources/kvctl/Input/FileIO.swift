import Glibc

/// Whole files as bytes.
enum FileIO {
    /// Larger input can't be a value anyway.
    static let maximumBytes = 1 << 30

    static func read(_ path: String) throws(CommandFailure) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("can't open", path) }
        defer { close(descriptor) }
        return try read(descriptor, name: path)
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
        let aside = try AsideFile(path)
        try aside.write(content)
        try aside.commit()
    }

    static func writeAll(
        _ content: [UInt8], to descriptor: Int32, name: String
    ) throws(CommandFailure) {
        var position = 0
        while position < content.count {
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

/// A file that gets its name only when it is complete and on disk.
final class AsideFile {
    private let path: String
    private let asidePath: String
    private let descriptor: Int32
    private var isCommitted = false

    init(_ path: String) throws(CommandFailure) {
        self.path = path
        asidePath = "\(path).\(getpid()).part"
        descriptor = open(asidePath, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw FileIO.failure("can't write", asidePath) }
    }

    deinit {
        close(descriptor)
        if !isCommitted { unlink(asidePath) }
    }

    func write(_ content: [UInt8]) throws(CommandFailure) {
        try FileIO.writeAll(content, to: descriptor, name: asidePath)
    }

    func commit() throws(CommandFailure) {
        guard fsync(descriptor) == 0 else { throw FileIO.failure("can't sync", asidePath) }
        guard rename(asidePath, path) == 0 else { throw FileIO.failure("can't rename to", path) }
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
