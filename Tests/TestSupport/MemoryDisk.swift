import DurableLog

/// A disk with a volatile and a durable image, crashed at will: unsynced sectors are kept, dropped
/// or garbled one by one; names change durably only with the directory.
public struct MemoryDisk: Disk, Sendable {
    struct File: Sendable {
        var volatile: [UInt8] = []
        var durable: [UInt8] = []
    }
    private var files: [Int: File] = [:]
    private var names: [String: Int] = [:]
    private var durableNames: [String: Int] = [:]
    private var nextFile = 0
    /// Calls made so far that change something.
    public private(set) var callCount = 0
    /// The call with this number and all later ones fail.
    public var failAtCall = Int.max

    /// An empty disk.
    public init() {}

    private mutating func call(_ name: String, _ file: String) throws(DiskError) {
        callCount += 1
        if callCount > failAtCall {
            throw DiskError(kind: .system(5), call: name, file: file, reason: "planted")
        }
    }

    private func missing(_ call: String, _ file: String) -> DiskError {
        DiskError(kind: .missing, call: call, file: file, reason: "no such file")
    }

    /// See `Disk.list`.
    public mutating func list() throws(DiskError) -> [String] { names.keys.sorted() }

    /// See `Disk.byteCount`.
    public mutating func byteCount(of file: String) throws(DiskError) -> Int? {
        names[file].map { files[$0]!.volatile.count }
    }

    /// See `Disk.read`.
    public mutating func read(_ file: String, offset: Int, byteCount: Int) throws(DiskError)
        -> [UInt8]
    {
        guard let id = names[file] else { throw missing("read", file) }
        let bytes = files[id]!.volatile
        guard offset + byteCount <= bytes.count else {
            throw DiskError(kind: .tooShort, call: "read", file: file, reason: "short")
        }
        return Array(bytes[offset..<offset + byteCount])
    }

    /// See `Disk.create`.
    public mutating func create(_ file: String, byteCount: Int) throws(DiskError) {
        try call("create", file)
        nextFile += 1
        let zeroes = [UInt8](repeating: 0, count: byteCount)
        files[nextFile] = File(volatile: zeroes, durable: zeroes)
        names[file] = nextFile
    }

    /// See `Disk.write`.
    public mutating func write(_ file: String, offset: Int, bytes: [UInt8]) throws(DiskError) {
        if names[file] == nil {
            nextFile += 1
            files[nextFile] = File()
            names[file] = nextFile
        }
        let id = names[file]!
        let end = offset + bytes.count
        if files[id]!.volatile.count < end {
            files[id]!.volatile += [UInt8](repeating: 0, count: end - files[id]!.volatile.count)
        }
        files[id]!.volatile.replaceSubrange(offset..<end, with: bytes)
        try call("write", file)
    }

    /// See `Disk.sync`.
    public mutating func sync(_ file: String) throws(DiskError) {
        try call("sync", file)
        guard let id = names[file] else { throw missing("sync", file) }
        files[id]!.durable = files[id]!.volatile
    }

    /// See `Disk.rename`.
    public mutating func rename(_ file: String, to name: String) throws(DiskError) {
        try call("rename", file)
        guard let id = names.removeValue(forKey: file) else { throw missing("rename", file) }
        names[name] = id
    }

    /// See `Disk.remove`.
    public mutating func remove(_ file: String) throws(DiskError) {
        try call("remove", file)
        names[file] = nil
    }

    /// See `Disk.syncDirectory`.
    public mutating func syncDirectory() throws(DiskError) {
        try call("sync directory", ".")
        durableNames = names
    }

    /// Loses power. Each unsynced sector has its own fate.
    public mutating func crash(random: inout some RandomNumberGenerator) {
        names = durableNames
        for (_, id) in names {
            var file = files[id]!
            var image = file.durable
            if file.volatile.count > image.count {
                image += [UInt8](repeating: 0, count: file.volatile.count - image.count)
            }
            for start in stride(from: 0, to: file.volatile.count, by: 512) {
                let sector = start..<min(start + 512, file.volatile.count)
                guard file.volatile[sector] != image[sector] else { continue }
                switch UInt8.random(in: 0..<3, using: &random) {
                case 0: image.replaceSubrange(sector, with: file.volatile[sector])
                case 1: break
                default:
                    for position in sector {
                        image[position] = .random(in: 0...255, using: &random)
                    }
                }
            }
            file.volatile = image
            file.durable = image
            files[id] = file
        }
        failAtCall = .max
    }

    /// Damages a file for good.
    public mutating func flipBit(in file: String, at offset: Int) {
        let id = names[file]!
        files[id]!.volatile[offset] ^= 0x10
        files[id]!.durable[offset] ^= 0x10
    }

    /// Cuts a file short for good.
    public mutating func cut(_ file: String, to byteCount: Int) {
        let id = names[file]!
        files[id]!.volatile.removeLast(files[id]!.volatile.count - byteCount)
        files[id]!.durable = files[id]!.volatile
    }

    /// Loses a file for good.
    public mutating func drop(_ file: String) {
        names[file] = nil
        durableNames[file] = nil
    }
}
