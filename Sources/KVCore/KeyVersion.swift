import CPrefetch

/// The fixed part of a version; key and value bytes follow it in the same allocation.
struct VersionHeader {
    /// The revision that created the key's present life.
    let createRevision: Int64
    /// The revision of this change.
    let modRevision: Int64
    /// Changes since the creation, 1 for the creating put, 0 for a deletion.
    let version: Int64
    /// The lease the key is attached to, 0 for none.
    let lease: Int64
    /// The version this one replaced, until compaction cuts it off.
    var previous: VersionStorage?
    /// The change's position among those of its revision.
    let subRevision: UInt32
    let keyLength: UInt32
    let valueLength: UInt32
}

/// One version of one key, in one allocation.
///
/// Everything is written before the object is shared, and but for `header.previous` never again.
/// That one is written by the owner of the store only, when it trims below a compaction, and only
/// once no view can still follow it (`Store.compactStep(budget:)`). That makes the object safe to
/// read from any thread, which the types that carry it across rely on.
final class VersionStorage: ManagedBuffer<VersionHeader, UInt8> {
    /// A version whose key and value bytes are written by `fill`, which gets exactly the room for
    /// them, the key first.
    static func make(
        createRevision: Int64, modRevision: Int64, version: Int64, lease: Int64,
        subRevision: UInt32, previous: VersionStorage?,
        keyLength: Int, valueLength: Int, fill: (UnsafeMutableRawBufferPointer) -> Void
    ) -> VersionStorage {
        // Made where it belongs: a copy would count a reference to `previous` once more.
        let buffer = VersionStorage.create(minimumCapacity: keyLength + valueLength) { _ in
            VersionHeader(
                createRevision: createRevision, modRevision: modRevision, version: version,
                lease: lease, previous: previous, subRevision: subRevision,
                keyLength: UInt32(keyLength), valueLength: UInt32(valueLength))
        }
        // `create` on a subclass of ManagedBuffer returns an instance of that subclass.
        let storage = unsafeDowncast(buffer, to: VersionStorage.self)
        storage.withUnsafeMutablePointerToElements {
            fill(UnsafeMutableRawBufferPointer(start: $0, count: keyLength + valueLength))
        }
        return storage
    }

    /// A version with copies of these bytes.
    static func make(
        createRevision: Int64, modRevision: Int64, version: Int64, lease: Int64,
        subRevision: UInt32, previous: VersionStorage? = nil,
        key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer
    ) -> VersionStorage {
        make(
            createRevision: createRevision, modRevision: modRevision, version: version,
            lease: lease, subRevision: subRevision, previous: previous,
            keyLength: key.count, valueLength: value.count
        ) { room in
            // `room` is exactly as long as both, and neither overlaps a fresh allocation.
            if let base = room.baseAddress {
                if let bytes = key.baseAddress {
                    base.copyMemory(from: bytes, byteCount: key.count)
                }
                if let bytes = value.baseAddress {
                    (base + key.count).copyMemory(from: bytes, byteCount: value.count)
                }
            }
        }
    }

    /// Links the version to the one that it took the place of in the tree, whose reference becomes
    /// its own.
    func follow(_ replaced: consuming VersionStorage?) {
        withUnsafeMutablePointerToHeader { $0.pointee.previous = replaced.take() }
    }

    /// Unlinks a long chain step by step: releasing it recursively would exhaust the stack.
    deinit {
        var next = takePrevious()
        while next != nil, isKnownUniquelyReferenced(&next) {
            next = next?.takePrevious()
        }
    }

    /// Cuts the older versions off and returns them.
    func takePrevious() -> VersionStorage? {
        withUnsafeMutablePointerToHeader { $0.pointee.previous.take() }
    }

    // Past the pointer: `header` itself is checked for exclusive access each time, at some 80
    // instructions, and nothing changes it while it is read.
    @inline(__always) private func field<Value>(_ path: (borrowing VersionHeader) -> Value) -> Value
    {
        withUnsafeMutablePointerToHeader { path($0.pointee) }
    }

