import ArgumentParser
import EtcdMessages
import EtcdWire
import SwiftProtobuf

/// The calls a load can be made of.
enum Work: String, ExpressibleByArgument, CaseIterable {
    case put
    case range
    case serializableRange = "serializable-range"
    /// A transaction of four puts, without a condition.
    case txn
    case keepAlive = "keep-alive"

    /// The method called.
    var path: String {
        switch self {
        case .put: "/etcdserverpb.KV/Put"
        case .range, .serializableRange: "/etcdserverpb.KV/Range"
        case .txn: "/etcdserverpb.KV/Txn"
        case .keepAlive: "/etcdserverpb.Lease/LeaseKeepAlive"
        }
    }
}

/// Makes request messages over a number of keys of 16 bytes, with values of one size.
struct Requests {
    /// Different keys, named by number from 0.
    private let keyCount: Int
    private let valueBytes: Int
    /// The same keys are drawn in every run.
    private var random = SplitMix(state: 1)

    /// Values are cut from these: no compression makes them smaller than they look.
    private static let noise: [UInt8] = {
        var random = SplitMix(state: 2)
        return (0..<1 << 20).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }()

    init(keyCount: Int, valueBytes: Int) {
        precondition(keyCount > 0)
        self.keyCount = keyCount
        self.valueBytes = valueBytes
    }

    private func value(of key: Int) -> ArraySlice<UInt8> {
        let start = (key &* 8191) % (Self.noise.count - valueBytes)
        return Self.noise[start..<start + valueBytes]
    }

    /// `bench/` and ten digits.
    static func key(_ number: Int) -> [UInt8] {
        let digits = String(number)
        return Array(("bench/" + String(repeating: "0", count: 10 - digits.count) + digits).utf8)
    }

    /// A key number; the same each time when there is one key only.
    mutating func drawKey() -> Int {
        guard keyCount > 1 else { return 0 }
        return Int(random.next() % UInt64(keyCount))
    }

    /// One message for a work that isn't about leases.
    mutating func message(for work: Work) -> [UInt8] {
        switch work {
        case .put: return put(drawKey())
        case .range, .serializableRange:
            var request = RangeRequest()
            request.key = Self.key(drawKey())[...]
            request.serializable = work == .serializableRange
            return encoded(request.encode(into:))
        case .txn: return transaction((0..<4).map { _ in drawKey() })
        case .keepAlive: preconditionFailure("a renewal names a lease")
        }
    }

    /// A put of one key, under a lease unless that is 0.
    func put(_ key: Int, lease: Int64 = 0) -> [UInt8] {
        var request = PutRequest()
        request.key = Self.key(key)[...]
        request.value = value(of: key)
        request.lease = lease
        return encoded(request.encode(into:))
    }

    /// Puts of several keys in one transaction; a key that comes twice is put next to itself, as
    /// a transaction may write a key once only.
    func transaction(_ keys: [Int]) -> [UInt8] {
        var request = Etcdserverpb_TxnRequest()
        var written: Set<Int> = []
        for var key in keys {
            while !written.insert(key).inserted { key += 1 }
            var operation = Etcdserverpb_RequestOp()
            operation.requestPut.key = .init(Self.key(key))
            operation.requestPut.value = .init(value(of: key))
            request.success.append(operation)
        }
        return Self.serialized(request)
    }

    /// All keys with their values.
    static var rangeOfAll: [UInt8] {
        var request = RangeRequest()
        request.key = [0]
        request.rangeEnd = [0]
        var bytes: [UInt8] = []
        request.encode(into: &bytes)
        return bytes
    }

    /// The method of `grant`.
    static let grantPath = "/etcdserverpb.Lease/LeaseGrant"

    static func grant(id: Int64, ttlSeconds: Int64) -> [UInt8] {
        var request = Etcdserverpb_LeaseGrantRequest()
        request.id = id
        request.ttl = ttlSeconds
        return serialized(request)
    }

    static func renewal(of lease: Int64) -> [UInt8] {
        var request = LeaseKeepAliveRequest()
        request.id = lease
        var bytes: [UInt8] = []
        request.encode(into: &bytes)
        return bytes
    }

    static func watch(key: Int) -> [UInt8] {
        var request = Etcdserverpb_WatchRequest()
        request.createRequest.key = .init(Self.key(key))
        return serialized(request)
    }

    private static func serialized(_ message: some SwiftProtobuf.Message) -> [UInt8] {
        // Nothing in these messages can fail to be serialized.
        (try? message.serializedBytes()) ?? []
    }

    private func encoded(_ encode: (inout [UInt8]) -> Void) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(valueBytes + 64)
        encode(&bytes)
        return bytes
    }
}

/// The generator SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

/// What a load has to know of answers, read in place and not as generated messages, which cost more.
enum Answers {
    /// Whether a `LeaseKeepAliveResponse` grants time.
    static func isRenewed(_ message: [UInt8]) -> Bool {
        var reader = WireReader(message[...])
        do {
            while let tag = try reader.nextTag() {
                if tag.fieldNumber == 3 { return try reader.readInt64(tag) > 0 }
                try reader.skip(tag)
            }
        } catch {}
        return false
    }
}
