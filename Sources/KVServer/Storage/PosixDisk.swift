import CAsyncIO
import DurableLog

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// The files of one data directory, through plain system calls. Each thread has its own value, and
/// file descriptors are kept open per value.
struct PosixDisk: Disk {
    /// Where memory for direct writes begins: on what every device is content with.
    static let directAlignment = 4_096
    /// Descriptors kept open; the log writes to one segment for a long time.
    private static let maxOpenFiles = 4
    /// What a file loses at a time when a bulk disk removes it.
    private static let removedPieceBytes = 8 << 20

    let directory: String
    private let isBulk: Bool
    private var writesDirectly: Bool
    private var open: [(file: String, descriptor: Int32)] = []

    /// - Parameters:
    ///   - isBulk: whether its work is large and leaves three quarters of the disk's time to others, by
    ///     a rest after each sync, and by removing files piece by piece. Beside a thread that syncs
    ///     piece after piece without a rest, the slowest of 2,000 small syncs took 54–79 ms; beside one
    ///     that rests, 4–15 ms.
    ///   - writesDirectly: whether to write past the system's cache, which takes whole sectors only,
    ///     and no reads. Where the file system can't, it writes as usual.
    init(directory: String, isBulk: Bool = false, writesDirectly: Bool = false) {
        self.directory = directory
        self.isBulk = isBulk
        self.writesDirectly = writesDirectly
    }

    private func path(_ file: String) -> String { directory + "/" + file }

    private func failure(_ call: String, _ file: String, _ code: Int32 = errno) -> DiskError {
        DiskError(call: call, path: path(file), code: code)
    }

    private mutating func descriptor(_ file: String, creating: Bool) throws(DiskError) -> Int32 {
        if let position = open.firstIndex(where: { $0.file == file }) {
            return open[position].descriptor
        }
        let flags = O_RDWR | O_CLOEXEC | (creating ? O_CREAT : 0)
        let direct = writesDirectly ? martlet_open_directly : 0
        var descriptor = Glibc.open(path(file), flags | direct, 0o600)
        if descriptor < 0, errno == EINVAL, writesDirectly {
            writesDirectly = false
            descriptor = Glibc.open(path(file), flags, 0o600)
        }
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
        // Emptied, not removed: the name may stand between others, and a log has no gaps.
        let descriptor = try descriptor(file, creating: true)
        guard ftruncate(descriptor, 0) == 0 else { throw failure("truncate", file) }
        // Writing the zeroes, not only reserving the space, makes later syncs cheaper: no block is
        // left to be allocated or marked as written.
        let zeroes = [UInt8](repeating: 0, count: min(byteCount, 1 << 20))
        var offset = 0
        while offset < byteCount {
            let piece = zeroes[..<min(zeroes.count, byteCount - offset)]
            let code = piece.withUnsafeBytes { Self.writeAll(descriptor, at: offset, $0) }
            try check(write: code, file)
            // Piece by piece, for a batch of the log may be next: beside segments synced as a whole one
            // of 1,000 syncs of 512 bytes took 10 ms, beside such pieces 4, and a segment 21 ms
            // instead of 15.
            guard fdatasync(descriptor) == 0 else { throw failure("sync", file) }
            offset += zeroes.count
        }
        guard fsync(descriptor) == 0 else { throw failure("sync", file) }
        // The log writes past the cache, which would have to let go of each page first.
        posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
    }

    mutating func write(_ file: String, offset: Int, bytes: [UInt8]) throws(DiskError) {
        if writesDirectly, try writeDirectly(file, offset: offset, bytes) { return }
        let descriptor = try descriptor(file, creating: true)
        let code = bytes.withUnsafeBytes { Self.writeAll(descriptor, at: offset, $0) }
        try check(write: code, file)
    }

    /// False, with nothing written, where the file system or the device takes no such writes.
    private mutating func writeDirectly(
        _ file: String, offset: Int, _ bytes: [UInt8]
    ) throws(DiskError) -> Bool {
        let descriptor = try descriptor(file, creating: true)
        let aligned = UnsafeMutableRawBufferPointer.allocate(
            byteCount: bytes.count, alignment: Self.directAlignment)
        defer { aligned.deallocate() }
        aligned.copyBytes(from: bytes)
        let code = Self.writeAll(descriptor, at: offset, UnsafeRawBufferPointer(aligned))
        guard code == EINVAL else {
            try check(write: code, file)
            return true
        }
        // Its sectors are larger than the log's, say.
        writesDirectly = false
        forget(file)
        return false
    }

    private func check(write code: Int32, _ file: String) throws(DiskError) {
        if code != 0 { throw failure("write", file, code) }
    }

    /// A descriptor of the caller's own for a file that this value has open for direct writes; nil
    /// if it hasn't.
    func duplicate(_ file: String) -> Int32? {
        guard writesDirectly, let item = open.first(where: { $0.file == file }) else { return nil }
        let copy = fcntl(item.descriptor, F_DUPFD_CLOEXEC, 0)
        return copy >= 0 ? copy : nil
    }

    /// Returns 0 or an `errno` value.
    private static func writeAll(
        _ descriptor: Int32, at offset: Int, _ bytes: UnsafeRawBufferPointer
    ) -> Int32 {
        var written = 0
        while written < bytes.count {
            // The kernel reads `bytes.count - written` bytes at most; a buffer with any has a base.
            let result = pwrite(
                descriptor, bytes.baseAddress! + written, bytes.count - written, offset + written)
            if result < 0, errno == EINTR { continue }
            guard result >= 0 else { return errno }
            written += result
        }
        return 0
    }

    mutating func sync(_ file: String) throws(DiskError) {
        let descriptor = try descriptor(file, creating: false)
        let start = isBulk ? ContinuousClock.now : nil
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
        let name = isBulk ? try shrink(file) : file
        if unlink(path(name)) != 0, errno != ENOENT { throw failure("remove", name) }
    }

    /// Takes the bytes of a large file away little by little, and returns the name that is left to be
    /// removed. A file system that tells the device at once what is free again (`discard`) kept the
    /// log's syncs waiting for 27–44 ms while it did so for a snapshot of 200 MB.
    private mutating func shrink(_ file: String) throws(DiskError) -> String {
        guard var size = try byteCount(of: file), size > Self.removedPieceBytes else { return file }
        // Nobody may find a part of it under its name. A start removes files of such names.
        let aside = file + ".tmp"
        try rename(file, to: aside)
        try syncDirectory()
        while size > Self.removedPieceBytes {
            size -= Self.removedPieceBytes
            let descriptor = try descriptor(aside, creating: false)
            guard ftruncate(descriptor, off_t(size)) == 0 else { throw failure("truncate", aside) }
            try sync(aside)
        }
        forget(aside)
        return aside
    }

    mutating func syncDirectory() throws(DiskError) {
        let descriptor = Glibc.open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("open", "") }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw failure("sync", "") }
    }
}

extension DiskError {
    /// What a system call's `errno` says.
    init(call: String, path: String, code: Int32) {
        let kind: Kind =
            switch code {
            case ENOENT: .missing
            case ENOSPC, EDQUOT: .noSpace
            default: .system(code)
            }
        self.init(kind: kind, call: call, file: path, reason: String(cString: strerror(code)))
    }
}
