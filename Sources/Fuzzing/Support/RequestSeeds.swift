import EtcdMessages
import SwiftProtobuf

/// Requests that make sense, each behind the number of its type in `RequestTarget`.
enum RequestSeeds {
    static let all: [[UInt8]] = [
        [0] + encoded(range), [0] + encoded(sortedRange), [1] + encoded(put("key", "value")),
        [1] + encoded(leasedPut), [2] + encoded(deletion), [3] + encoded(txn), [3] + encoded(outer),
        [4]
            + encoded(
                Etcdserverpb_CompactionRequest.with { ($0.revision, $0.physical) = (3, true) }),
        [5] + encoded(Etcdserverpb_LeaseGrantRequest.with { ($0.ttl, $0.id) = (60, 7) }),
        [6] + encoded(Etcdserverpb_LeaseRevokeRequest.with { $0.id = 7 }),
        [7] + encoded(Etcdserverpb_LeaseKeepAliveRequest.with { $0.id = 7 }),
        [8] + encoded(Etcdserverpb_LeaseTimeToLiveRequest.with { ($0.id, $0.keys) = (7, true) }),
        [9] + encoded(watch),
        [9] + encoded(Etcdserverpb_WatchRequest.with { $0.cancelRequest.watchID = 5 }),
        [9] + encoded(Etcdserverpb_WatchRequest.with { $0.progressRequest = .init() }),
    ]

    static func encoded(_ message: some Message) -> [UInt8] {
        // Every field of these messages has a value that can be written.
        (try? message.serializedBytes()) ?? []
    }

    static let range = Etcdserverpb_RangeRequest.with {
        $0.key = .init("a".utf8)
        $0.rangeEnd = .init([0])
        $0.limit = 10
        $0.serializable = true
    }

    static let sortedRange = Etcdserverpb_RangeRequest.with {
        $0.key = .init([0])
        $0.rangeEnd = .init([0])
        $0.revision = 2
        $0.sortOrder = .descend
        $0.sortTarget = .value
        $0.keysOnly = true
        $0.minModRevision = 1
        $0.maxModRevision = .max
        $0.minCreateRevision = -1
        $0.maxCreateRevision = 9
    }

    static func put(_ key: String, _ value: String) -> Etcdserverpb_PutRequest {
        .with {
            $0.key = .init(key.utf8)
            $0.value = .init(value.utf8)
            $0.prevKv = true
        }
    }

    static let leasedPut = Etcdserverpb_PutRequest.with {
        $0.key = .init("leased".utf8)
        $0.lease = 7
        $0.ignoreValue = true
    }

    static let deletion = Etcdserverpb_DeleteRangeRequest.with {
        $0.key = .init("k".utf8)
        $0.rangeEnd = .init("l".utf8)
        $0.prevKv = true
    }

    static let compare = Etcdserverpb_Compare.with {
        $0.result = .greater
        $0.target = .mod
        $0.key = .init("key".utf8)
        $0.modRevision = 1
    }

    static let txn = Etcdserverpb_TxnRequest.with {
        $0.compare = [
            compare,
            .with {
                $0.target = .value
                $0.key = .init("key".utf8)
                $0.rangeEnd = .init("kez".utf8)
                $0.value = .init("value".utf8)
            },
        ]
        $0.success = [
            .with { $0.requestPut = put("key", "new") },
            .with { $0.requestRange = range },
        ]
        $0.failure = [.with { $0.requestDeleteRange = deletion }]
    }

    static let outer = Etcdserverpb_TxnRequest.with {
        $0.success = [
            .with { $0.requestTxn = txn },
            .with { $0.requestPut = put("other", "") },
        ]
    }

    static let watch = Etcdserverpb_WatchRequest.with {
        $0.createRequest = .with {
            $0.key = .init([0])
            $0.rangeEnd = .init([0])
            $0.startRevision = 1
            $0.filters = [.nodelete]
            $0.prevKv = true
            $0.watchID = 5
            $0.fragment = true
        }
    }
}

enum Answers {
    /// Fails unless the generated code reads the message and would write it the same.
    static func check<Answer: Message>(
        _ message: [UInt8], as type: Answer.Type
    ) throws(PropertyBreach) {
        var options = BinaryDecodingOptions()
        options.messageDepthLimit = 1_000
        let answer = try? Answer(serializedBytes: message, options: options)
        try require(
            answer.map(RequestSeeds.encoded) == message, "answers are canonical protobuf",
            Answer.protoMessageName)
    }
}
