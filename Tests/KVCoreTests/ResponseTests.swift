import EtcdWire
import Testing

@testable import KVCore

/// The fields of a message as `number:value`, nested ones in brackets where `schema` says so.
private func fields(_ bytes: ArraySlice<UInt8>, _ nested: Set<UInt32> = [1, 2, 3, 4]) -> String {
    var reader = WireReader(bytes)
    var parts: [String] = []
    do {
        while let tag = try reader.nextTag() {
            switch tag.wireType {
            case .varint: parts.append("\(tag.fieldNumber):\(try reader.readInt64(tag))")
            case .lengthDelimited:
                let content = try reader.readBytes(tag)
                let text = String(decoding: content, as: UTF8.self)
                let isText = !text.isEmpty && text.utf8.allSatisfy { $0 >= 0x61 && $0 <= 0x7a }
                parts.append(
                    isText
                        ? "\(tag.fieldNumber):\(text)"
                        : "\(tag.fieldNumber)[\(fields(content, nested))]")
            case .fixed32, .fixed64: parts.append("unexpected")
            }
        }
    } catch {
        return "not a message"
    }
    return parts.joined(separator: " ")
}

@Suite("Responses")
struct ResponseTests {
    private let header = ResponseHeader(clusterID: 11, memberID: 12, raftTerm: 13)

    private func encode(_ result: ApplyResult) -> String {
        var bytes: [UInt8] = []
        let outcome = result.encodeResponse(header, into: &bytes)
        #expect(outcome == .encoded)
        return fields(bytes[...])
    }

    @Test("a put answers with the revision after it and, if asked, the key-value before")
    func put() {
        let member = Member()
        #expect(encode(member.put("key", "value")) == "1[1:11 2:12 3:2 4:13]")
        #expect(
            encode(member.put(putRequest("key", "other", prevKV: true)))
                == "1[1:11 2:12 3:3 4:13] 2[1:key 2:2 3:2 4:1 5:value]")
    }

    @Test("a deletion answers with count and what was deleted")
    func deleteRange() {
        let member = Member()
        member.put("a", "x")
        member.put("b", "y")
        #expect(
            encode(member.delete("a", end: "c", prevKV: true))
                == "1[1:11 2:12 3:4 4:13] 2:2 3[1:a 2:2 3:2 4:1 5:x] 3[1:b 2:3 3:3 4:1 5:y]")
    }

    @Test("a transaction answers per operation; inner headers carry the revision alone")
    func txn() {
        let member = Member()
        let inner = txnRequest(else: [])
        let result = member.txn(
            txnRequest(
                [compare("a", .version, .equal, .version(0))],
                then: [
                    .range(rangeRequest("a")), .put(putRequest("a", "x")),
                    .range(rangeRequest("a")), .deleteRange(deleteRequest("zz")), .txn(inner),
                ]))
        #expect(
            encode(result) == "1[1:11 2:12 3:2 4:13] 2:1 3[1[1[3:1]]] 3[2[1[3:2]]] "
                + "3[1[1[3:2] 2[1:a 2:2 3:2 4:1 5:x] 4:1]] 3[3[1[3:2]]] 3[4[1[] 2:1]]")
    }

    @Test("a range answers key-values, more and count; keys only leaves values out")
    func range() throws {
        let member = Member()
        member.put("a", "x")
        member.put("b", "y")
        var request = rangeRequest("a", end: "z", limit: 1)
        request.keysOnly = true
        let answer = try member.answer(request)
        var bytes: [UInt8] = []
        answer.encodeResponse(header, into: &bytes)
        #expect(fields(bytes[...]) == "1[1:11 2:12 3:3 4:13] 2[1:a 2:2 3:2 4:1] 3:1 4:2")
        #expect(bytes.count <= answer.encodedSizeBound)
    }

    @Test("grants, revocations and compactions answer, failures and internal entries don't")
    func others() {
        let member = Member()
        #expect(encode(member.grant(9, ttl: 5)) == "1[1:11 2:12 3:1 4:13] 2:9 3:5")
        #expect(encode(member.revoke(9)) == "1[1:11 2:12 3:1 4:13]")
        #expect(encode(member.compact(1)) == "1[1:11 2:12 3:1 4:13]")
        var bytes: [UInt8] = []
        #expect(
            member.revoke(9).encodeResponse(header, into: &bytes) == .failed(.leaseNotFound))
        #expect(member.apply(.noop, []).encodeResponse(header, into: &bytes) == .noResponse)
        #expect(bytes.isEmpty)
    }
}
