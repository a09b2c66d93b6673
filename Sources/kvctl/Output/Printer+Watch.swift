import FoundationEssentials
import KVClient

extension Printer {
    func watch(_ events: [Etcd.Event], revision: Int64) -> [UInt8] {
        guard format != .json else {
            return jsonLine(
                .object([
                    ("Header", .object([("revision", .integer(revision))])),
                    ("Events", .array(events.map(Self.json))),
                    ("CompactRevision", .integer(0)), ("Canceled", .bool(false)),
                    ("Created", .bool(false)),
                ]))
        }
        var text = TextBuilder()
        for event in events {
            text.line(event.typeName)
            if event.hasPrevKv { append(event.prevKv, .keysAndValues, to: &text) }
            append(event.kv, .keysAndValues, to: &text)
        }
        return text.bytes
    }

    private static func json(_ event: Etcd.Event) -> JSON {
        JSONObject {
            if event.type != .put { $0.add("type", Int64(event.type.rawValue)) }
            $0.add("kv", json(event.kv))
            if event.hasPrevKv { $0.add("prev_kv", json(event.prevKv)) }
        }.json
    }

    /// One line for a command's stdin: text as text, and anything else in base64 beside it.
    static func commandLine(_ event: Etcd.Event) -> [UInt8] {
        let json = JSONObject {
            $0.add("type", .string(event.typeName))
            addText("key", event.kv.key, to: &$0)
            if event.type == .put { addText("value", event.kv.value, to: &$0) }
            if event.hasPrevKv { addText("prev_value", event.prevKv.value, to: &$0) }
            $0.add("mod_revision", event.kv.modRevision)
            $0.add("create_revision", event.kv.createRevision)
            $0.add("version", event.kv.version)
            if event.kv.lease != 0 { $0.add("lease", .string(LeaseText.hex(event.kv.lease))) }
        }
        return Array((json.json.text + "\n").utf8)
    }

    private static func addText(_ name: String, _ data: Data, to object: inout JSONObject) {
        if let text = String(validating: data, as: UTF8.self) {
            object.add(name, .string(text))
        } else {
            object.add(name + "_base64", .base64(data))
        }
    }
}

extension Etcd.Event {
    var typeName: String {
        switch type {
        case .put: "PUT"
        case .delete: "DELETE"
        case .UNRECOGNIZED(let number): "TYPE\(number)"
        }
    }
}
