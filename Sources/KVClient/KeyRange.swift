/// Which keys a call concerns.
public enum KeyRange: Equatable, Sendable {
    /// One key.
    case key([UInt8])
    /// All keys that begin with this.
    case prefix([UInt8])
    /// All keys from this one on.
    case from([UInt8])
    /// The keys from the first to before the second.
    case range([UInt8], [UInt8])

    /// `key` of a request.
    public var start: [UInt8] {
        switch self {
        case .key(let key), .range(let key, _): key
        case .prefix(let key), .from(let key): key.isEmpty ? [0] : key
        }
    }

    /// `range_end` of a request: empty for one key, `\0` for all keys from `start` on.
    public var end: [UInt8] {
        switch self {
        case .key: []
        case .from: [0]
        case .range(_, let end): end
        case .prefix(let prefix): Self.prefixEnd(prefix)
        }
    }

    /// The first key behind all keys with this prefix; `\0`, "no end", if there is none.
    public static func prefixEnd(_ prefix: [UInt8]) -> [UInt8] {
        var end = prefix
        while let last = end.last {
            guard last == 0xff else {
                end[end.count - 1] = last + 1
                return end
            }
            end.removeLast()
        }
        return [0]
    }
}
