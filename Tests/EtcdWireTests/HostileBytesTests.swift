import EtcdWire
import TestSupport
import Testing

@Suite("Hostile bytes are refused with a typed error")
struct HostileBytesTests {
    private func failure(_ body: () throws(WireError) -> Void) -> WireError? {
        do throws(WireError) {
            try body()
            return nil
        } catch {
            return error
        }
    }

    private func putFailure(_ bytes: [UInt8]) -> WireError? {
        failure { () throws(WireError) in _ = try PutRequest(decoding: bytes[...]) }
    }

    /// Where the fields of a message end: the only places at which it may be cut and stay valid.
    private func fieldEnds(_ bytes: [UInt8]) throws -> Set<Int> {
        var ends: Set<Int> = [0]
        var position = 0
        func readVarint() -> UInt64 {
            var value: UInt64 = 0
            var shift: UInt64 = 0
            while true {
                let byte = bytes[position]
                position += 1
                value |= UInt64(byte & 0x7f) << shift
                if byte < 0x80 { return value }
                shift += 7
            }
        }
        while position < bytes.count {
            let tag = readVarint()
            switch tag & 7 {
            case 0: _ = readVarint()
            case 2: position += Int(readVarint())
            default: Issue.record("unexpected wire type in \(bytes)")
            }
            ends.insert(position)
        }
        return ends
    }

    private func cutEverywhere<Hot: HotRequest>(_ type: Hot.Type, _ bytes: [UInt8]) throws {
        let ends = try fieldEnds(bytes)
        for cut in 0..<bytes.count {
            let error = failure { () throws(WireError) in _ = try Hot(decoding: bytes[..<cut]) }
            if ends.contains(cut) {
                #expect(error == nil, "cut at \(cut) of \(bytes)")
            } else {
                #expect(error == .truncated, "cut at \(cut) of \(bytes)")
            }
        }
    }

    @Test("a message cut at any byte inside a field is truncated") func truncation() throws {
        var generator = Seeded(seed: 21)
        for _ in 0..<40 {
            try cutEverywhere(RangeRequest.self, generator.range().encoded)
            try cutEverywhere(PutRequest.self, generator.put().encoded)
            try cutEverywhere(DeleteRangeRequest.self, generator.deleteRange().encoded)
            try cutEverywhere(TxnRequest.self, generator.txn(depth: 1).encoded)
            try cutEverywhere(WatchRequest.self, generator.watch().encoded)
        }
    }

    @Test("a varint is read up to its last byte, whatever follows it", arguments: 0..<64)
    func varintEnds(bit: UInt64) throws {
        for value in [1 << bit, UInt64.max >> bit, (UInt64.max / 3) >> bit] {
            let encoded = varint(value)
            for (following, count) in [0x00, 0x7f, 0x80, 0xff].flatMap({ byte in
                (0..<10).map { (UInt8(byte), $0) }
            }) {
                // A slice from within other bytes, as messages are.
                let bytes = [0xff, 0xff] + encoded + Array(repeating: following, count: count)
                var reader = WireReader(bytes[2...])
                #expect(try reader.varint() == value)
                var rest: [UInt8] = []
                while !reader.isAtEnd, following < 0x80 {
                    rest.append(UInt8(try reader.varint()))
                }
                #expect(following >= 0x80 || rest == Array(repeating: following, count: count))
            }
        }
    }

    @Test("a varint of more than 64 bits is refused, one of exactly 64 is not")
    func varintLengths() throws {
        let ones = [UInt8](repeating: 0xff, count: 9)
        #expect(try PutRequest(decoding: ([0x18] + ones + [0x01])[...]).lease == -1)
        #expect(putFailure([0x18] + ones + [0x02]) == .overlongVarint)
        #expect(putFailure([0x18] + ones + [0x80, 0x00]) == .overlongVarint)
        #expect(putFailure([0x18] + ones) == .truncated)
        // Not the shortest form, but within ten bytes: valid protobuf.
        #expect(try PutRequest(decoding: [0x18, 0x81, 0x80, 0x00][...]).lease == 1)
    }

    @Test("a length beyond the message is refused, however large") func lengths() {
        #expect(putFailure([0x0a, 2, 65]) == .truncated)
        #expect(putFailure([0x0a] + varint(UInt64(Int64.max))) == .truncated)
        #expect(putFailure([0x0a] + varint(.max)) == .truncated)
        #expect(putFailure([0x7a] + varint(.max)) == .truncated)
    }

    @Test("tags with field number 0, too large a number or undefined types are refused")
    func tags() {
        #expect(putFailure([0x00, 0x00]) == .invalidTag)
        #expect(putFailure([0x02, 0x00]) == .invalidTag)
        #expect(putFailure([0x7e]) == .invalidTag)
        #expect(putFailure([0x7f]) == .invalidTag)
        #expect(putFailure(varint(1 << 32) + [0]) == .invalidTag)
        #expect(putFailure([0x7b]) == .group)
        #expect(putFailure([0x7c]) == .group)
    }

