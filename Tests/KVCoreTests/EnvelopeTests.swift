import Testing

@testable import KVCore

@Suite("The entry envelope")
struct EnvelopeTests {
    private let origin = Origin(member: 0x0102_0304_0506_0708, boot: 9, sequence: .max)

    @Test("what is encoded is decoded, and the bytes are those of the format page")
    func roundTrip() throws {
        let bytes = Envelope.encode(
            kind: .txn, origin: origin, authRevision: 7, user: "root".raw, body: [1, 2, 3])
        #expect(bytes.count == Envelope.headerBytes + 4 + 3)
        #expect(bytes.prefix(12) == [1, 3, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1])
        let envelope = try Envelope(decoding: bytes)
        #expect(envelope.kind == .txn)
        #expect(envelope.flags == 0)
        #expect(envelope.origin == origin)
        #expect(envelope.authRevision == 7)
        #expect(envelope.user == "root".raw)
        #expect(envelope.body == [1, 2, 3])
    }

    @Test("a slice that doesn't begin at 0 is read like any other")
    func slice() throws {
        let bytes = Envelope.encode(kind: .put, origin: origin, body: [5])
        let envelope = try Envelope(decoding: ([9, 9, 9] + bytes)[3...])
        #expect(envelope.origin == origin)
        #expect(envelope.body == [5])
    }

    @Test("every truncation of the header is an error")
    func truncated() {
        let bytes = Envelope.encode(kind: .put, origin: origin, user: "alice".raw, body: [])
        for count in 0..<bytes.count {
            #expect(throws: EnvelopeError.truncated) {
                try Envelope(decoding: bytes[..<count])
            }
        }
    }

    @Test("unknown versions, kinds and flags stop the reader, as do reserved kinds")
    func unknown() {
        var bytes = Envelope.encode(kind: .put, origin: origin, body: [1])
        bytes[0] = 2
        #expect(throws: EnvelopeError.unknownFormatVersion(2)) { try Envelope(decoding: bytes) }
        bytes[0] = 1
        for kind: UInt8 in [9, 10, 12, 14, 255] {
            bytes[1] = kind
            #expect(throws: EnvelopeError.unknownKind(kind)) { try Envelope(decoding: bytes) }
        }
        bytes[1] = 1
        bytes[3] = 1
        #expect(throws: EnvelopeError.unknownFlags(256)) { try Envelope(decoding: bytes) }
    }
}
