import DurableLog
import EtcdWire
import KVCore
import Replica
import TestSupport

/// The content of a snapshot: blocks with their hashes.
public struct SnapshotContentTarget: FuzzTarget {
    /// See `FuzzTarget`.
    public let name = "snapshot-content"
    /// See `FuzzTarget`.
    public let summary = """
        a snapshot's content, hashes put right: an error, or a store that writes itself back to what \
        reads the same, and that can be read and written
        """

    /// A target for the blocks of a snapshot.
    public init() {}

    /// See `FuzzTarget`.
    public func seeds() -> [[UInt8]] {
        [0, 3, 6, 9, 11, 13, StoreSeeds.entries.count].map { count in
            var store = StoreSeeds.store(entries: count)
            return StoreSeeds.content(&store)
        }
    }

    /// Kind and payload of each block.
    static func blocks(_ bytes: [UInt8]) -> [[UInt8]] {
        var blocks: [[UInt8]] = []
        var rest = bytes[...]
        while rest.count >= 12 {
            let count = Int(Array(rest.prefix(4)).number(UInt32.self, at: 0))
            guard rest.count >= 12 + count else { break }
            blocks.append(Array(rest.dropFirst(4).prefix(count)))
            rest = rest.dropFirst(12 + count)
        }
        return blocks
    }

    static func joined(_ blocks: [[UInt8]]) -> [UInt8] {
        var hash: UInt64 = 0
        var bytes: [UInt8] = []
        for block in blocks {
            hash = block.withUnsafeBytes { KVCore.SnapshotFormat.hash(previous: hash, $0) }
            bytes.put(UInt32(block.count))
            bytes += block
            bytes.put(hash)
        }
        return bytes
    }

    /// See `FuzzTarget`.
    public func mutate(_ input: [UInt8], _ mutator: inout Mutator) -> [UInt8] {
        guard !mutator.once(in: 8) else { return mutator.damage(input) }
        var blocks = Self.blocks(input)
        // Most damage is small: what stands in the middle must fit what stands around it.
        if !blocks.isEmpty, !mutator.once(in: 4) {
            let index = mutator.below(blocks.count)
            Self.change(&blocks[index], &mutator)
        } else {
            let donor = mutator.other()
            mutator.rearrange(&blocks, from: Self.blocks(donor)) { block, mutator in
                block = mutator.damage(block)
            }
        }
        return Self.joined(blocks)
    }

    private static func change(_ block: inout [UInt8], _ mutator: inout Mutator) {
        guard block.count > 9, !mutator.once(in: 3) else {
            block = mutator.damage(block)
            return
        }
        // A number somewhere, small or extreme.
        let width = [1, 4, 8][mutator.below(3)]
        let place = 1 + mutator.below(block.count - width)
        var number: [UInt8] = []
        number.put(mutator.once(in: 2) ? UInt64(mutator.below(16)) : mutator.number())
        block.replaceSubrange(place..<(place + width), with: number.prefix(width))
    }

    /// See `FuzzTarget`.
    public func run(_ input: [UInt8]) throws(PropertyBreach) -> Behaviour {
        var trace = BehaviourTrace()
        var store: Store
        do throws(KVCore.SnapshotError) {
            store = try Self.decode(input, piece: Int.max)
        } catch {
            trace.note("\(error)".filter { !$0.isNumber })
            return Behaviour(isAccepted: false, trace)
        }
        trace.note("keys \(min(4, store.keyCount)) leases \(min(3, store.leaseCount))")
        trace.note("members \(min(3, store.members.count)) \(store.compactedRevision > 1)")
        try Self.check(&store, input)
        try Self.use(&store)
        return Behaviour(isAccepted: true, trace)
    }

    static func decode(_ bytes: [UInt8], piece: Int) throws(KVCore.SnapshotError) -> Store {
        var decoder = SnapshotDecoder()
        var rest = bytes[...]
        while !rest.isEmpty {
            try decoder.feed(rest.prefix(piece))
            rest = rest.dropFirst(piece)
        }
        return try decoder.finish()
    }

