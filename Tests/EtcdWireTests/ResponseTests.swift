import EtcdMessages
import EtcdWire
import TestSupport
import Testing

@Suite("Responses are what the generated types would write")
struct ResponseTests {
    private func withBytes(
        _ keyValue: KeyValue,
        _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer, KeyValueNumbers) -> Void
    ) {
        keyValue.key.withUnsafeBytes { key in
            keyValue.value.withUnsafeBytes { value in body(key, value, keyValue.numbers) }
        }
    }

    @Test("header sizes are exact") func header() throws {
        var generator = Seeded(seed: 30)
        for _ in 0..<300 {
            let header = generator.header()
            let message = try header.generated.encoded
            #expect(message.count == header.encodedSize)
            var field: [UInt8] = []
            header.appendField(to: &field)
            #expect(field == [0x0a, UInt8(message.count)] + message)
            #expect(field.count == header.fieldSize)
        }
    }

    @Test("key-values") func keyValues() throws {
        var generator = Seeded(seed: 31)
        for _ in 0..<300 {
            let keyValue = generator.keyValue()
            var out: [UInt8] = []
            WireWriter.appendKeyValue(2, keyValue, to: &out)
            var generated = Etcdserverpb_PutResponse()
            generated.prevKv = keyValue.generated
            #expect(try out == generated.encoded)
            #expect(
                out.count
                    == RangeResponse.keyValueFieldSize(
                        keyCount: keyValue.key.count, valueCount: keyValue.value.count,
                        keyValue.numbers))
        }
    }

    @Test("put, range and delete responses") func keyValueResponses() throws {
        var generator = Seeded(seed: 32)
        for _ in 0..<200 {
            let header = generator.header()
            let keyValues = (0..<(generator.next() % 4)).map { _ in generator.keyValue() }
            let count = generator.number()
            let more = generator.flag()

            var put: [UInt8] = []
            PutResponse.append(header, to: &put)
            var generatedPut = Etcdserverpb_PutResponse()
            generatedPut.header = header.generated
            if let first = keyValues.first {
                withBytes(first) { PutResponse.appendPrevious(key: $0, value: $1, $2, to: &put) }
                generatedPut.prevKv = first.generated
            }
            #expect(try put == generatedPut.encoded)

            var range: [UInt8] = []
            header.appendField(to: &range)
            var delete: [UInt8] = []
            DeleteRangeResponse.append(header, deleted: count, to: &delete)
            for keyValue in keyValues {
                withBytes(keyValue) {
                    RangeResponse.appendKeyValue(key: $0, value: $1, $2, to: &range)
                    DeleteRangeResponse.appendPrevious(key: $0, value: $1, $2, to: &delete)
                }
            }
            RangeResponse.appendTail(more: more, count: count, to: &range)
            var generatedRange = Etcdserverpb_RangeResponse()
            generatedRange.header = header.generated
            generatedRange.kvs = keyValues.map(\.generated)
            generatedRange.more = more
            generatedRange.count = count
            #expect(try range == generatedRange.encoded)
            var generatedDelete = Etcdserverpb_DeleteRangeResponse()
            generatedDelete.header = header.generated
            generatedDelete.deleted = count
            generatedDelete.prevKvs = keyValues.map(\.generated)
            #expect(try delete == generatedDelete.encoded)

            var chunk: [UInt8] = []
            let open = RangeStreamResponse.begin(to: &chunk)
            chunk.append(contentsOf: range)
            WireWriter.endMessage(open, to: &chunk)
            var generatedChunk = Etcdserverpb_RangeStreamResponse()
            generatedChunk.rangeResponse = generatedRange
            #expect(try chunk == generatedChunk.encoded)
        }
    }

    /// Appends a random transaction response and returns the same as a generated message.
    private func appendTxn(
        depth: Int, _ generator: inout Seeded, to out: inout [UInt8]
    ) -> Etcdserverpb_TxnResponse {
        let header = generator.header()
        let succeeded = generator.flag()
        TxnResponse.append(header, succeeded: succeeded, to: &out)
        var generated = Etcdserverpb_TxnResponse()
        generated.header = header.generated
        generated.succeeded = succeeded
        for _ in 0..<(generator.next() % 4) {
            var element = Etcdserverpb_ResponseOp()
            let nested = generator.header()
            switch generator.next() % (depth > 0 ? 4 : 3) {
            case 0:
                let open = TxnResponse.beginOperation(.range, to: &out)
                nested.appendField(to: &out)
                let keyValue = generator.keyValue()
                withBytes(keyValue) {
                    RangeResponse.appendKeyValue(key: $0, value: $1, $2, to: &out)
                }
                TxnResponse.endOperation(open, to: &out)
                element.responseRange.header = nested.generated
                element.responseRange.kvs = [keyValue.generated]
            case 1:
                let open = TxnResponse.beginOperation(.put, to: &out)
                PutResponse.append(nested, to: &out)
                TxnResponse.endOperation(open, to: &out)
                element.responsePut.header = nested.generated
            case 2:
                let deleted = generator.number()
                let open = TxnResponse.beginOperation(.deleteRange, to: &out)
                DeleteRangeResponse.append(nested, deleted: deleted, to: &out)
                TxnResponse.endOperation(open, to: &out)
                element.responseDeleteRange.header = nested.generated
                element.responseDeleteRange.deleted = deleted
            default:
                let open = TxnResponse.beginOperation(.txn, to: &out)
                element.responseTxn = appendTxn(depth: depth - 1, &generator, to: &out)
                TxnResponse.endOperation(open, to: &out)
            }
            generated.responses.append(element)
        }
        return generated
    }

    @Test("transaction responses, nested ones among them") func txn() throws {
        var generator = Seeded(seed: 33)
        for _ in 0..<300 {
            var out: [UInt8] = []
            let generated = appendTxn(depth: 3, &generator, to: &out)
            #expect(try out == generated.encoded)
        }
    }

    @Test("an open message takes its length at every size around a varint boundary")
    func openMessageLengths() throws {
        for size in [0, 1, 127, 128, 129, 16_383, 16_384, 2_097_151, 2_097_152] {
            var out: [UInt8] = [7, 7]
            let open = WireWriter.beginMessage(15, to: &out)
            let body = (0..<size).map { UInt8(truncatingIfNeeded: $0) }
            out.append(contentsOf: body)
            WireWriter.endMessage(open, to: &out)
            #expect(out == [7, 7, 0x7a] + varint(UInt64(size)) + body)
        }
    }

    @Test("varint sizes are exact at every bit length") func varintSizes() {
        for bits in 0..<64 {
            for value in [UInt64(1) << bits, UInt64(1) << bits - 1, UInt64(1) << bits | 1] {
                #expect(WireWriter.varintSize(value) == varint(value).count)
            }
        }
        #expect(WireWriter.varintSize(.max) == 10)
    }

    @Test("watch responses share encoded events") func watch() throws {
        var generator = Seeded(seed: 34)
        for round in 0..<200 {
            var events: [UInt8] = []
            var generated = Etcdserverpb_WatchResponse()
            for _ in 0..<(generator.next() % 4) {
                let kind: WatchResponse.EventKind = generator.flag() ? .put : .delete
                let keyValue = generator.keyValue()
                var event = Mvccpb_Event()
                event.type = kind == .put ? .put : .delete
                event.kv = keyValue.generated
                if generator.flag() {
                    let previous = generator.keyValue()
                    event.prevKv = previous.generated
                    let open = WatchResponse.beginEvent(kind, to: &events)
                    WireWriter.appendKeyValue(2, keyValue, to: &events)
                    WireWriter.appendKeyValue(3, previous, to: &events)
                    WireWriter.endMessage(open, to: &events)
                } else {
                    withBytes(keyValue) {
                        WatchResponse.appendEvent(kind, key: $0, value: $1, $2, to: &events)
                    }
                }
                generated.events.append(event)
            }
            let header = generator.header()
            var response = WatchResponse(watchID: generator.number())
            response.created = generator.flag()
            response.canceled = generator.flag()
            response.compactRevision = generator.number()
            response.cancelReason = generator.flag() ? "reason \(round)" : ""
            response.fragment = generator.flag()
            generated.header = header.generated
            generated.watchID = response.watchID
            generated.created = response.created
            generated.canceled = response.canceled
            generated.compactRevision = response.compactRevision
            generated.cancelReason = response.cancelReason
            generated.fragment = response.fragment
            var out: [UInt8] = []
            events.withUnsafeBytes { response.encode(header, events: $0, into: &out) }
            #expect(try out == generated.encoded)
            #expect(out.count == response.encodedSize(header, eventsSize: events.count))
        }
    }

    @Test("lease responses") func lease() throws {
        var generator = Seeded(seed: 35)
        for _ in 0..<100 {
            let header = generator.header()
            let (id, ttl, granted) = (generator.number(), generator.number(), generator.number())
            var out: [UInt8] = []

            var grant = Etcdserverpb_LeaseGrantResponse()
            grant.header = header.generated
            grant.id = id
            grant.ttl = ttl
            LeaseGrantResponse.append(header, id: id, ttl: ttl, to: &out)
            #expect(try out == grant.encoded)

            out = []
            var keepAlive = Etcdserverpb_LeaseKeepAliveResponse()
            keepAlive.header = header.generated
            keepAlive.id = id
            keepAlive.ttl = ttl
            LeaseKeepAliveResponse.append(header, id: id, ttl: ttl, to: &out)
            #expect(try out == keepAlive.encoded)

            out = []
            var timeToLive = Etcdserverpb_LeaseTimeToLiveResponse()
            timeToLive.header = header.generated
            timeToLive.id = id
            timeToLive.ttl = ttl
            timeToLive.grantedTtl = granted
            let keys = [generator.bytes(), [], generator.bytes()]
            timeToLive.keys = keys.map { .init($0) }
            LeaseTimeToLiveResponse.append(header, id: id, ttl: ttl, grantedTTL: granted, to: &out)
            for key in keys {
                key.withUnsafeBytes { LeaseTimeToLiveResponse.appendKey($0, to: &out) }
            }
            #expect(try out == timeToLive.encoded)

            out = []
            var leases = Etcdserverpb_LeaseLeasesResponse()
            leases.header = header.generated
            leases.leases = [id, 0].map { number in
                var status = Etcdserverpb_LeaseStatus()
                status.id = number
                return status
            }
            LeaseLeasesResponse.append(header, to: &out)
            for number in [id, 0] { LeaseLeasesResponse.appendLease(id: number, to: &out) }
            #expect(try out == leases.encoded)

            out = []
            LeaseRevokeResponse.append(header, to: &out)
            CompactionResponse.append(header, to: &out)
            var revoke = Etcdserverpb_LeaseRevokeResponse()
            revoke.header = header.generated
            #expect(try out == revoke.encoded + revoke.encoded)
        }
    }
}
