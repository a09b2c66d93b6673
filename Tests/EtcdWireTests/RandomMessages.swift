import EtcdMessages
import EtcdWire
import TestSupport

/// Random messages of the generated types; the hot codecs are held against them.
extension Seeded {
    mutating func range() -> Etcdserverpb_RangeRequest {
        var message = Etcdserverpb_RangeRequest()
        message.key = data()
        message.rangeEnd = data()
        message.limit = number()
        message.revision = number()
        message.sortOrder = .init(rawValue: enumNumber(below: 3)) ?? .none
        message.sortTarget = .init(rawValue: enumNumber(below: 5)) ?? .key
        message.serializable = flag()
        message.keysOnly = flag()
        message.countOnly = flag()
        message.minModRevision = number()
        message.maxModRevision = number()
        message.minCreateRevision = number()
        message.maxCreateRevision = number()
        return message
    }

    mutating func put() -> Etcdserverpb_PutRequest {
        var message = Etcdserverpb_PutRequest()
        message.key = data()
        message.value = data()
        message.lease = number()
        message.prevKv = flag()
        message.ignoreValue = flag()
        message.ignoreLease = flag()
        return message
    }

    mutating func deleteRange() -> Etcdserverpb_DeleteRangeRequest {
        var message = Etcdserverpb_DeleteRangeRequest()
        message.key = data()
        message.rangeEnd = data()
        message.prevKv = flag()
        return message
    }

    mutating func compare() -> Etcdserverpb_Compare {
        var message = Etcdserverpb_Compare()
        message.result = .init(rawValue: enumNumber(below: 4)) ?? .equal
        message.target = .init(rawValue: enumNumber(below: 5)) ?? .version
        message.key = data()
        message.targetUnion =
            switch next() % 6 {
            case 0: .version(number())
            case 1: .createRevision(number())
            case 2: .modRevision(number())
            case 3: .value(data())
            case 4: .lease(number())
            default: nil
            }
        message.rangeEnd = data()
        return message
    }

    mutating func operation(depth: Int) -> Etcdserverpb_RequestOp {
        var message = Etcdserverpb_RequestOp()
        message.request =
            switch next() % (depth > 0 ? 5 : 4) {
            case 0: .requestRange(range())
            case 1: .requestPut(put())
            case 2: .requestDeleteRange(deleteRange())
            case 3: nil
            default: .requestTxn(txn(depth: depth - 1))
            }
        return message
    }

    mutating func txn(depth: Int = 3) -> Etcdserverpb_TxnRequest {
        var message = Etcdserverpb_TxnRequest()
        for _ in 0..<(next() % 4) { message.compare.append(compare()) }
        for _ in 0..<(next() % 4) { message.success.append(operation(depth: depth)) }
        for _ in 0..<(next() % 4) { message.failure.append(operation(depth: depth)) }
        return message
    }

    mutating func watch() -> Etcdserverpb_WatchRequest {
        var message = Etcdserverpb_WatchRequest()
        switch next() % 4 {
        case 0: message.requestUnion = .progressRequest(.init())
        case 1:
            var cancel = Etcdserverpb_WatchCancelRequest()
            cancel.watchID = number()
            message.requestUnion = .cancelRequest(cancel)
        case 2: message.requestUnion = nil
        default: message.requestUnion = .createRequest(watchCreate())
        }
        return message
    }

    mutating func watchCreate() -> Etcdserverpb_WatchCreateRequest {
        var message = Etcdserverpb_WatchCreateRequest()
        message.key = data()
        message.rangeEnd = data()
        message.startRevision = number()
        message.progressNotify = flag()
        // As a set: the order in which the hot codec writes it.
        if flag() { message.filters.append(.noput) }
        if flag() { message.filters.append(.nodelete) }
        message.prevKv = flag()
        message.watchID = number()
        message.fragment = flag()
        return message
    }

    mutating func header() -> ResponseHeader {
        ResponseHeader(
            clusterID: UInt64(bitPattern: number()), memberID: UInt64(bitPattern: number()),
            revision: number(), raftTerm: UInt64(bitPattern: number()))
    }

    mutating func numbers() -> KeyValueNumbers {
        KeyValueNumbers(
            createRevision: number(), modRevision: number(), version: number(), lease: number())
    }

    mutating func keyValue() -> KeyValue {
        KeyValue(key: bytes()[...], value: bytes()[...], numbers: numbers())
    }
}

extension ResponseHeader {
    /// The same header as a generated message.
    var generated: Etcdserverpb_ResponseHeader {
        var message = Etcdserverpb_ResponseHeader()
        message.clusterID = identity.clusterID
        message.memberID = identity.memberID
        message.revision = revision
        message.raftTerm = raftTerm
        return message
    }
}

extension KeyValue {
    /// The same key-value as a generated message.
    var generated: Mvccpb_KeyValue {
        var message = Mvccpb_KeyValue()
        message.key = .init(key)
        message.value = .init(value)
        message.createRevision = numbers.createRevision
        message.modRevision = numbers.modRevision
        message.version = numbers.version
        message.lease = numbers.lease
        return message
    }
}