    /// What is written of a store reads back the same, and so does its snapshot in pieces.
    static func check(_ store: inout Store, _ input: [UInt8]) throws(PropertyBreach) {
        let written = StoreSeeds.content(&store)
        for (bytes, piece) in [(written, Int.max), (input, 7)] {
            var again: Store
            do throws(KVCore.SnapshotError) {
                again = try decode(bytes, piece: piece)
            } catch {
                throw PropertyBreach("a decoded store comes back", seen: "\(error)")
            }
            let hashes = (try? store.hashKV(revision: 0), try? again.hashKV(revision: 0))
            let isSame =
                again.logicalBytes == store.logicalBytes && again.revision == store.revision
                && again.stateHash == store.stateHash && hashes.0 == hashes.1
            let bytesAgain = StoreSeeds.content(&again)
            try require(
                isSame && bytesAgain == written, "a decoded store comes back the same")
        }
    }

    /// Reads everything, writes, compacts.
    static func use(_ store: inout Store) throws(PropertyBreach) {
        var all = RangeRequest()
        (all.key, all.rangeEnd) = ([0], [0])
        let count = (try? store.range(all))?.count
        try require(count != nil, "a decoded store can be read")
        let revision = store.revision
        let applied = store.appliedIndex
        let term = store.appliedTerm
        let changesBefore = store.changeCount
        var compaction = CompactionRequest()
        compaction.revision = revision + 1
        var compactionBody: [UInt8] = []
        compaction.encode(into: &compactionBody)
        let put = RequestSeeds.encoded(RequestSeeds.put("key", "written"))
        let entries = [
            StoreSeeds.envelope(.put, put), StoreSeeds.envelope(.compact, compactionBody),
        ]
        for (offset, entry) in entries.enumerated() {
            guard let envelope = try? Envelope(decoding: entry) else { continue }
            _ = store.apply(envelope, index: applied + 1 + UInt64(offset), term: term)
        }
        while case .more = store.compactStep(budget: 100) {}
        try EntryCheck(
            before: (revision, 0, 0), after: (store.revision, 0, 0),
            changeCount: store.changeCount - changesBefore, failure: nil
        ).check()
    }
}

/// A snapshot's file: container and content.
public struct SnapshotFileTarget: FuzzTarget {
    /// See `FuzzTarget`.
    public let name = "snapshot-file"
    /// See `FuzzTarget`.
    public let summary = """
        a snapshot file, checksums put right: pieces of any size mean the same, and what is loaded \
        stands for the index in its header
        """
    private static let clusterID: UInt64 = 7

    /// A target for snapshot files.
    public init() {}

    /// See `FuzzTarget`.
    public func seeds() -> [[UInt8]] {
        [4, StoreSeeds.entries.count].map { count in
            var store = StoreSeeds.store(entries: count)
            let content = StoreSeeds.content(&store)
            let base = LogBase(
                index: store.appliedIndex, term: 1, chain: 5,
                configuration: LogSeeds.membership.encode())
            return Self.file(base, [content.prefixArray(60), Array(content.dropFirst(60))])
        }
    }

    private static func file(_ base: LogBase, _ frames: [[UInt8]]) -> [UInt8] {
        var writer = SnapshotFileWriter()
        var bytes = writer.header(base: base, clusterID: clusterID)
        for frame in frames where !frame.isEmpty { bytes += writer.frame(frame) }
        return bytes + writer.end()
    }

