import EtcdMessages
import SwiftProtobuf

/// Messages that are read with the generated code. The first byte of an input chooses the type, the
/// rest is the message.
public struct MessageTarget: FuzzTarget {
    /// See `FuzzTarget`.
    public let name = "messages"
    /// See `FuzzTarget`.
    public let summary = """
        generated decoders of cold requests, and of every answer a client reads: what they accept \
        is written back to something they read the same
        """
    private let types: [any (Message & Equatable).Type] = [
        Etcdserverpb_AlarmRequest.self, Etcdserverpb_AuthUserAddRequest.self,
        Etcdserverpb_AuthRoleGrantPermissionRequest.self, Etcdserverpb_AuthenticateRequest.self,
        Etcdserverpb_DowngradeRequest.self, Etcdserverpb_HashKVRequest.self,
        Etcdserverpb_MemberAddRequest.self, Etcdserverpb_MemberUpdateRequest.self,
        Etcdserverpb_MemberListResponse.self, Etcdserverpb_RangeResponse.self,
        Etcdserverpb_PutResponse.self, Etcdserverpb_DeleteRangeResponse.self,
        Etcdserverpb_TxnResponse.self, Etcdserverpb_WatchResponse.self,
        Etcdserverpb_LeaseTimeToLiveResponse.self, Etcdserverpb_LeaseLeasesResponse.self,
        Etcdserverpb_StatusResponse.self, Etcdserverpb_SnapshotResponse.self,
        Etcdserverpb_HashKVResponse.self, Etcdserverpb_AlarmResponse.self,
        V3lockpb_LockRequest.self, V3electionpb_CampaignRequest.self,
        V3electionpb_ProclaimRequest.self, V3electionpb_LeaderResponse.self,
    ]

    /// A target for cold requests and answers.
    public init() {}

    /// See `FuzzTarget`.
    public func seeds() -> [[UInt8]] {
        let header = Etcdserverpb_ResponseHeader.with {
            ($0.clusterID, $0.memberID, $0.revision, $0.raftTerm) = (9, 8, 7, 6)
        }
        let keyValue = Mvccpb_KeyValue.with {
            ($0.key, $0.value) = (.init("k".utf8), .init("v".utf8))
            ($0.createRevision, $0.modRevision, $0.version, $0.lease) = (2, 3, 2, 7)
        }
        let range = Etcdserverpb_RangeResponse.with {
            ($0.header, $0.kvs, $0.more, $0.count) = (header, [keyValue, keyValue], true, 5)
        }
        let messages: [any Message] = [
            range,
            Etcdserverpb_TxnResponse.with {
                ($0.header, $0.succeeded) = (header, true)
                $0.responses = [.with { $0.responseRange = range }]
            },
            Etcdserverpb_WatchResponse.with {
                ($0.header, $0.watchID, $0.created) = (header, 3, true)
                $0.events = [.with { ($0.type, $0.kv, $0.prevKv) = (.delete, keyValue, keyValue) }]
            },
            Etcdserverpb_MemberAddRequest.with { $0.peerUrls = ["http://a:1", "http://b:2"] },
            Etcdserverpb_MemberListResponse.with {
                $0.members = [.with { ($0.id, $0.name, $0.clientUrls) = (1, "n", ["http://c"]) }]
            },
            Etcdserverpb_AuthUserAddRequest.with {
                ($0.name, $0.password, $0.options) = ("u", "p", .with { $0.noPassword = true })
            },
        ]
        return types.indices.map { [UInt8($0)] }
            + messages.compactMap { message in
                types.firstIndex { $0 == type(of: message) }
                    .map { [UInt8($0)] + RequestSeeds.encoded(message) }
            }
    }

    /// See `FuzzTarget`.
    public func mutate(_ input: [UInt8], _ mutator: inout Mutator) -> [UInt8] {
        var selector = input.first ?? 0
        if mutator.once(in: 12) { selector = UInt8(mutator.below(types.count)) }
        return [selector] + ProtobufTree.mutate(Array(input.dropFirst()), &mutator)
    }

    /// See `FuzzTarget`.
    public func run(_ input: [UInt8]) throws(PropertyBreach) -> Behaviour {
        guard let selector = input.first else { return Behaviour(isAccepted: false) }
        let type = types[Int(selector) % types.count]
        return try Self.roundTrip(Array(input.dropFirst()), as: type)
    }

    private static func roundTrip<Value: Message & Equatable>(
        _ bytes: [UInt8], as type: Value.Type
    ) throws(PropertyBreach) -> Behaviour {
        try roundTrip(bytes, name: type.protoMessageName) { try type.init(serializedBytes: $0) }
    }

    /// Reads, writes and reads again.
    static func roundTrip<Value: Message & Equatable>(
        _ bytes: [UInt8], name: String, decode: ([UInt8]) throws -> Value
    ) throws(PropertyBreach) -> Behaviour {
        var trace = BehaviourTrace()
        trace.note(name)
        let value: Value
        do {
            value = try decode(bytes)
        } catch {
            trace.note("\(error)")
            return Behaviour(isAccepted: false, trace)
        }
        for field in RawField.split(bytes[...]) ?? [] {
            trace.note("field \(min(field.number, 65))")
        }
        let again = try? decode(RequestSeeds.encoded(value))
        try require(again == value, "a message that was written reads back the same", name)
        return Behaviour(isAccepted: true, trace)
    }
}
