import DurableLog
import RaftCore

/// A member's directory with two images of each sector: what the system shows, and what is on the
/// platters.
///
/// A crash decides for each unsynced sector on its own whether it was kept, dropped or garbled;
/// sizes and names have fates of their own.
struct SimulatedDisk: Disk {
    static let sectorBytes = 512

    fileprivate struct File {
        var bytes: [UInt8] = []
        /// The platters' content of sectors that differ, or may differ, from `bytes`.
        var unsynced: [Int: [UInt8]] = [:]
        /// Sectors that a failed sync left unwritten and yet marked clean: no later sync writes them.
        var forgotten: [Int: [UInt8]] = [:]
        var durableCount = 0
    }
    private enum NameChange {
        case link(String, Int)
        case rename(String, String, Int)
        case unlink(String)
    }

    private var files: [Int: File] = [:]
    private var names: [String: Int] = [:]
    private var durableNames: [String: Int] = [:]
    /// Changes of names since the directory was synced, in order.
    private var unsyncedNames: [NameChange] = []
    private var nextFile = 0
    private var random: RandomStream

    /// Calls that changed something, or tried to.
    private(set) var callCount = 0
    /// The power fails in the middle of the call with this number.
    var powerFailsAtCall = Int.max
    /// The call with this number fails; a sync leaves nothing of what it was about on the platters.
    var failsAtCall = Int.max
    /// What becomes of the call in which the power fails, and of what wasn't synced.
    var tear = Tear()
    /// Whether the power failed in the middle of a call.
    private(set) var hasLostPower = false
    /// In a million: how often a call fails.
    var failuresPerMillion: UInt64 = 0
    /// Whether the next write finds the disk full.
    var isFull = false

    init(random: RandomStream) { self.random = random }

    /// What a loss of power leaves behind.
    struct Tear: Equatable, Sendable {
        enum Fate: CaseIterable, Sendable {
            case kept
            case dropped
            case garbled
        }
        /// How much of the call still happens, of 8.
        var eighths = 4
        /// The fate of all unsynced sectors and names; nil draws for each.
        var fate: Fate?
    }

    // MARK: - Failing

    private mutating func call(_ name: String, _ file: String) throws(DiskError) {
        if hasLostPower { throw failure(name, file, "the power failed") }
        callCount += 1
        if callCount >= powerFailsAtCall {
            hasLostPower = true
        } else if callCount == failsAtCall {
            throw failure(name, file, "planted")
        } else if failuresPerMillion > 0, random.next(in: 0..<1_000_000) < failuresPerMillion {
            throw failure(name, file, "planted")
        }
    }

    private func failure(_ name: String, _ file: String, _ reason: String) -> DiskError {
        DiskError(kind: .system(5), call: name, file: file, reason: reason)
    }

    private func checkPower(_ name: String, _ file: String) throws(DiskError) {
        if hasLostPower { throw failure(name, file, "the power failed") }
    }

    // MARK: - Disk

    mutating func list() throws(DiskError) -> [String] { names.keys.sorted() }

    mutating func byteCount(of file: String) throws(DiskError) -> Int? {
        names[file].map { files[$0]!.bytes.count }
    }

    mutating func read(_ file: String, offset: Int, byteCount: Int) throws(DiskError) -> [UInt8] {
        guard let id = names[file] else {
            throw DiskError(kind: .missing, call: "read", file: file, reason: "no such file")
        }
        let bytes = files[id]!.bytes
        guard offset + byteCount <= bytes.count else {
            throw DiskError(kind: .tooShort, call: "read", file: file, reason: "it ends before")
        }
        return Array(bytes[offset..<offset + byteCount])
    }

    mutating func create(_ file: String, byteCount: Int) throws(DiskError) {
        try call("create", file)
        if isFull {
            throw DiskError(
                kind: .noSpace, call: "create", file: file, reason: "no space left on device")
        }
        nextFile += 1
        // Power that fails here leaves a file of any size: the call's own sync didn't end.
        let allocated = hasLostPower ? byteCount * tear.eighths / 8 : byteCount
        files[nextFile] = File(
            bytes: [UInt8](repeating: 0, count: allocated), durableCount: allocated)
        link(file, nextFile)
        try checkPower("create", file)
    }

    private mutating func link(_ file: String, _ id: Int) {
        names[file] = id
        unsyncedNames.append(.link(file, id))
    }

    mutating func write(_ file: String, offset: Int, bytes: [UInt8]) throws(DiskError) {
        try call("write", file)
        if names[file] == nil {
            nextFile += 1
            files[nextFile] = File()
            link(file, nextFile)
        }
        var written = bytes.count
        if hasLostPower { written = bytes.count * tear.eighths / 8 }
        if isFull { written = min(written, random.index(bytes.count + 1)) }
        store(bytes[..<written], at: offset, in: names[file]!)
        try checkPower("write", file)
        if isFull {
            throw DiskError(
                kind: .noSpace, call: "write", file: file, reason: "no space left on device")
        }
    }

    private mutating func store(_ bytes: ArraySlice<UInt8>, at offset: Int, in id: Int) {
        guard !bytes.isEmpty else { return }
        let end = offset + bytes.count
        if files[id]!.bytes.count < end {
            let missing = end - files[id]!.bytes.count
            files[id]!.bytes.append(contentsOf: repeatElement(0, count: missing))
        }
        for sector in offset / Self.sectorBytes...(end - 1) / Self.sectorBytes
        where files[id]!.unsynced[sector] == nil {
            files[id]!.unsynced[sector] =
                files[id]!.forgotten.removeValue(forKey: sector)
                ?? files[id]!.content(ofSector: sector)
        }
        files[id]!.bytes.replaceSubrange(offset..<end, with: bytes)
    }

