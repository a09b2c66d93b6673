import TestSupport

/// Damages byte strings. Everything it does follows from its seed.
public struct Mutator {
    /// Where all decisions come from.
    public var random: Seeded
    /// Inputs to splice with.
    let pool: [[UInt8]]
    /// Strings of the format to splice in.
    let tokens: [[UInt8]]
    /// No input grows beyond this.
    static let maximumBytes = 1 << 16

    /// A mutator for one case.
    public init(seed: UInt64, pool: [[UInt8]] = [], tokens: [[UInt8]] = []) {
        random = Seeded(seed: seed)
        self.pool = pool
        self.tokens = tokens
    }

    /// A number from 0 up to below `bound`, which must be positive.
    public mutating func below(_ bound: Int) -> Int {
        Int(random.next().multipliedFullWidth(by: UInt64(bound)).high)
    }

    /// True once in `count` times.
    public mutating func once(in count: Int) -> Bool { below(count) == 0 }

    /// A byte string without meaning.
    public mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }

    /// A number that decoders tend to get wrong: near zero, near powers of two, or any.
    public mutating func number() -> UInt64 {
        switch below(6) {
        case 0: UInt64(below(4))
        case 1: UInt64.max - UInt64(below(3))
        case 2: UInt64(Int64.max) &+ UInt64(below(3)) &- 1
        case 3: (1 << UInt64(below(64))) &+ UInt64(below(3)) &- 1
        case 4: UInt64(below(300))
        default: random.next() >> UInt64(below(64))
        }
    }

    /// Another input of the pool, or an empty one.
    public mutating func other() -> [UInt8] { pool.isEmpty ? [] : pool[below(pool.count)] }

    /// One to five blows at a byte string that know nothing of its structure.
    public mutating func damage(_ input: [UInt8]) -> [UInt8] {
        var bytes = input
        for _ in 0...below(5) { strike(&bytes) }
        if bytes.count > Self.maximumBytes { bytes.removeLast(bytes.count - Self.maximumBytes) }
        return bytes
    }

    private mutating func strike(_ bytes: inout [UInt8]) {
        guard !bytes.isEmpty else {
            bytes = once(in: 2) ? other() : self.bytes(below(16))
            return
        }
        let place = below(bytes.count)
        switch below(12) {
        case 0: bytes[place] ^= 1 << UInt8(below(8))
        case 1: bytes[place] = UInt8(truncatingIfNeeded: random.next())
        case 2: bytes[place] = [0x00, 0x01, 0x7f, 0x80, 0xff][below(5)]
        case 3: bytes[place] &+= once(in: 2) ? 1 : 0xff
        case 4: bytes.removeLast(bytes.count - place)
        case 5: bytes.removeSubrange(place..<min(bytes.count, place + 1 + below(8)))
        case 6: bytes.insert(contentsOf: self.bytes(1 + below(8)), at: place)
        case 7:
            let end = min(bytes.count, place + 1 + below(64))
            bytes.insert(contentsOf: Array(bytes[place..<end]), at: below(bytes.count + 1))
        case 8: splice(&bytes, at: place)
        case 9: overwriteInteger(&bytes, at: place)
        case 10: bytes.insert(contentsOf: varint(number()), at: place)
        default:
            guard !tokens.isEmpty else { return bytes[place] ^= 0xff }
            let token = tokens[below(tokens.count)]
            if once(in: 2) {
                bytes.insert(contentsOf: token, at: place)
            } else {
                bytes.replaceSubrange(
                    place..<min(bytes.count, place + token.count), with: token)
            }
        }
    }

    private mutating func splice(_ bytes: inout [UInt8], at place: Int) {
        let donor = other()
        guard !donor.isEmpty else { return }
        let start = below(donor.count)
        let part = donor[start..<min(donor.count, start + 1 + below(donor.count - start))]
        bytes.replaceSubrange(place..<(once(in: 2) ? place : bytes.count), with: part)
    }

    private mutating func overwriteInteger(_ bytes: inout [UInt8], at place: Int) {
        let width = [1, 2, 4, 8][below(4)]
        guard place + width <= bytes.count else { return }
        let value = number()
        let isBig = once(in: 3)
        for offset in 0..<width {
            let byte = UInt8(truncatingIfNeeded: value >> UInt64(8 * offset))
            bytes[place + (isBig ? width - 1 - offset : offset)] = byte
        }
    }

    /// A base-128 integer, not always in its shortest form.
    public mutating func varint(_ value: UInt64) -> [UInt8] {
        var out: [UInt8] = []
        var rest = value
        while rest > 0x7f {
            out.append(UInt8(rest & 0x7f) | 0x80)
            rest >>= 7
        }
        guard once(in: 8) else { return out + [UInt8(rest)] }
        out.append(UInt8(rest) | 0x80)
        return out + [UInt8](repeating: 0x80, count: below(4)) + [0]
    }

    /// Changes a list: elements are lost, doubled, moved, taken from another list or changed.
    public mutating func rearrange<Element>(
        _ list: inout [Element], from others: [Element] = [],
        change: (inout Element, inout Mutator) -> Void
    ) {
        for _ in 0...below(4) {
            guard !list.isEmpty else {
                if !others.isEmpty { list.append(others[below(others.count)]) }
                continue
            }
            let index = below(list.count)
            switch below(8) {
            case 0: list.remove(at: index)
            case 1: list.insert(list[index], at: below(list.count + 1))
            case 2: list.swapAt(index, below(list.count))
            case 3 where !others.isEmpty:
                list.insert(others[below(others.count)], at: below(list.count + 1))
            case 4 where list.count > 1: list.removeLast(below(list.count))
            default: change(&list[index], &self)
            }
        }
    }
}
