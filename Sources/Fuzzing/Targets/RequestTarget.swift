import EtcdMessages
import EtcdWire
import SwiftProtobuf

/// A hot request type as the fuzzer needs it.
public protocol HotRequest: Equatable, Sendable {
    /// Reads a whole message.
    init(decoding bytes: ArraySlice<UInt8>) throws(WireError)
    /// Bytes that `encode` appends.
    var encodedSize: Int { get }
    /// Appends the message.
    func encode(into out: inout [UInt8])
}

extension RangeRequest: HotRequest {}
extension PutRequest: HotRequest {}
extension DeleteRangeRequest: HotRequest {}
extension TxnRequest: HotRequest {}
extension CompactionRequest: HotRequest {}
extension LeaseGrantRequest: HotRequest {}
extension LeaseRevokeRequest: HotRequest {}
extension LeaseKeepAliveRequest: HotRequest {}
extension LeaseTimeToLiveRequest: HotRequest {}
extension WatchRequest: HotRequest {}

extension HotRequest {
    var encoded: [UInt8] {
        var out: [UInt8] = []
        encode(into: &out)
        return out
    }
}

/// The hand-written decoders against the generated ones. The first byte of an input chooses the
/// type, the rest is the message.
public struct RequestTarget: FuzzTarget {
    /// See `FuzzTarget`.
    public let name = "requests"
    /// See `FuzzTarget`.
    public let summary = """
        hand-written request decoders: they accept what SwiftProtobuf accepts, mean the same by it, \
        and write it back as SwiftProtobuf would
        """
    private let pairs: [Pair] = [
        Pair(RangeRequest.self, Etcdserverpb_RangeRequest.self),
        Pair(PutRequest.self, Etcdserverpb_PutRequest.self),
        Pair(DeleteRangeRequest.self, Etcdserverpb_DeleteRangeRequest.self),
        Pair(TxnRequest.self, Etcdserverpb_TxnRequest.self, oneofs: .txn),
        Pair(CompactionRequest.self, Etcdserverpb_CompactionRequest.self),
        Pair(LeaseGrantRequest.self, Etcdserverpb_LeaseGrantRequest.self),
        Pair(LeaseRevokeRequest.self, Etcdserverpb_LeaseRevokeRequest.self),
        Pair(LeaseKeepAliveRequest.self, Etcdserverpb_LeaseKeepAliveRequest.self),
        Pair(LeaseTimeToLiveRequest.self, Etcdserverpb_LeaseTimeToLiveRequest.self),
        Pair(
            WatchRequest.self, Etcdserverpb_WatchRequest.self,
            oneofs: .watch, canonical: Self.sortFilters),
    ]

    /// A target for all hot requests.
    public init() {}

    /// See `FuzzTarget`.
    public func seeds() -> [[UInt8]] { RequestSeeds.all }

    /// See `FuzzTarget`.
    public func mutate(_ input: [UInt8], _ mutator: inout Mutator) -> [UInt8] {
        var selector = input.first ?? 0
        if mutator.once(in: 12) { selector = UInt8(mutator.below(pairs.count)) }
        return [selector] + ProtobufTree.mutate(Array(input.dropFirst()), &mutator)
    }

    /// See `FuzzTarget`.
    public func run(_ input: [UInt8]) throws(PropertyBreach) -> Behaviour {
        guard let selector = input.first else { return Behaviour(isAccepted: false) }
        return try pairs[Int(selector) % pairs.count].check(Array(input.dropFirst()))
    }

    /// Filters are a set to us, and numbers without a meaning mean nothing.
    private static func sortFilters(_ message: inout Etcdserverpb_WatchRequest) {
        guard case .createRequest(var create)? = message.requestUnion else { return }
        create.filters = [.noput, .nodelete].filter(create.filters.contains)
        message.createRequest = create
    }
}

/// Where a message has a oneof of messages, of which the last one given stands.
enum OneofPlace: Sendable {
    case none
    /// The message is a `WatchRequest`.
    case watch
    /// The message is a `TxnRequest`.
    case txn
    /// The message is a `RequestOp`.
    case operation

    /// Field numbers of the oneof's members.
    var members: ClosedRange<UInt64>? {
        switch self {
        case .none, .txn: nil
        case .watch: 1...3
        case .operation: 1...4
        }
    }

