import KVClient

/// What of each key is printed.
enum KeyContent {
    case keysAndValues
    case keys
    case values
}

extension Printer {
    func get(
        _ response: Etcd.RangeResponse, content: KeyContent = .keysAndValues,
        isCountOnly: Bool = false
    ) -> [UInt8] {
        switch format {
        case .json: return jsonLine(Self.json(response))
        case .simple:
            if isCountOnly { return Array("\(response.count)\n".utf8) }
            var text = TextBuilder()
            for kv in response.kvs { append(kv, content, to: &text) }
            return text.bytes
        case .table:
            var table = Table(["KEY", "VALUE", "CREATED AT", "CHANGED AT", "VERSION", "LEASE"])
            for kv in response.kvs { table.add(row(kv)) }
            return Array(table.text.utf8)
        }
    }

    func put(_ response: Etcd.PutResponse) -> [UInt8] {
        guard format != .json else { return jsonLine(Self.json(response)) }
        var text = TextBuilder()
        text.line("OK")
        if response.hasPrevKv { append(response.prevKv, .keysAndValues, to: &text) }
        return text.bytes
    }

    func delete(_ response: Etcd.DeleteRangeResponse) -> [UInt8] {
        guard format != .json else { return jsonLine(Self.json(response)) }
        var text = TextBuilder()
        text.line("\(response.deleted)")
        for kv in response.prevKvs { append(kv, .keysAndValues, to: &text) }
        return text.bytes
    }

    func txn(_ response: Etcd.TxnResponse) -> [UInt8] {
        guard format != .json else { return jsonLine(Self.json(response)) }
        var text = TextBuilder()
        text.line(response.succeeded ? "SUCCESS" : "FAILURE")
        for operation in response.responses {
            text.line("")
            switch operation.response {
            case .responseRange(let range): text.raw(get(range))
            case .responsePut(let put): text.raw(self.put(put))
            case .responseDeleteRange(let deletion): text.raw(delete(deletion))
            case .responseTxn(let nested): text.raw(txn(nested))
            case nil: break
            }
        }
        return text.bytes
    }

    func append(_ kv: Etcd.KeyValue, _ content: KeyContent, to text: inout TextBuilder) {
        switch content {
        case .keysAndValues:
            text.line(bytes(kv.key))
            text.line(bytes(kv.value))
        case .keys:
            text.line(bytes(kv.key))
            text.line("")  // etcdctl prints the empty value, and scripts count on it.
        case .values: text.line(bytes(kv.value))
        }
    }

    private func row(_ kv: Etcd.KeyValue) -> [String] {
        [
            cell(kv.key), cell(kv.value), "\(kv.createRevision)", "\(kv.modRevision)",
            "\(kv.version)", kv.lease == 0 ? "" : LeaseText.hex(kv.lease),
        ]
    }
}
