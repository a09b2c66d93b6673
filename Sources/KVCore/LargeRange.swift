import EtcdWire

/// A range too large to be answered at once: measured and then encoded step by step.
///
/// What the map was at a revision is the same in every later view, until a compaction passes that
/// revision. So each step may read from another view, and nothing need be held while a client takes
/// its time. The response's length must be known before its first byte can be sent, hence the two
/// passes over the range.
public struct LargeRange: Sendable {
    /// What one step led to.
    public enum Step: Sendable {
        /// The end of the range isn't reached yet.
        case measuring
        /// The `RangeResponse` has so many bytes; they come with the next steps.
        case measured(byteCount: Int)
        /// The next bytes of the response.
        case bytes([UInt8], isLast: Bool)
    }

    private enum Phase {
        case measuring
        /// The header comes next.
        case measured
        case encoding
        case finished
    }

    /// The revision the range is read at.
    public let revision: Int64
    private let header: ResponseHeader
    private let options: RangeOptions
    private let limit: Int
    private let keysOnly: Bool
    private let whole: KeyRange

    private var phase = Phase.measuring
    /// What is still to be visited in this pass.
    private var rest: KeyRange
    /// Keys in the range.
    private var count: Int64 = 0
    /// Key-values in the response.
    private var selected = 0
    private var more = false
    private var byteCount = 0
    /// Key-values encoded.
    private var given = 0
    /// In an order other than the tree's: the key-values found, and the response's after sorting.
    private var sorted: [KeyVersion] = []

    init(_ request: RangeRequest, revision: Int64, header: ResponseHeader) {
        self.revision = revision
        self.header = header
        options = RangeOptions(request)
        limit = request.countOnly ? 0 : (request.limit > 0 ? Int(request.limit) : .max)
        keysOnly = request.keysOnly
        whole = KeyRange(key: request.key, rangeEnd: request.rangeEnd)
        rest = whole
    }

    /// Whether the response isn't in the order of the keys. Such a range refers to each of its
    /// key-values until it is encoded.
    public var isSorted: Bool { !options.isStreamable }

    /// Key-values it refers to.
    var heldKeys: Int { sorted.count }

    /// Whether the next step reads from a view; a range that is sorted already doesn't.
    var needsView: Bool { phase == .measuring || options.isStreamable }

    /// Goes on by about so many keys and so many bytes, at least one of each. Not to be called
    /// behind the last bytes. The view is as old as the request or newer.
    mutating func step(on view: StoreView?, visits: Int, bytes: Int) throws(EtcdError) -> Step {
        if let view {
            precondition(view.revision >= revision, "a view older than what is read from it")
            guard revision >= view.compactedRevision else { throw .compacted }
        }
        // Without this the lifetime may end at its last use, which is before the reads.
        defer { withExtendedLifetime(view?.lifetime) {} }
        switch phase {
        case .measuring: return measure(on: view, visits: visits)
        case .measured, .encoding:
            if options.isStreamable { return encode(on: view, visits: visits, bytes: bytes) }
            return encodeSorted(bytes: bytes)
        case .finished: preconditionFailure("a range read beyond its end")
        }
    }

    /// Visits what was stored under the keys not visited yet, until `isEnough`. Returns the key to
    /// go on from, nil at the end.
    private func visit(
        on view: StoreView?, visits: Int, isEnough: () -> Bool, _ body: (VersionStorage) -> Void
    ) -> [UInt8]? {
        guard let view else { preconditionFailure("a step without a view") }
        var visited = 0
        var next: [UInt8]?
        view.tree.scan(rest) { head in
            if visited > 0, visited >= visits || isEnough() {
                next = head.withKey { [UInt8]($0) }
                return false
            }
            visited += 1
            if let version = head.version(at: revision), !version.isTombstone { body(version) }
            return true
        }
        return next
    }

    // MARK: - The first pass

    private mutating func measure(on view: StoreView?, visits: Int) -> Step {
        var (count, selected, more, size) = (count, selected, more, byteCount)
        var found = sorted
        sorted = []
        let next = visit(on: view, visits: visits, isEnough: { false }) { version in
            count += 1
            guard options.passes(version) else { return }
            if options.isStreamable {
                if selected == limit {
                    more = true
                } else {
                    selected += 1
                    size += responseSize(of: version)
                }
            } else if found.count < options.fetchLimit {
                found.append(KeyVersion(version))
                more = options.prune(&found, limit: limit) || more
            }
        }
        (self.count, self.selected, byteCount, sorted) = (count, selected, size, found)
        self.more = more && limit > 0
        if let next {
            rest.start = next[...]
            return .measuring
        }
        if isSorted { finishSorting() }
        byteCount += header.fieldSize + RangeResponse.tailSize(more: self.more, count: count)
        phase = .measured
        rest = whole
        return .measured(byteCount: byteCount)
    }

    private mutating func finishSorting() {
        options.sort(&sorted)
        if sorted.count > limit {
            sorted.removeLast(sorted.count - limit)
            more = true
        }
        selected = sorted.count
        byteCount = sorted.reduce(0) { $0 + responseSize(of: $1.storage) }
    }

    private func responseSize(of version: VersionStorage) -> Int {
        RangeResponse.keyValueFieldSize(
            keyCount: version.keyLength, valueCount: keysOnly ? 0 : version.valueLength,
            version.numbers)
    }

    // MARK: - The second pass

    private mutating func encode(on view: StoreView?, visits: Int, bytes: Int) -> Step {
        var out = beginBytes(bytes)
        var given = given
        let selected = selected
        if given < selected {
            let next = visit(
                on: view, visits: visits, isEnough: { out.count >= bytes || given == selected }
            ) { version in
                guard given < selected, options.passes(version) else { return }
                given += 1
                version.appendKeyValue(2, keysOnly: keysOnly, to: &out)
            }
            if let next { rest.start = next[...] }
        }
        self.given = given
        return endBytes(out)
    }

    private mutating func encodeSorted(bytes: Int) -> Step {
        var out = beginBytes(bytes)
        let first = given
        while given < selected, out.count < bytes || given == first {
            sorted[given].storage.appendKeyValue(2, keysOnly: keysOnly, to: &out)
            given += 1
        }
        return endBytes(out)
    }

    private mutating func beginBytes(_ bytes: Int) -> [UInt8] {
        var out: [UInt8] = []
        // The last key-value may reach beyond; a large one pays for itself.
        out.reserveCapacity(bytes + bytes / 8)
        if phase == .measured {
            header.appendField(to: &out)
            phase = .encoding
        }
        return out
    }

    private mutating func endBytes(_ bytes: consuming [UInt8]) -> Step {
        var out = bytes
        if given == selected {
            RangeResponse.appendTail(more: more, count: count, to: &out)
            phase = .finished
            sorted = []
        }
        byteCount -= out.count
        precondition(
            byteCount >= 0 && (phase == .encoding || byteCount == 0),
            "the two passes over a range differ")
        return .bytes(out, isLast: phase == .finished)
    }
}