    @Test("a known field with the wrong wire type is refused") func wireTypes() {
        #expect(putFailure([0x08, 1]) == .wrongWireType(fieldNumber: 1))
        #expect(putFailure([0x1a, 1, 65]) == .wrongWireType(fieldNumber: 3))
        #expect(
            putFailure([0x19] + [UInt8](repeating: 0, count: 8))
                == .wrongWireType(fieldNumber: 3))
        #expect(putFailure([0x0d, 0, 0, 0, 0]) == .wrongWireType(fieldNumber: 1))
    }

    @Test("unknown fields of every type are passed over") func unknownFields() throws {
        let unknown: [[UInt8]] = [
            [0x78, 0x96, 0x01], [0x7a, 3, 1, 2, 3], [0x7d, 1, 2, 3, 4],
            [0x79, 1, 2, 3, 4, 5, 6, 7, 8],
        ]
        for field in unknown {
            #expect(try PutRequest(decoding: (field + [0x0a, 1, 65] + field)[...]).key == [65])
            for cut in 1..<field.count {
                #expect(putFailure(Array(field[..<cut])) == .truncated)
            }
        }
    }

    @Test("transactions nest to the bound and no further") func nesting() throws {
        func nested(levels: Int) -> [UInt8] {
            var bytes: [UInt8] = []
            for _ in 1..<levels {
                let txn = [0x22] + varint(UInt64(bytes.count)) + bytes
                bytes = [0x12] + varint(UInt64(txn.count)) + txn
            }
            return bytes
        }
        let deepest = nested(levels: TxnRequest.maximumNestingDepth)
        #expect(try TxnRequest(decoding: deepest[...]).encoded == deepest)
        let tooDeep = nested(levels: TxnRequest.maximumNestingDepth + 1)
        #expect(
            failure { () throws(WireError) in _ = try TxnRequest(decoding: tooDeep[...]) }
                == .nestedTooDeeply)
    }

    @Test("an operation ends where its length says, whatever is inside") func operationEnds() throws
    {
        // A put whose length reaches beyond its operation, not beyond the transaction.
        let overrun: [UInt8] = [0x12, 4, 0x12, 9, 0x0a, 0] + [UInt8](repeating: 0, count: 16)
        #expect(
            failure { () throws(WireError) in _ = try TxnRequest(decoding: overrun[...]) }
                == .truncated)
        // Unknown fields around a put, and a second operation behind it.
        let first: [UInt8] = [0x7a, 1, 9, 0x12, 3, 0x0a, 1, 5, 0x78, 7]
        let second: [UInt8] = [0x1a, 3, 0x0a, 1, 6]
        let both = [0x12, UInt8(first.count)] + first + [0x12, UInt8(second.count)] + second
        var put = PutRequest()
        put.key = [5]
        var deletion = DeleteRangeRequest()
        deletion.key = [6]
        #expect(
            try TxnRequest(decoding: both[...]).success == [.put(put), .deleteRange(deletion)])
        // Of two operations in one the last counts.
        let twice = [0x12, UInt8(first.count + second.count)] + first + second
        #expect(try TxnRequest(decoding: twice[...]).success == [.deleteRange(deletion)])
    }

    @Test("nesting side by side does not count as depth") func siblings() throws {
        let one: [UInt8] = [0x12, 2, 0x22, 0]
        let many = Array(repeatElement(one, count: 1000).joined())
        #expect(try TxnRequest(decoding: many[...]).success.count == 1000)
    }

    @Test("elements are read to the bound and no further") func elementCount() throws {
        let full = Array(
            repeatElement([0x12, 0] as [UInt8], count: TxnRequest.maximumElementCount)
                .joined())
        #expect(try TxnRequest(decoding: full[...]).success.count == TxnRequest.maximumElementCount)
        for extra: UInt8 in [0x0a, 0x12, 0x1a] {
            let over = full + [extra, 0]
            #expect(
                failure { () throws(WireError) in _ = try TxnRequest(decoding: over[...]) }
                    == .tooManyElements)
        }
    }

    @Test("random bytes never trap") func noise() {
        var generator = Seeded(seed: 22)
        var refused = 0
        for round in 0..<20_000 {
            var bytes: [UInt8]
            if round % 2 == 0 {
                bytes = generator.bytes()
            } else {
                bytes = (try? generator.txn(depth: 2).encoded) ?? []
                for _ in 0..<(1 + generator.next() % 3) where !bytes.isEmpty {
                    let place = Int(generator.next() % UInt64(bytes.count))
                    bytes[place] = UInt8(truncatingIfNeeded: generator.next())
                }
            }
            let attempts = [
                failure { () throws(WireError) in _ = try TxnRequest(decoding: bytes[...]) },
                failure { () throws(WireError) in _ = try WatchRequest(decoding: bytes[...]) },
                failure { () throws(WireError) in _ = try RangeRequest(decoding: bytes[...]) },
                putFailure(bytes),
            ]
            refused += attempts.count { $0 != nil }
        }
        #expect(refused > 10_000)
    }
}
