import DurableLog

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// The files of one data directory, through plain system calls. Each thread has its own value: file
/// descriptors are kept open per value and never shared.
struct PosixDisk: Disk {
    /// Descriptors kept open; the log writes to one segment for a long time.
    private static let maxOpenFiles = 4

    let directory: String
    private let restsAfterSync: Bool
    private var open: [(file: String, descriptor: Int32)] = []

    /// - Parameter restsAfterSync: whether a thread that syncs piece after piece leaves three quarters
    ///   of the disk's time to others. Beside one that doesn't, the slowest of 2,000 small syncs took
    ///   54–79 ms; beside one that does, 4–15 ms.
    init(directory: String, restsAfterSync: Bool = false) {
        self.directory = directory
        self.restsAfterSync = restsAfterSync
    }

    private func path(_ file: String) -> String { directory + "/" + file }

    private func failure(_ call: String, _ file: String, _ code: Int32 = errno) -> DiskError {
        let kind: DiskError.Kind =
            switch code {
            case ENOENT: .missing
            case ENOSPC, EDQUOT: .noSpace
            default: .system(code)
            }
        return DiskError(
            kind: kind, call: call, file: path(file), reason: String(cString: strerror(code)))
    }

    private mutating func descriptor(_ file: String, creating: Bool) throws(DiskError) -> Int32 {
        if let position = open.firstIndex(where: { $0.file == file }) {
            return open[position].descriptor
        }
        let flags = O_RDWR | O_CLOEXEC | (creating ? O_CREAT : 0)
        let descriptor = Glibc.open(path(file), flags, 0o600)
        guard descriptor >= 0 else { throw failure("open", file) }
        if open.count >= Self.maxOpenFiles { close(open.removeFirst().descriptor) }
        open.append((file, descriptor))
        return descriptor
    }

    private mutating func forget(_ file: String) {
        open.removeAll { item in
            guard item.file == file else { return false }
            close(item.descriptor)
            return true
        }
    }

    /// Closes what is open; the value can be used again.
    mutating func closeAll() {
        for item in open { close(item.descriptor) }
        open.removeAll()
    }

    mutating func list() throws(DiskError) -> [String] {
        guard let stream = opendir(directory) else { throw failure("list", "") }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                // The kernel ends the name with a zero within the field.
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    mutating func byteCount(of file: String) throws(DiskError) -> Int? {
        var status = stat()
        guard stat(path(file), &status) == 0 else {
            if errno == ENOENT { return nil }
            throw failure("stat", file)
        }
        return Int(status.st_size)
    }

    mutating func read(_ file: String, offset: Int, byteCount: Int) throws(DiskError) -> [UInt8] {
        let descriptor = try descriptor(file, creating: false)
        var outcome = ReadOutcome.whole
        let bytes = [UInt8](unsafeUninitializedCapacity: byteCount) { buffer, count in
            outcome = Self.fill(UnsafeMutableRawBufferPointer(buffer), from: descriptor, at: offset)
            if case .whole = outcome { count = byteCount }
        }
        try check(outcome, of: file)
        return bytes
    }

    mutating func read(
        _ file: String, offset: Int, byteCount: Int, into bytes: inout [UInt8]
    ) throws(DiskError) {
        let descriptor = try descriptor(file, creating: false)
        if bytes.count != byteCount { bytes = [UInt8](repeating: 0, count: byteCount) }
        let outcome = bytes.withUnsafeMutableBytes { buffer in
            Self.fill(buffer, from: descriptor, at: offset)
        }
        try check(outcome, of: file)
    }

    private enum ReadOutcome {
        case whole
        case ended(at: Int)
        case failed(Int32)
    }

    private static func fill(
        _ buffer: UnsafeMutableRawBufferPointer, from descriptor: Int32, at offset: Int
    ) -> ReadOutcome {
        var count = 0
        // The kernel writes `buffer.count - count` bytes at most; a buffer with room has a base.
        while count < buffer.count {
            let result = pread(
                descriptor, buffer.baseAddress! + count, buffer.count - count, offset + count)
            if result < 0, errno == EINTR { continue }
            if result < 0 { return .failed(errno) }
            if result == 0 { return .ended(at: offset + count) }
            count += result
        }
        return .whole
    }

    private func check(_ outcome: ReadOutcome, of file: String) throws(DiskError) {
        switch outcome {
        case .whole: break
        case .ended(let position):
            throw DiskError(
                kind: .tooShort, call: "read", file: path(file),
                reason: "the file ends at byte \(position)")
        case .failed(let code): throw failure("read", file, code)
        }
    }

    mutating func create(_ file: String, byteCount: Int) throws(DiskError) {
        forget(file)
        if unlink(path(file)) != 0, errno != ENOENT { throw failure("remove", file) }
        let descriptor = try descriptor(file, creating: true)
        // Writing the zeroes, not only reserving the space, makes later syncs cheaper: no block is
        // left to be allocated or marked as written.
        let zeroes = [UInt8](repeating: 0, count: min(byteCount, 1 << 20))
        var offset = 0
        while offset < byteCount {
            try writeAll(
                descriptor, file, offset: offset, zeroes[..<min(zeroes.count, byteCount - offset)])
            offset += zeroes.count
        }
        guard fsync(descriptor) == 0 else { throw failure("sync", file) }
    }

    mutating func write(_ file: String, offset: Int, bytes: [UInt8]) throws(DiskError) {
        try writeAll(try descriptor(file, creating: true), file, offset: offset, bytes[...])
    }

    private func writeAll(
        _ descriptor: Int32, _ file: String, offset: Int, _ bytes: ArraySlice<UInt8>
    ) throws(DiskError) {
        var code: Int32 = 0
        // The kernel reads `buffer.count - written` bytes at most; a buffer with any has a base.
        bytes.withUnsafeBytes { buffer in
            var written = 0
            while written < buffer.count {
                let result = pwrite(
                    descriptor, buffer.baseAddress! + written, buffer.count - written,
                    offset + written)
                if result < 0, errno == EINTR { continue }
                if result < 0 {
                    code = errno
                    return
                }
                written += result
            }
        }
        if code != 0 { throw failure("write", file, code) }
    }

    mutating func sync(_ file: String) throws(DiskError) {
        let descriptor = try descriptor(file, creating: false)
        let start = restsAfterSync ? ContinuousClock.now : nil
        // A sync that failed is never repeated: the kernel may have dropped the pages.
        guard fdatasync(descriptor) == 0 else { throw failure("sync", file) }
        if let start { rest(after: ContinuousClock.now - start) }
    }

    /// Sleeps thrice as long as the disk was busy; a disk that hung isn't waited for once more.
    private func rest(after busy: Duration) {
        let microseconds = min(busy * 3, .milliseconds(200)) / .microseconds(1)
        usleep(UInt32(microseconds))
    }

    mutating func rename(_ file: String, to name: String) throws(DiskError) {
        forget(file)
        forget(name)
        guard Glibc.rename(path(file), path(name)) == 0 else { throw failure("rename", file) }
    }

    mutating func remove(_ file: String) throws(DiskError) {
        forget(file)
        if unlink(path(file)) != 0, errno != ENOENT { throw failure("remove", file) }
    }

    mutating func syncDirectory() throws(DiskError) {
        let descriptor = Glibc.open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("open", "") }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw failure("sync", "") }
    }
}
