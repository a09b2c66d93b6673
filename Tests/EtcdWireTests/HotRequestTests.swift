import EtcdMessages
import EtcdWire
import Foundation
import SwiftProtobuf
import TestSupport
import Testing

/// Each hot request is held against the generated type in both directions.
@Suite("Hot requests agree with the generated types")
struct HotRequestTests {
    private func agree<Hot: HotRequest, Generated: Message & Equatable>(
        _ type: Hot.Type, seed: UInt64, count: Int = 400,
        _ make: (inout Seeded) -> Generated
    ) throws {
        var generator = Seeded(seed: seed)
        for _ in 0..<count {
            let message = make(&generator)
            let bytes = try message.encoded
            let hot = try Hot(decoding: bytes[...])
            #expect(hot.encoded == bytes)
            #expect(hot.encodedSize == bytes.count)
            #expect(try Generated(serializedBytes: hot.encoded) == message)

            // Slices of a larger buffer must read the same.
            let framed = [0xff, 0xff] + bytes + [0xff]
            #expect(try Hot(decoding: framed[2..<(framed.count - 1)]) == hot)
        }
    }

    @Test("range requests") func range() throws {
        try agree(RangeRequest.self, seed: 1) { $0.range() }
    }

    @Test("put requests") func put() throws {
        try agree(PutRequest.self, seed: 2) { $0.put() }
    }

    @Test("delete requests") func deleteRange() throws {
        try agree(DeleteRangeRequest.self, seed: 3) { $0.deleteRange() }
    }

    @Test("compares") func compare() throws {
        try agree(Compare.self, seed: 4) { $0.compare() }
    }

    @Test("transactions, nested ones among them") func txn() throws {
        try agree(TxnRequest.self, seed: 5) { $0.txn() }
    }

    @Test("watch requests") func watch() throws {
        try agree(WatchRequest.self, seed: 6) { $0.watch() }
        try agree(WatchCreateRequest.self, seed: 7) { $0.watchCreate() }
    }

    @Test("compaction requests") func compaction() throws {
        try agree(CompactionRequest.self, seed: 8) { generator in
            var message = Etcdserverpb_CompactionRequest()
            message.revision = generator.number()
            message.physical = generator.flag()
            return message
        }
    }

    @Test("lease requests") func lease() throws {
        try agree(LeaseGrantRequest.self, seed: 9) { generator in
            var message = Etcdserverpb_LeaseGrantRequest()
            message.ttl = generator.number()
            message.id = generator.number()
            return message
        }
        try agree(LeaseRevokeRequest.self, seed: 10) { generator in
            var message = Etcdserverpb_LeaseRevokeRequest()
            message.id = generator.number()
            return message
        }
        try agree(LeaseKeepAliveRequest.self, seed: 11) { generator in
            var message = Etcdserverpb_LeaseKeepAliveRequest()
            message.id = generator.number()
            return message
        }
        try agree(LeaseTimeToLiveRequest.self, seed: 12) { generator in
            var message = Etcdserverpb_LeaseTimeToLiveRequest()
            message.id = generator.number()
            message.keys = generator.flag()
            return message
        }
    }

    @Test("fields land in the properties of their name") func namedFields() throws {
        var generated = Etcdserverpb_RangeRequest()
        generated.key = Data("a".utf8)
        generated.rangeEnd = Data("b".utf8)
        generated.limit = 1
        generated.revision = 2
        generated.sortOrder = .descend
        generated.sortTarget = .value
        generated.countOnly = true
        generated.minModRevision = 3
        generated.maxModRevision = 4
        generated.minCreateRevision = 5
        generated.maxCreateRevision = 6
        let range = try RangeRequest(decoding: generated.encoded[...])
        #expect(range.key == Array("a".utf8)[...])
        #expect(range.rangeEnd == Array("b".utf8)[...])
        #expect(range.limit == 1 && range.revision == 2)
        #expect(range.sortOrder == .descend && range.sortTarget == .value)
        #expect(range.countOnly && !range.keysOnly && !range.serializable)
        #expect(range.minModRevision == 3 && range.maxModRevision == 4)
        #expect(range.minCreateRevision == 5 && range.maxCreateRevision == 6)

        var put = Etcdserverpb_PutRequest()
        put.key = Data("k".utf8)
        put.value = Data("v".utf8)
        put.lease = 9
        put.ignoreLease = true
        let hotPut = try PutRequest(decoding: put.encoded[...])
        #expect(hotPut.key == Array("k".utf8)[...] && hotPut.value == Array("v".utf8)[...])
        #expect(hotPut.lease == 9 && hotPut.ignoreLease && !hotPut.ignoreValue && !hotPut.prevKV)
    }

    @Test("unknown enum numbers survive") func unknownEnums() throws {
        var generated = Etcdserverpb_RangeRequest()
        generated.sortOrder = .UNRECOGNIZED(77)
        generated.sortTarget = .UNRECOGNIZED(-5)
        let range = try RangeRequest(decoding: generated.encoded[...])
        #expect(range.sortOrder == .unrecognized(77))
        #expect(range.sortTarget == .unrecognized(-5))
        #expect(try range.encoded == generated.encoded)
    }

    @Test("filters are read packed and unpacked, and unknown ones mean nothing")
    func filters() throws {
        let unpacked: [UInt8] = [0x28, 0, 0x28, 1]
        let packed: [UInt8] = [0x2a, 4, 1, 1, 9, 0]
        #expect(try WatchCreateRequest(decoding: unpacked[...]).filters == [.noPut, .noDelete])
        #expect(try WatchCreateRequest(decoding: packed[...]).filters == [.noPut, .noDelete])
        #expect(try WatchCreateRequest(decoding: [0x28, 7][...]).filters == [])
        #expect(WatchFilters(rawValue: 0xff) == [.noPut, .noDelete])
    }

    @Test("the last of a field given twice stands") func lastWins() throws {
        let put = try PutRequest(decoding: [0x0a, 1, 65, 0x0a, 1, 66, 0x18, 1, 0x18, 2][...])
        #expect(put.key == [66] && put.lease == 2)
    }
}