    @inline(__always) var createRevision: Int64 { field { $0.createRevision } }
    @inline(__always) var modRevision: Int64 { field { $0.modRevision } }
    @inline(__always) var version: Int64 { field { $0.version } }
    @inline(__always) var lease: Int64 { field { $0.lease } }
    @inline(__always) var subRevision: UInt32 { field { $0.subRevision } }
    @inline(__always) var previous: VersionStorage? { field { $0.previous } }
    /// For walks whose view holds what they visit.
    @inline(__always) var unretainedPrevious: Unmanaged<VersionStorage>? {
        field { $0.previous.map(Unmanaged.passUnretained) }
    }
    @inline(__always) var isTombstone: Bool { version == 0 }
    @inline(__always) var keyLength: Int { Int(field { $0.keyLength }) }
    @inline(__always) var valueLength: Int { Int(field { $0.valueLength }) }

    /// What the version counts towards the quota: its bytes and a fixed share for bookkeeping.
    var logicalBytes: UInt64 { UInt64(keyLength + valueLength) + StoreLimits.versionOverheadBytes }

    // `make` allocated room for as many bytes as the header says, and `fill` wrote them all; the
    // buffer lives as long as `self`, which the closures below don't outlive.
    /// The key's bytes, valid during `body`.
    @inline(__always)
    func withKey<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        withUnsafeMutablePointers { header, elements in
            body(UnsafeRawBufferPointer(start: elements, count: Int(header.pointee.keyLength)))
        }
    }

    /// The value's bytes, valid during `body`.
    @inline(__always)
    func withValue<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        withUnsafeMutablePointers { header, elements in
            body(
                UnsafeRawBufferPointer(
                    start: elements + Int(header.pointee.keyLength),
                    count: Int(header.pointee.valueLength)))
        }
    }

    /// Key and value bytes, one behind the other, valid during `body`.
    func withContents<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        withUnsafeMutablePointers { header, elements in
            let count = Int(header.pointee.keyLength) + Int(header.pointee.valueLength)
            return body(UnsafeRawBufferPointer(start: elements, count: count))
        }
    }

    /// The version of this key that was current at `revision`, a deletion included; nil if the key
    /// didn't exist yet or what it was is compacted away.
    func version(at revision: Int64) -> VersionStorage? {
        if modRevision <= revision { return self }
        var candidate = previous
        while let version = candidate, version.modRevision > revision {
            candidate = version.previous
        }
        return candidate
    }
}

extension Unmanaged<VersionStorage> {
    /// What a version of 256 bytes takes. The processor asks for the rest of a longer one by itself.
    private static var prefetchedBytes: Int { 384 }

    /// Asks for the version's memory ahead of its use. Versions that are visited in order lie
    /// anywhere: with this a snapshot's content is encoded in half the time.
    @inline(__always) func prefetch() { martlet_prefetch(toOpaque(), Self.prefetchedBytes) }

    /// Asks for where references are counted.
    @inline(__always) func prefetchReferenceCount() { martlet_prefetch(toOpaque(), 1) }
}

/// One version of one key: what a put stored, or the mark a deletion left.
///
/// A cheap reference; the bytes live as long as anybody holds one. `@unchecked Sendable` because all
/// it gives access to is immutable, see `VersionStorage`.
public struct KeyVersion: @unchecked Sendable {
    let storage: VersionStorage

    init(_ storage: VersionStorage) {
        self.storage = storage
    }

    /// The key.
    public var key: [UInt8] { storage.withKey { [UInt8]($0) } }
    /// The value; empty for a deletion.
    public var value: [UInt8] { storage.withValue { [UInt8]($0) } }
    /// The revision that created the key's present life; 0 for a deletion.
    public var createRevision: Int64 { storage.createRevision }
    /// The revision of this change.
    public var modRevision: Int64 { storage.modRevision }
    /// Changes since the creation, starting at 1; 0 for a deletion.
    public var version: Int64 { storage.version }
    /// The lease the key is attached to, 0 for none.
    public var lease: Int64 { storage.lease }
    /// Whether the change deleted the key.
    public var isDeletion: Bool { storage.isTombstone }
    /// Bytes of key and value.
    public var byteCount: Int { storage.keyLength + storage.valueLength }

    /// Calls `body` with the key's bytes, which must not outlive the call.
    public func withUnsafeKeyBytes<Result>(
        _ body: (UnsafeRawBufferPointer) -> Result
    ) -> Result { storage.withKey(body) }

    /// Calls `body` with the value's bytes, which must not outlive the call.
    public func withUnsafeValueBytes<Result>(
        _ body: (UnsafeRawBufferPointer) -> Result
    ) -> Result { storage.withValue(body) }
}
