import KVCore
import RaftCore

/// Puts peer messages into frames and reads them back, checking everything.
package enum PeerCodec {
    private enum Tag: UInt8 {
        case preVoteRequest = 1
        case preVoteResponse = 2
        case voteRequest = 3
        case voteResponse = 4
        case append = 5
        case appendResponse = 6
        case heartbeat = 7
        case heartbeatResponse = 8
        case timeoutNow = 9
        case readIndexRequest = 10
        case readIndexResponse = 11
        case forward = 32
        case forwardRefused = 33
        case leaseCall = 34
        case leaseAnswer = 35
    }

    // MARK: - Writing

    /// Room for any message of consensus without its entries.
    private static let smallMessageBytes = 64

    package static func encode(_ message: PeerMessage) -> [UInt8] {
        var writer = FrameWriter()
        switch message {
        case .raft(let raft, let entryBytes): encode(raft, entryBytes, into: &writer)
        case .forward(let term, let envelopes):
            writer.reserve(16 + envelopes.reduce(0) { $0 + $1.count + 4 })
            writer.put(Tag.forward.rawValue)
            writer.put(term)
            writer.put(UInt32(envelopes.count))
            for envelope in envelopes { writer.put(bytes: envelope) }
        case .forwardRefused(let sequences):
            writer.put(Tag.forwardRefused.rawValue)
            writer.put(UInt32(sequences.count))
            for sequence in sequences { writer.put(sequence) }
        case .leaseCall(let call):
            writer.put(Tag.leaseCall.rawValue)
            writer.put(call.context)
            writer.put(call.purpose.rawValue)
            writer.put(call.lease)
        case .leaseAnswer(let answer): encode(answer, into: &writer)
        }
        return writer.bytes
    }

    private static func encode(
        _ answer: PeerMessage.LeaseAnswer, into writer: inout FrameWriter
    ) {
        writer.put(Tag.leaseAnswer.rawValue)
        writer.put(answer.context)
        switch answer.outcome {
        case .alive(let secondsLeft, let granted, let index):
            writer.put(UInt8(0))
            writer.put(secondsLeft)
            writer.put(granted)
            writer.put(index)
        case .gone(let index):
            writer.put(UInt8(1))
            writer.put(index)
        case .notLeader: writer.put(UInt8(2))
        }
    }

    private static func encode(
        _ message: Message, _ entryBytes: [[UInt8]], into writer: inout FrameWriter
    ) {
        func head(_ tag: Tag) {
            writer.reserve(smallMessageBytes)
            writer.put(tag.rawValue)
            writer.put(message.term)
        }
        switch message.body {
        case .preVoteRequest(let request):
            head(.preVoteRequest)
            encode(request, into: &writer)
        case .preVoteResponse(let granted):
            head(.preVoteResponse)
            writer.put(granted)
        case .voteRequest(let request):
            head(.voteRequest)
            encode(request, into: &writer)
        case .voteResponse(let granted):
            head(.voteResponse)
            writer.put(granted)
        case .append(let append):
            writer.reserve(smallMessageBytes + entryBytes.reduce(0) { $0 + $1.count + 12 })
            head(.append)
            encode(append, entryBytes, into: &writer)
        case .appendResponse(let response):
            head(.appendResponse)
            encode(response, into: &writer)
        case .heartbeat(let heartbeat):
            head(.heartbeat)
            writer.put(heartbeat.commitIndex)
            writer.put(heartbeat.round)
        case .heartbeatResponse(let response):
            head(.heartbeatResponse)
            writer.put(response.round)
            writer.put(response.wantsCommits)
        case .timeoutNow: head(.timeoutNow)
        case .readIndexRequest(let context):
            head(.readIndexRequest)
            writer.put(context)
        case .readIndexResponse(let context, let index):
            head(.readIndexResponse)
            writer.put(context)
            writer.put(index != nil)
            writer.put(index ?? 0)
        }
    }

    private static func encode(_ request: Message.VoteRequest, into writer: inout FrameWriter) {
        writer.put(request.lastIndex)
        writer.put(request.lastTerm)
        writer.put(request.isTransfer)
    }

    private static func encode(
        _ append: Message.Append, _ entryBytes: [[UInt8]], into writer: inout FrameWriter
    ) {
        precondition(append.entries.count == entryBytes.count, "an entry travels with its bytes")
        writer.put(append.previous.index)
        writer.put(append.previous.term)
        writer.put(append.previous.chain)
        writer.put(append.commitIndex)
        writer.put(append.round)
        writer.put(UInt32(append.entries.count))
        for (entry, bytes) in zip(append.entries, entryBytes) {
            writer.put(entry.term)
            writer.put(bytes: bytes)
        }
    }

    private static func encode(
        _ response: Message.AppendResponse, into writer: inout FrameWriter
    ) {
        writer.put(response.round)
        writer.put(response.wantsCommits)
        switch response.outcome {
        case .matched(let index):
            writer.put(UInt8(0))
            writer.put(index)
        case .rejected(let previous, let hintIndex, let hintTerm):
            writer.put(UInt8(1))
            writer.put(previous)
            writer.put(hintIndex)
            writer.put(hintTerm)
        }
    }

    // MARK: - Reading

    package static func decode(
        _ frame: [UInt8], from sender: MemberID, to receiver: MemberID
    ) throws(PeerFault) -> PeerMessage {
        var reader = FrameReader(frame)
        guard let tag = Tag(rawValue: try reader.take(UInt8.self)) else {
            throw PeerFault(reason: "unknown message type \(frame[0])")
        }
        let message: PeerMessage
        switch tag {
        case .forward:
            let term = try reader.takeNumber()
            let count = try reader.takeCount(minimumBytes: 4)
            var envelopes: [[UInt8]] = []
            envelopes.reserveCapacity(count)
            for _ in 0..<count { envelopes.append(try reader.takeBytes()) }
            message = .forward(term: term, envelopes: envelopes)
        case .forwardRefused:
            let count = try reader.takeCount(minimumBytes: 8)
            var sequences: [UInt64] = []
            for _ in 0..<count { sequences.append(try reader.take(UInt64.self)) }
            message = .forwardRefused(sequences: sequences)
        case .leaseCall:
            let context = try reader.take(UInt64.self)
            guard
                let purpose = PeerMessage.LeaseCall.Purpose(
                    rawValue: try reader.take(UInt8.self))
            else { throw PeerFault(reason: "unknown lease call") }
            message = .leaseCall(
                .init(context: context, purpose: purpose, lease: try reader.take(Int64.self)))
        case .leaseAnswer: message = .leaseAnswer(try decodeLeaseAnswer(&reader))
        case .preVoteRequest, .preVoteResponse, .voteRequest, .voteResponse, .append,
            .appendResponse, .heartbeat, .heartbeatResponse, .timeoutNow, .readIndexRequest,
            .readIndexResponse:
            let term = try reader.takeNumber()
            var entryBytes: [[UInt8]] = []
            let body = try decodeBody(tag, &reader, entryBytes: &entryBytes)
            message = .raft(
                Message(from: sender, to: receiver, term: term, body: body),
                entryBytes: entryBytes)
        }
        guard reader.isAtEnd else { throw PeerFault(reason: "bytes follow a message") }
        return message
    }

    private static func decodeLeaseAnswer(
        _ reader: inout FrameReader
    ) throws(PeerFault) -> PeerMessage.LeaseAnswer {
        let context = try reader.take(UInt64.self)
        switch try reader.take(UInt8.self) {
        case 0:
            return .init(
                context: context,
                outcome: .alive(
                    secondsLeft: try reader.take(Int64.self),
                    granted: try reader.take(Int64.self), index: try reader.takeNumber()))
        case 1:
            return .init(context: context, outcome: .gone(index: try reader.takeNumber()))
        case 2: return .init(context: context, outcome: .notLeader)
        case let other: throw PeerFault(reason: "unknown lease answer \(other)")
        }
    }

    private static func decodeBody(
        _ tag: Tag, _ reader: inout FrameReader, entryBytes: inout [[UInt8]]
    ) throws(PeerFault) -> Message.Body {
        switch tag {
        case .preVoteRequest: return .preVoteRequest(try decodeVoteRequest(&reader))
        case .preVoteResponse: return .preVoteResponse(granted: try reader.takeBool())
        case .voteRequest: return .voteRequest(try decodeVoteRequest(&reader))
        case .voteResponse: return .voteResponse(granted: try reader.takeBool())
        case .append: return .append(try decodeAppend(&reader, entryBytes: &entryBytes))
        case .appendResponse: return .appendResponse(try decodeAppendResponse(&reader))
        case .heartbeat:
            return .heartbeat(
                .init(
                    commitIndex: try reader.takeNumber(),
                    round: try reader.take(UInt64.self)))
        case .heartbeatResponse:
            return .heartbeatResponse(
                .init(round: try reader.take(UInt64.self), wantsCommits: try reader.takeBool()))
        case .timeoutNow: return .timeoutNow
        case .readIndexRequest: return .readIndexRequest(context: try reader.take(UInt64.self))
        case .readIndexResponse:
            let context = try reader.take(UInt64.self)
            let isKnown = try reader.takeBool()
            let index = try reader.takeNumber()
            return .readIndexResponse(context: context, index: isKnown ? index : nil)
        case .forward, .forwardRefused, .leaseCall, .leaseAnswer:
            preconditionFailure("these are decoded before")
        }
    }

    private static func decodeVoteRequest(
        _ reader: inout FrameReader
    ) throws(PeerFault) -> Message.VoteRequest {
        Message.VoteRequest(
            lastIndex: try reader.takeNumber(), lastTerm: try reader.takeNumber(),
            isTransfer: try reader.takeBool())
    }

    private static func decodeAppend(
        _ reader: inout FrameReader, entryBytes: inout [[UInt8]]
    ) throws(PeerFault) -> Message.Append {
        let previous = LogPosition(
            index: try reader.takeNumber(), term: try reader.takeNumber(),
            chain: try reader.take(UInt64.self))
        let commitIndex = try reader.takeNumber()
        let round = try reader.take(UInt64.self)
        let count = try reader.takeCount(minimumBytes: 12)
        var entries: [EntryMetadata] = []
        entries.reserveCapacity(count)
        entryBytes.reserveCapacity(count)
        var configurations: [ConfigurationEntry] = []
        var lastTerm = previous.term
        for position in 0..<count {
            let term = try reader.takeNumber()
            guard term >= lastTerm else { throw PeerFault(reason: "terms decrease in an append") }
            lastTerm = term
            let bytes = try reader.takeBytes()
            entries.append(EntryMetadata(term: term, bytes: bytes))
            if let configuration = try configuration(in: bytes) {
                let index = previous.index + 1 + LogIndex(position)
                configurations.append(
                    ConfigurationEntry(index: index, configuration: configuration))
            }
            entryBytes.append(bytes)
        }
        return Message.Append(
            previous: previous, entries: entries, configurations: configurations,
            commitIndex: commitIndex, round: round)
    }

    /// The configuration that an entry carries, if it carries one.
    static func configuration(in bytes: [UInt8]) throws(PeerFault) -> Configuration? {
        let envelope: Envelope
        do throws(EnvelopeError) {
            envelope = try Envelope(decoding: bytes)
        } catch {
            throw PeerFault(reason: "an entry is unreadable: \(error)")
        }
        guard envelope.kind == .configuration else { return nil }
        guard let record = MembershipRecord.decode(envelope.body) else {
            throw PeerFault(reason: "a configuration entry is unreadable")
        }
        return record.configuration
    }

    private static func decodeAppendResponse(
        _ reader: inout FrameReader
    ) throws(PeerFault) -> Message.AppendResponse {
        let round = try reader.take(UInt64.self)
        let wantsCommits = try reader.takeBool()
        let outcome: Message.AppendResponse.Outcome
        switch try reader.take(UInt8.self) {
        case 0: outcome = .matched(try reader.takeNumber())
        case 1:
            outcome = .rejected(
                previous: try reader.takeNumber(),
                hintIndex: try reader.takeNumber(), hintTerm: try reader.takeNumber())
        case let other: throw PeerFault(reason: "unknown append outcome \(other)")
        }
        return .init(outcome: outcome, round: round, wantsCommits: wantsCommits)
    }
}