    /// What a field of the message holds.
    func inside(_ number: UInt64) -> OneofPlace {
        switch (self, number) {
        case (.txn, 2), (.txn, 3): .operation
        case (.operation, 4): .txn
        case (_, _): .none
        }
    }
}

/// One hot type and its generated twin.
struct Pair: Sendable {
    let check: @Sendable ([UInt8]) throws(PropertyBreach) -> Behaviour

    init<Hot: HotRequest, Generated: Message & Equatable>(
        _ hot: Hot.Type, _ generated: Generated.Type, oneofs: OneofPlace = .none,
        canonical: @escaping @Sendable (inout Generated) -> Void = { _ in }
    ) {
        check = { bytes throws(PropertyBreach) in
            try Pair.agree(
                bytes, oneofs: oneofs, canonical: canonical,
                decode: { bytes throws(WireError) -> Hot in try Hot(decoding: bytes) })
        }
    }

    /// Holds one decoder against the other.
    static func agree<Hot: HotRequest, Generated: Message & Equatable>(
        _ bytes: [UInt8], oneofs: OneofPlace, canonical: (inout Generated) -> Void,
        decode: (ArraySlice<UInt8>) throws(WireError) -> Hot
    ) throws(PropertyBreach) -> Behaviour {
        var trace = BehaviourTrace()
        trace.note(Generated.protoMessageName)
        let whole = try? decoded(bytes, as: Generated.self)
        let hot: Hot
        do throws(WireError) {
            hot = try decode(bytes[...])
        } catch {
            trace.note(String("\(error)".prefix { $0 != "(" }))
            switch error {
            case .wrongWireType, .group, .nestedTooDeeply, .tooManyElements, .overlongVarint:
                // On purpose: SwiftProtobuf passes over the first two as unknown fields, has other
                // bounds than the next two, and drops what a varint has beyond 64 bits.
                break
            case .truncated, .invalidTag:
                try require(whole == nil, "both decoders refuse the same", "\(error)")
            }
            return Behaviour(isAccepted: false, trace)
        }
        // On purpose: SwiftProtobuf refuses tags of more than five bytes, Go's decoder and ours don't.
        if whole == nil, RawField.hasLongTag(bytes[...]) {
            return Behaviour(isAccepted: true, trace)
        }
        try require(whole != nil, "both decoders accept the same")
        for field in ProtobufTree.parse(bytes[...]) ?? [] {
            trace.note("field \(min(field.number, 65))")
        }

        let written = hot.encoded
        try require(hot.encodedSize == written.count, "encodedSize is what encode appends")
        let again = try? decode(written[...])
        try require(again == hot, "what was written reads back the same")
        // A singular message given twice is merged by SwiftProtobuf; with us the last one stands,
        // as in etcd's own decoder.
        let standing = lastStanding(bytes, oneofs)
        guard var expected = try? decoded(standing, as: Generated.self) else {
            throw PropertyBreach("an accepted message without its overridden fields is accepted")
        }
        canonical(&expected)
        let meaning = try? decoded(written, as: Generated.self)
        try require(
            meaning == expected, "both decoders understand the same",
            "\(expected) and \(meaning.map { "\($0)" } ?? "nothing")")
        return Behaviour(isAccepted: true, trace)
    }

    private static func decoded<Generated: Message>(
        _ bytes: [UInt8], as type: Generated.Type
    ) throws -> Generated {
        var options = BinaryDecodingOptions()
        options.messageDepthLimit = 1_000
        options.discardUnknownFields = true
        return try Generated(serializedBytes: bytes, options: options)
    }

    /// The message without members of a oneof that a later one overrides.
    static func lastStanding(_ bytes: [UInt8], _ place: OneofPlace) -> [UInt8] {
        guard place != .none, let fields = RawField.split(bytes[...]) else { return bytes }
        func isMember(_ field: RawField) -> Bool {
            field.wireType == 2 && place.members?.contains(field.number) == true
        }
        let last = fields.lastIndex(where: isMember)
        var out: [UInt8] = []
        for (index, field) in fields.enumerated() where !isMember(field) || index == last {
            let inside = field.wireType == 2 ? place.inside(field.number) : .none
            guard inside != .none else {
                out += field.raw
                continue
            }
            let content = lastStanding(Array(field.content), inside)
            out += ProtobufTree.varint(field.number << 3 | 2)
            out += ProtobufTree.varint(UInt64(content.count)) + content
        }
        return out
    }
}
