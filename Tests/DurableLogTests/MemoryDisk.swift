import DurableLog

/// A disk with a volatile and a durable image, crashed at will: unsynced sectors are kept, dropped
/// or garbled one by one; names change durably only with the directory.
struct MemoryDisk: Disk {
    struct File {
        var volatile: [UInt8] = []
        var durable: [UInt8] = []
    }
    private var files: [Int: File] = [:]
    private var names: [String: Int] = [:]
    private var durableNames: [String: Int] = [:]
    private var nextFile = 0
    /// Calls made so far; the call with this number and all later ones fail.
    var callCount = 0
    var failAtCall = Int.max

    private mutating func call(_ name: String, _ file: String) throws(DiskError) {
        callCount += 1
        if callCount > failAtCall {
            throw DiskError(kind: .system(5), call: name, file: file, reason: "planted")
        }
    }

    private func missing(_ call: String, _ file: String) -> DiskError {
        DiskError(kind: .missing, call: call, file: file, reason: "no such file")
    }

    mutating func list() throws(DiskError) -> [String] { names.keys.sorted() }

    mutating func byteCount(of file: String) throws(DiskError) -> Int? {
        names[file].map { files[$0]!.volatile.count }
    }

    mutating func read(_ file: String, offset: Int, byteCount: Int) throws(DiskError) -> [UInt8] {
        guard let id = names[file] else { throw missing("read", file) }
        let bytes = files[id]!.volatile
        guard offset + byteCount <= bytes.count else {
            throw DiskError(kind: .tooShort, call: "read", file: file, reason: "short")
        }
        return Array(bytes[offset..<offset + byteCount])
    }

    mutating func create(_ file: String, byteCount: Int) throws(DiskError) {
        try call("create", file)
        nextFile += 1
        let zeroes = [UInt8](repeating: 0, count: byteCount)
        files[nextFile] = File(volatile: zeroes, durable: zeroes)
        names[file] = nextFile
    }

    mutating func write(_ file: String, offset: Int, bytes: [UInt8]) throws(DiskError) {
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

    mutating func sync(_ file: String) throws(DiskError) {
        try call("sync", file)
        guard let id = names[file] else { throw missing("sync", file) }
        files[id]!.durable = files[id]!.volatile
    }

    mutating func rename(_ file: String, to name: String) throws(DiskError) {
        try call("rename", file)
        guard let id = names.removeValue(forKey: file) else { throw missing("rename", file) }
        names[name] = id
    }

    mutating func remove(_ file: String) throws(DiskError) {
        try call("remove", file)
        names[file] = nil
    }

    mutating func syncDirectory() throws(DiskError) {
        try call("sync directory", ".")
        durableNames = names
    }

    /// Loses power. Each unsynced sector has its own fate.
    mutating func crash(random: inout some RandomNumberGenerator) {
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

    mutating func flipBit(in file: String, at offset: Int) {
        let id = names[file]!
        files[id]!.volatile[offset] ^= 0x10
        files[id]!.durable[offset] ^= 0x10
    }

    mutating func drop(_ file: String) {
        names[file] = nil
        durableNames[file] = nil
    }
}

/// A seeded generator (splitmix64).
struct Seeded: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

let testIdentity = DirectoryIdentity(
    clusterID: 7, memberID: 11, directoryID: DirectoryID(high: 13, low: 17))
let emptyBase = LogBase(index: 0, term: 0, chain: 0, configuration: [1, 2, 3])
let smallSettings: DurableLogSettings = {
    var settings = DurableLogSettings()
    settings.segmentByteCount = 16 << 10
    settings.maxBatchPayloadBytes = 2 << 10
    return settings
}()

/// Runs a log against a disk, one operation at a time.
struct LogDriver: ~Copyable {
    var log: DurableLog
    var disk: MemoryDisk
    var pending: [DiskOperation] = []
    var durable: [UInt64] = []
    var read: [UInt64: [LogEntry]] = [:]
    var failure: LogError?

    init(opening disk: MemoryDisk, recovered: RecoveredLog) {
        self.disk = disk
        log = DurableLog(
            continuing: recovered, identity: testIdentity, settings: smallSettings)
    }

    mutating func collect() {
        var outputs: [LogOutput] = []
        log.drain(into: &outputs)
        for output in outputs {
            switch output {
            case .perform(let operation): pending.append(operation)
            case .durable(let token): durable.append(token)
            case .entries(let request, let entries): read[request] = entries
            case .entriesGone(let request): read[request] = []
            case .failed(let error): failure = error
            }
        }
    }

    /// Carries out one queued operation. False when there is none.
    mutating func performOne() -> Bool {
        collect()
        guard !pending.isEmpty else { return false }
        let completion = pending.removeFirst().perform(on: &disk)
        log.completed(completion)
        collect()
        return true
    }

    mutating func settle() { while performOne() {} }
}

func freshDisk() throws -> MemoryDisk {
    var disk = MemoryDisk()
    try LogRecovery.initialize(
        &disk, identity: testIdentity, base: emptyBase, settings: smallSettings)
    return disk
}

func entry(_ index: UInt64, term: UInt64 = 1, size: Int = 40) -> LogEntry {
    LogEntry(
        index: index, term: term,
        bytes: (0..<size).map { UInt8(truncatingIfNeeded: Int(index) &* 31 &+ $0) })
}
