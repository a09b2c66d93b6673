import EtcdWire
import Testing

@testable import KVCore

/// A member, its hub and everything the hub delivered, printed.
final class Watching {
    let member = Member()
    var hub = WatchHub(revision: 1)
    var deliveries: [WatchDelivery] = []

    init(fragmentBytes: Int = 2 << 20) {
        hub = WatchHub(revision: 1, fragmentBytes: fragmentBytes)
    }

    @discardableResult
    func watch(
        _ key: String, end: String = "", stream: UInt64 = 1, start: Int64 = 0, id: Int64 = 0,
        prevKV: Bool = false, filters: WatchFilters = [], fragment: Bool = false,
        progressNotify: Bool = false
    ) -> WatchHub.CreateResult {
        var request = WatchCreateRequest()
        request.key = key.raw
        request.rangeEnd = end.raw
        request.startRevision = start
        request.watchID = id
        request.prevKV = prevKV
        request.filters = filters
        request.fragment = fragment
        request.progressNotify = progressNotify
        return hub.create(stream: stream, request, store: member.store, into: &deliveries)
    }

    /// Publishes what was applied since the last time.
    func publish() {
        hub.publish(changesOf: member.store, into: &deliveries)
    }

    func catchUp(maxBytes: Int = 1 << 20) {
        while hub.catchUp(store: member.store, maxBytes: maxBytes, into: &deliveries) == .more {}
    }

    func put(_ key: String, _ value: String = "v") {
        member.put(key, value)
        publish()
    }

    func delete(_ key: String, end: String = "") {
        member.delete(key, end: end)
        publish()
    }

    /// What was delivered since the last call, one line per message.
    func take() -> [String] {
        defer { deliveries = [] }
        return deliveries.map(describe)
    }
}

/// A delivery, read back from its encoded form: `stream/watch@revision what`.
func describe(_ delivery: WatchDelivery) -> String {
    var bytes: [UInt8] = []
    delivery.encodeResponse(ResponseHeader(clusterID: 1, memberID: 2, raftTerm: 3), into: &bytes)
    #expect(bytes.count <= delivery.byteCount + 64)
    var parts: [String] = []
    var watchID: Int64 = 0
    var revision: Int64 = 0
    do {
        var reader = WireReader(bytes[...])
        while let tag = try reader.nextTag() {
            switch tag.fieldNumber {
            case 1:
                var header = WireReader(try reader.readBytes(tag))
                while let tag = try header.nextTag() {
                    let number = try header.readInt64(tag)
                    if tag.fieldNumber == 3 { revision = number }
                }
            case 2: watchID = try reader.readInt64(tag)
            case 3: parts.append(try reader.readBool(tag) ? "created" : "")
            case 4: parts.append(try reader.readBool(tag) ? "canceled" : "")
            case 5: parts.append("compact=\(try reader.readInt64(tag))")
            case 6: parts.append("'\(String(decoding: try reader.readBytes(tag), as: UTF8.self))'")
            case 7: parts.append(try reader.readBool(tag) ? "fragment" : "")
            case 11: parts.append(try describeEvent(try reader.readBytes(tag)))
            default: parts.append("?")
            }
        }
    } catch {
        parts.append("\(error)")
    }
    if parts.isEmpty { parts = ["progress"] }
    return "\(delivery.stream)/\(watchID)@\(revision) " + parts.joined(separator: " ")
}

private func describeEvent(_ bytes: ArraySlice<UInt8>) throws -> String {
    var reader = WireReader(bytes)
    var text = "+"
    var keyValues: [String] = []
    while let tag = try reader.nextTag() {
        if tag.fieldNumber == 1 {
            text = try reader.readEnum(tag) == 1 ? "-" : "?"
            continue
        }
        var fields = WireReader(try reader.readBytes(tag))
        var key = ""
        var value = ""
        var mod: Int64 = 0
        while let tag = try fields.nextTag() {
            switch tag.fieldNumber {
            case 1: key = String(decoding: try fields.readBytes(tag), as: UTF8.self)
            case 5: value = String(decoding: try fields.readBytes(tag), as: UTF8.self)
            case 3: mod = try fields.readInt64(tag)
            default: try fields.skip(tag)
            }
        }
        keyValues.append(value.isEmpty ? "\(key)#\(mod)" : "\(key)=\(value)#\(mod)")
    }
    return text + keyValues.joined(separator: "<")
}

/// The reason given where a compaction ends a watch.
let compactedText = EtcdError.compacted.message
