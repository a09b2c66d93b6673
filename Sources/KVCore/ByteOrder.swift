/// Compares byte strings as etcd does: unsigned, lexicographic, a prefix before what it begins.
///
/// Eight bytes at a time, because keys share long prefixes.
@inline(__always)
func compareBytes(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Int {
    let common = min(left.count, right.count)
    var offset = 0
    // Both buffers have `common` bytes, and no load goes beyond them.
    while offset &+ 8 <= common {
        let leftWord = left.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
        let rightWord = right.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
        if leftWord != rightWord {
            return leftWord.bigEndian < rightWord.bigEndian ? -1 : 1
        }
        offset &+= 8
    }
    while offset < common {
        let leftByte = left[offset]
        let rightByte = right[offset]
        if leftByte != rightByte { return leftByte < rightByte ? -1 : 1 }
        offset &+= 1
    }
    return left.count == right.count ? 0 : (left.count < right.count ? -1 : 1)
}

/// Eight bytes from `offset` on as a number that compares as they do; zeroes stand for those behind
/// the end.
@inline(__always)
func bigEndianWord(of bytes: UnsafeRawBufferPointer, at offset: Int) -> UInt64 {
    let left = bytes.count - offset
    // No load goes beyond `bytes`: the second takes its last eight and moves out those in front.
    if left >= 8 { return bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self).bigEndian }
    if left <= 0 { return 0 }
    if bytes.count >= 8 {
        let word = bytes.loadUnaligned(fromByteOffset: bytes.count - 8, as: UInt64.self).bigEndian
        return word << UInt64((8 - left) * 8)
    }
    var word: UInt64 = 0
    for index in 0..<8 { word = word << 8 | (index < left ? UInt64(bytes[offset + index]) : 0) }
    return word
}

/// Compares byte strings as etcd does.
func compareBytes(_ left: ArraySlice<UInt8>, _ right: ArraySlice<UInt8>) -> Int {
    left.withUnsafeBytes { left in right.withUnsafeBytes { compareBytes(left, $0) } }
}

/// The keys a request speaks of: one key, or `[start, end)` where `end` may be absent.
struct KeyRange {
    /// What bounds the range above.
    enum Bound {
        /// The range holds its first key only.
        case single
        /// Every key not below the first.
        case unbounded
        /// Keys below this one.
        case before(ArraySlice<UInt8>)
    }

    /// The first key that may belong to the range.
    var start: ArraySlice<UInt8>
    /// Where the range ends.
    var bound: Bound

    /// The range of a request: no `rangeEnd` means one key, `\0` every key from `key` on.
    ///
    /// With `key` = `\0` too it is every key, which needs no rule of its own: the empty key doesn't
    /// exist, so no key is below `\0`.
    init(key: ArraySlice<UInt8>, rangeEnd: ArraySlice<UInt8>) {
        start = key
        if rangeEnd.isEmpty {
            bound = .single
        } else if rangeEnd.count == 1 && rangeEnd.first == 0 {
            bound = .unbounded
        } else {
            bound = .before(rangeEnd)
        }
    }

    /// Every key.
    static var everything: KeyRange { KeyRange(key: [0], rangeEnd: [0]) }

    /// Whether the range is exactly one key.
    var isSingle: Bool {
        if case .single = bound { return true }
        return false
    }

    /// Whether `key` belongs to the range.
    func contains(_ key: UnsafeRawBufferPointer) -> Bool {
        let order = start.withUnsafeBytes { compareBytes(key, $0) }
        switch bound {
        case .single: return order == 0
        case .unbounded: return order >= 0
        case .before(let end):
            return order >= 0 && end.withUnsafeBytes { compareBytes(key, $0) } < 0
        }
    }

    /// Whether no key can belong to the range.
    var isEmpty: Bool {
        if case .before(let end) = bound { return compareBytes(start, end) >= 0 }
        return false
    }
}