    mutating func sync(_ file: String) throws(DiskError) {
        guard let id = names[file] else {
            throw DiskError(kind: .missing, call: "sync", file: file, reason: "no such file")
        }
        do throws(DiskError) {
            try call("sync", file)
        } catch {
            // The pages are clean now, though some never reached the platters (ATC '20).
            let losesAll = callCount == failsAtCall
            for sector in files[id]!.unsynced.keys.sorted()
            where losesAll || random.chance(500) {
                files[id]!.forgotten[sector] = files[id]!.unsynced[sector]
            }
            files[id]!.unsynced.removeAll(keepingCapacity: true)
            throw error
        }
        try checkPower("sync", file)
        files[id]!.unsynced.removeAll(keepingCapacity: true)
        files[id]!.durableCount = files[id]!.bytes.count
    }

    mutating func rename(_ file: String, to name: String) throws(DiskError) {
        guard let id = names[file] else {
            throw DiskError(kind: .missing, call: "rename", file: file, reason: "no such file")
        }
        try call("rename", file)
        names[file] = nil
        names[name] = id
        unsyncedNames.append(.rename(file, name, id))
        try checkPower("rename", file)
    }

    mutating func remove(_ file: String) throws(DiskError) {
        try call("remove", file)
        guard names.removeValue(forKey: file) != nil else { return }
        unsyncedNames.append(.unlink(file))
        try checkPower("remove", file)
    }

    mutating func syncDirectory() throws(DiskError) {
        try call("sync directory", ".")
        try checkPower("sync directory", ".")
        durableNames = names
        unsyncedNames.removeAll(keepingCapacity: true)
        let used = Set(names.values)
        for id in files.keys.sorted() where !used.contains(id) { files[id] = nil }
    }

    // MARK: - Loss of power and damage

    /// Takes a planned loss of power back: the process ended, the machine goes on.
    mutating func endPowerFailure() {
        hasLostPower = false
        powerFailsAtCall = .max
    }

    /// Loses power, with draws from another stream.
    mutating func crash(drawingFrom stream: RandomStream) {
        random = stream
        crash()
    }

    /// Loses power: what wasn't synced may be there, may not be, or may be garbage.
    mutating func crash() {
        crashNames()
        for id in Set(names.values).sorted() {
            files[id]!.crash(fate: tear.fate, random: &random)
        }
        hasLostPower = false
        powerFailsAtCall = .max
        tear = Tear()
        isFull = false
    }

    private mutating func crashNames() {
        names = durableNames
        // File systems keep such changes in order, or lose the later ones; some do neither.
        let inOrder = random.chance(500)
        let kept = random.index(unsyncedNames.count + 1)
        for (position, change) in unsyncedNames.enumerated() {
            let survives =
                switch tear.fate {
                case .kept: true
                case .dropped, .garbled: false
                case nil: inOrder ? position < kept : random.chance(500)
                }
            guard survives else { continue }
            switch change {
            case .link(let file, let id): names[file] = id
            case .rename(let file, let name, let id):
                if names[file] == id { names[file] = nil }
                names[name] = id
            case .unlink(let file): names[file] = nil
            }
        }
        durableNames = names
        unsyncedNames.removeAll()
    }

    /// Damages synced bytes for good: flips a bit, zeroes a sector, or puts another sector in its
    /// place.
    mutating func rot(_ file: String, sector: Int) {
        guard let id = names[file] else { return }
        let start = sector * Self.sectorBytes
        let end = min(start + Self.sectorBytes, files[id]!.bytes.count)
        guard start < end else { return }
        switch random.index(3) {
        case 0: files[id]!.bytes[start + random.index(end - start)] ^= 1 << UInt8(random.index(8))
        case 1: for position in start..<end { files[id]!.bytes[position] = 0 }
        default:
            let other = random.index(files[id]!.bytes.count / Self.sectorBytes + 1)
            let content = files[id]!.content(ofSector: other)
            for position in start..<end {
                files[id]!.bytes[position] =
                    position - start < content.count ? content[position - start] : 0
            }
        }
    }
}

extension SimulatedDisk.File {
    func content(ofSector sector: Int) -> [UInt8] {
        let start = sector * SimulatedDisk.sectorBytes
        let end = min(start + SimulatedDisk.sectorBytes, bytes.count)
        return start < end ? Array(bytes[start..<end]) : []
    }

    mutating func crash(fate: SimulatedDisk.Tear.Fate?, random: inout RandomStream) {
        for (sector, content) in forgotten where unsynced[sector] == nil {
            unsynced[sector] = content
        }
        let keepsAll = fate == .kept || (fate == nil && random.chance(200))
        for sector in unsynced.keys.sorted() {
            let drawn = random.pick(SimulatedDisk.Tear.Fate.allCases) ?? .kept
            let fate = forgotten[sector] != nil ? .dropped : fate ?? (keepsAll ? .kept : drawn)
            let start = sector * SimulatedDisk.sectorBytes
            let end = min(start + SimulatedDisk.sectorBytes, bytes.count)
            guard start < end else { continue }
            switch fate {
            case .kept: break
            case .dropped:
                let old = unsynced[sector]!
                for position in start..<end {
                    bytes[position] = position - start < old.count ? old[position - start] : 0
                }
            case .garbled:
                for position in start..<end { bytes[position] = UInt8(random.index(256)) }
            }
        }
        if bytes.count > durableCount, !keepsAll {
            let unsyncedCount = bytes.count - durableCount
            let kept = durableCount + (fate == nil ? random.index(unsyncedCount + 1) : 0)
            bytes.removeLast(bytes.count - kept)
        }
        durableCount = bytes.count
        unsynced.removeAll()
        forgotten.removeAll()
    }
}
