import DurableLog
import TestSupport

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

    /// Appends entries until a segment has its first batch; returns the last one's index.
    @discardableResult
    mutating func fill(untilBatchIn file: String) throws -> UInt64 {
        var last: UInt64 = 0
        while try (disk.byteCount(of: file) ?? 0) == 0
            || disk.read(file, offset: 512, byteCount: 8).allSatisfy({ $0 == 0 })
        {
            last += 1
            log.append(.init(entries: [entry(last, size: 900)]), token: last, commitIndex: 0)
            settle()
        }
        return last
    }
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