    /// See `FuzzTarget`.
    public func mutate(_ input: [UInt8], _ mutator: inout Mutator) -> [UInt8] {
        let reading = Self.read(input, piece: Int.max)
        switch mutator.below(4) {
        case 0: return mutator.damage(input)
        case 1:
            // New content in a container that is right.
            guard let base = reading.base, mutator.once(in: 2) else { break }
            let content = reading.frames.flatMap(\.self)
            return Self.file(base, [SnapshotContentTarget().mutate(content, &mutator)])
        case 2:
            guard var base = reading.base else { break }
            if mutator.once(in: 2) { base.index = mutator.number() } else { base.term += 1 }
            if mutator.once(in: 2) { base.configuration = mutator.damage(base.configuration) }
            return Self.file(base, reading.frames)
        default: break
        }
        var parts = Self.parts(input)
        let donor = mutator.other()
        mutator.rearrange(&parts, from: Self.parts(donor)) { part, mutator in
            part = mutator.damage(part)
        }
        return Self.sealed(parts)
    }

    /// The container's parts without their checksums; the last is what follows the end.
    private static func parts(_ bytes: [UInt8]) -> [[UInt8]] {
        guard bytes.count >= 48 else { return [bytes] }
        var parts: [[UInt8]] = []
        var rest = bytes[...]
        var length = 48 + Int(bytes.number(UInt32.self, at: 44))
        while rest.count >= length + 4 {
            parts.append(Array(rest.prefix(length)))
            rest = rest.dropFirst(length + 4)
            guard rest.count >= 8 else { break }
            let compressed = Int(Array(rest.prefix(4)).number(UInt32.self, at: 0))
            length = compressed == 0 ? 16 : 8 + compressed
        }
        return parts
    }

    private static func sealed(_ parts: [[UInt8]]) -> [UInt8] {
        var checksum: UInt32 = 0
        var bytes: [UInt8] = []
        for part in parts {
            checksum = CRC32C.checksum(part, seed: checksum)
            bytes += part
            bytes.put(checksum)
        }
        return bytes + [UInt8](repeating: 0, count: (512 - bytes.count % 512) % 512)
    }

    struct Reading: Equatable {
        var base: LogBase?
        var frames: [[UInt8]] = []
        var error: String?
    }

    static func read(_ bytes: [UInt8], piece: Int) -> Reading {
        var reader = SnapshotFileReader(clusterID: clusterID)
        var reading = Reading()
        var rest = bytes[...]
        do {
            while !rest.isEmpty {
                try reader.feed(Array(rest.prefix(piece))) { reading.frames.append($0) }
                rest = rest.dropFirst(piece)
            }
            try reader.finish()
        } catch {
            // Offsets depend on what has been taken already.
            reading.error = "\(error)".filter { !$0.isNumber }
        }
        reading.base = reader.base
        return reading
    }

    /// See `FuzzTarget`.
    public func run(_ input: [UInt8]) throws(PropertyBreach) -> Behaviour {
        var trace = BehaviourTrace()
        let reading = Self.read(input, piece: Int.max)
        let pieces = Self.read(input, piece: 13)
        try Self.check(reading, pieces, fileBytes: input.count)
        trace.note(reading.error ?? "container")

        var disk = MemoryDisk()
        disk.put("snap", input)
        let loaded: LoadedSnapshot
        do throws(LogError) {
            loaded = try LoadedSnapshot.load(
                "snap", from: &disk, clusterID: Self.clusterID, limits: StoreLimits())
        } catch {
            trace.note(LogTarget.kind(error))
            return Behaviour(isAccepted: false, trace)
        }
        try Self.check(reading, loaded: loaded.base)
        return Behaviour(isAccepted: true, trace)
    }

    static func check(
        _ reading: Reading, _ pieces: Reading, fileBytes: Int
    ) throws(PropertyBreach) {
        try require(
            pieces == reading, "pieces of any size mean the same",
            "\(pieces.error ?? "none") and \(reading.error ?? "none")")
        try require(
            reading.frames.reduce(0) { $0 + $1.count } <= 256 * fileBytes + 1_000,
            "content is bounded by what LZ4 can pack")
    }

    static func check(_ reading: Reading, loaded base: LogBase) throws(PropertyBreach) {
        try require(
            reading.error == nil && base == reading.base, "what is loaded is what was read")
    }
}