extension MembershipRecord {
    /// The part of the record that consensus is about. A member that is staging receives the log
    /// like a learner until it is given its vote.
    var configuration: Configuration {
        Configuration(
            voters: members.filter { $0.role == .voter }.map(\.id),
            learners: members.filter { $0.role != .voter }.map(\.id))
    }
}

private struct FrameWriter {
    private(set) var bytes: [UInt8] = []

    mutating func reserve(_ count: Int) { bytes.reserveCapacity(count) }

    mutating func put(_ value: some FixedWidthInteger) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    mutating func put(_ value: Bool) { bytes.append(value ? 1 : 0) }

    mutating func put(bytes content: [UInt8]) {
        put(UInt32(content.count))
        bytes.append(contentsOf: content)
    }
}

private struct FrameReader {
    private let frame: [UInt8]
    private var offset = 0

    init(_ frame: [UInt8]) { self.frame = frame }

    var isAtEnd: Bool { offset == frame.count }

    mutating func take<Value: FixedWidthInteger>(_ type: Value.Type) throws(PeerFault) -> Value {
        guard frame.count - offset >= MemoryLayout<Value>.size else {
            throw PeerFault(reason: "a message ends early")
        }
        defer { offset += MemoryLayout<Value>.size }
        // In bounds by the guard above; an integer has no invalid bit pattern.
        return frame.withUnsafeBytes {
            Value(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: Value.self))
        }
    }

    /// An index or a term. None comes near the end of its range, and counting on from one that was
    /// read must not overflow.
    mutating func takeNumber() throws(PeerFault) -> UInt64 {
        let number = try take(UInt64.self)
        guard number <= 1 << 62 else { throw PeerFault(reason: "\(number) is no index or term") }
        return number
    }

    mutating func takeBool() throws(PeerFault) -> Bool {
        switch try take(UInt8.self) {
        case 0: return false
        case 1: return true
        case let other: throw PeerFault(reason: "\(other) is neither true nor false")
        }
    }

    mutating func takeBytes() throws(PeerFault) -> [UInt8] {
        let count = Int(try take(UInt32.self))
        guard frame.count - offset >= count else {
            throw PeerFault(reason: "a message ends early")
        }
        defer { offset += count }
        // In bounds by the guard above.
        return frame.withUnsafeBytes {
            [UInt8](UnsafeRawBufferPointer(rebasing: $0[offset..<offset + count]))
        }
    }

    /// A count of things that take at least `minimumBytes` each, so that a damaged one can't ask
    /// for more memory than the frame has.
    mutating func takeCount(minimumBytes: Int) throws(PeerFault) -> Int {
        let count = Int(try take(UInt32.self))
        guard count <= (frame.count - offset) / minimumBytes else {
            throw PeerFault(reason: "a message ends early")
        }
        return count
    }
}
