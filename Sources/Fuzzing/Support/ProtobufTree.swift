/// A protobuf message taken apart, so that it can be changed and put together with right lengths.
///
/// Written without `EtcdWire`, which is what it helps to test.
indirect enum ProtobufValue {
    case varint(UInt64)
    case fixed([UInt8])
    case bytes([UInt8])
    case message([ProtobufField])
}

struct ProtobufField {
    var number: UInt64
    var wireType: UInt8
    var value: ProtobufValue
}

/// A top-level field of a message, as it stands.
struct RawField {
    var number: UInt64
    var wireType: UInt8
    var raw: ArraySlice<UInt8>
    /// What stands behind the tag, and behind the length if there is one.
    var content: ArraySlice<UInt8>
    var varint: UInt64 = 0

    /// The fields of a message, nil if the bytes are none.
    static func split(_ bytes: ArraySlice<UInt8>) -> [RawField]? {
        var fields: [RawField] = []
        var rest = bytes
        while !rest.isEmpty {
            let start = rest.startIndex
            guard let tag = takeVarint(&rest) else { return nil }
            var content = rest.prefix(0)
            var number: UInt64 = 0
            switch tag & 7 {
            case 0:
                guard let value = takeVarint(&rest) else { return nil }
                number = value
            case 1: content = rest.prefix(8)
            case 5: content = rest.prefix(4)
            case 2:
                guard let count = takeVarint(&rest), count <= UInt64(rest.count) else {
                    return nil
                }
                content = rest.prefix(Int(count))
            default: return nil
            }
            guard tag & 7 != 1 || content.count == 8, tag & 7 != 5 || content.count == 4 else {
                return nil
            }
            rest = rest.dropFirst(content.count)
            fields.append(
                RawField(
                    number: tag >> 3, wireType: UInt8(tag & 7), raw: bytes[start..<rest.startIndex],
                    content: content, varint: number))
        }
        return fields
    }

    /// Whether some tag, in what may be a message inside as well, takes more than five bytes.
    static func hasLongTag(_ bytes: ArraySlice<UInt8>) -> Bool {
        (split(bytes) ?? []).contains { field in
            field.raw.prefix(5).allSatisfy { $0 >= 0x80 } || hasLongTag(field.content)
        }
    }

    private static func takeVarint(_ rest: inout ArraySlice<UInt8>) -> UInt64? {
        var value: UInt64 = 0
        for shift in stride(from: 0, through: 63, by: 7) {
            guard let byte = rest.popFirst() else { return nil }
            value |= UInt64(byte & 0x7f) << UInt64(shift)
            if byte < 0x80 { return value }
        }
        return nil
    }
}

enum ProtobufTree {
    /// The fields of a message; bytes that read as a message count as one. Nil if it is none.
    static func parse(_ bytes: ArraySlice<UInt8>, depth: Int = 0) -> [ProtobufField]? {
        RawField.split(bytes)?.map { field in
            let value: ProtobufValue
            switch field.wireType {
            case 0: value = .varint(field.varint)
            case 2:
                if depth < 12, !field.content.isEmpty,
                    let inner = parse(field.content, depth: depth + 1)
                {
                    value = .message(inner)
                } else {
                    value = .bytes(Array(field.content))
                }
            default: value = .fixed(Array(field.content))
            }
            return ProtobufField(number: field.number, wireType: field.wireType, value: value)
        }
    }

    static func varint(_ value: UInt64) -> [UInt8] {
        var out: [UInt8] = []
        var rest = value
        while rest > 0x7f {
            out.append(UInt8(rest & 0x7f) | 0x80)
            rest >>= 7
        }
        return out + [UInt8(rest)]
    }

    static func serialize(_ fields: [ProtobufField]) -> [UInt8] {
        var out: [UInt8] = []
        for field in fields {
            out += varint(field.number << 3 | UInt64(field.wireType))
            switch field.value {
            case .varint(let number): out += varint(number)
            case .fixed(let raw): out += raw
            case .bytes(let content): out += varint(UInt64(content.count)) + content
            case .message(let inner):
                let content = serialize(inner)
                out += varint(UInt64(content.count)) + content
            }
        }
        return out
    }

    // MARK: Damage

    /// Changes fields and puts lengths right; one time in four it damages the plain bytes instead.
    static func mutate(_ input: [UInt8], _ mutator: inout Mutator) -> [UInt8] {
        guard !mutator.once(in: 4), var fields = parse(input[...]) else {
            return mutator.damage(input)
        }
        mutate(&fields, &mutator)
        return Array(serialize(fields).prefix(Mutator.maximumBytes))
    }

    private static func mutate(_ fields: inout [ProtobufField], _ mutator: inout Mutator) {
        let donor = mutator.other()
        let others = parse(donor.dropFirst()) ?? []
        mutator.rearrange(&fields, from: others) { field, mutator in
            switch mutator.below(6) {
            case 0: field.number = mutator.once(in: 3) ? 64 : UInt64(1 + mutator.below(16))
            case 1: retype(&field, &mutator)
            default: change(&field, &mutator)
            }
        }
    }

    private static func retype(_ field: inout ProtobufField, _ mutator: inout Mutator) {
        switch mutator.below(4) {
        case 0: (field.wireType, field.value) = (0, .varint(mutator.number()))
        case 1: (field.wireType, field.value) = (1, .fixed(mutator.bytes(8)))
        case 2: (field.wireType, field.value) = (5, .fixed(mutator.bytes(4)))
        default: (field.wireType, field.value) = (2, .bytes(mutator.bytes(mutator.below(12))))
        }
    }

    private static func change(_ field: inout ProtobufField, _ mutator: inout Mutator) {
        switch field.value {
        case .varint: field.value = .varint(mutator.number())
        case .fixed(let raw): field.value = .fixed(mutator.bytes(raw.count))
        case .bytes(let content): field.value = .bytes(mutator.damage(content))
        case .message(var inner):
            switch mutator.below(8) {
            case 0: field.value = .bytes(mutator.damage(serialize(inner)))
            case 1:
                // Deeper, for what recurses.
                field.value = .message([
                    field, ProtobufField(number: 1, wireType: 2, value: .bytes([])),
                ])
            default:
                mutate(&inner, &mutator)
                field.value = .message(inner)
            }
        }
    }
}
