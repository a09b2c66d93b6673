import EtcdWire
import Foundation
import SwiftProtobuf
import TestSupport

extension Seeded {
    /// Numbers of every varint length, with zero, negative and extreme ones among them.
    mutating func number() -> Int64 {
        switch next() % 8 {
        case 0, 1: 0
        case 2: -1
        case 3: .min
        case 4: .max
        default: Int64(bitPattern: next() >> (next() % 64))
        }
    }

    mutating func flag() -> Bool { next() % 2 == 0 }

    /// Enum numbers, some of which nobody has defined.
    mutating func enumNumber(below bound: Int) -> Int {
        next() % 6 == 0
            ? Int(truncatingIfNeeded: Int32(truncatingIfNeeded: next()))
            : Int(next() % UInt64(bound))
    }

    mutating func bytes() -> [UInt8] {
        let count =
            switch next() % 6 {
            case 0: 0
            case 1: Int(next() % 400)
            default: Int(next() % 24)
            }
        return (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) }
    }

    mutating func data() -> Data { Data(bytes()) }
}

/// A hot request type, seen as the tests need it.
protocol HotRequest: Equatable {
    init(decoding bytes: ArraySlice<UInt8>) throws(WireError)
    var encodedSize: Int { get }
    func encode(into out: inout [UInt8])
}

extension HotRequest {
    var encoded: [UInt8] {
        var out: [UInt8] = []
        encode(into: &out)
        return out
    }
}

extension RangeRequest: HotRequest {}
extension PutRequest: HotRequest {}
extension DeleteRangeRequest: HotRequest {}
extension TxnRequest: HotRequest {}
extension Compare: HotRequest {}
extension CompactionRequest: HotRequest {}
extension LeaseGrantRequest: HotRequest {}
extension LeaseRevokeRequest: HotRequest {}
extension LeaseKeepAliveRequest: HotRequest {}
extension LeaseTimeToLiveRequest: HotRequest {}
extension WatchRequest: HotRequest {}
extension WatchCreateRequest: HotRequest {}

extension Message {
    var encoded: [UInt8] {
        get throws { try serializedBytes() }
    }
}

/// A varint, written without the code under test.
func varint(_ value: UInt64) -> [UInt8] {
    var out: [UInt8] = []
    var rest = value
    while rest > 0x7f {
        out.append(UInt8(rest & 0x7f) | 0x80)
        rest >>= 7
    }
    return out + [UInt8(rest)]
}
