import KVClient

extension Printer {
    func leaseGrant(_ response: Etcd.LeaseGrantResponse) -> [UInt8] {
        guard format != .json else {
            return jsonLine(
                Self.flat(response.header) {
                    $0.add("ID", .integer(response.id))
                    $0.add("TTL", .integer(response.ttl))
                    $0.add("Error", .string(response.error))
                })
        }
        return Array(
            "lease \(LeaseText.hex(response.id)) granted with TTL(\(response.ttl)s)\n".utf8)
    }

    func leaseRevoke(_ id: Int64, _ response: Etcd.LeaseRevokeResponse) -> [UInt8] {
        guard format != .json else {
            return jsonLine(.object([("header", Self.json(response.header))]))
        }
        return Array("lease \(LeaseText.hex(id)) revoked\n".utf8)
    }

    func leaseKeepAlive(_ response: Etcd.LeaseKeepAliveResponse) -> [UInt8] {
        guard format != .json else {
            return jsonLine(
                Self.flat(response.header) {
                    $0.add("ID", .integer(response.id))
                    $0.add("TTL", .integer(response.ttl))
                })
        }
        let id = LeaseText.hex(response.id)
        return Array(
            (response.ttl > 0
                ? "lease \(id) keepalived with TTL(\(response.ttl))\n"
                : "lease \(id) expired or revoked.\n").utf8)
    }

    func leaseTimeToLive(_ response: Etcd.LeaseTimeToLiveResponse, keys: Bool) -> [UInt8] {
        guard format != .json else {
            return jsonLine(
                Self.flat(response.header) {
                    $0.add("id", .integer(response.id))
                    $0.add("ttl", .integer(response.ttl))
                    $0.add("granted-ttl", .integer(response.grantedTtl))
                    $0.add(
                        "keys",
                        response.keys.isEmpty ? .null : .array(response.keys.map { .base64($0) }))
                })
        }
        let id = LeaseText.hex(response.id)
        guard response.grantedTtl != 0 else { return Array("lease \(id) already expired\n".utf8) }
        var text = TextBuilder()
        text.raw(
            Array(
                "lease \(id) granted with TTL(\(response.grantedTtl)s), remaining(\(response.ttl)s)"
                    .utf8))
        if keys {
            text.raw(Array(", attached keys([".utf8))
            text.raw(Array(response.keys.map(bytes).joined(separator: [UInt8(ascii: " ")])))
            text.raw(Array("])".utf8))
        }
        text.line("")
        return text.bytes
    }

    func leaseList(_ response: Etcd.LeaseLeasesResponse) -> [UInt8] {
        guard format != .json else {
            return jsonLine(
                Self.flat(response.header) {
                    $0.add(
                        "leases",
                        .array(response.leases.map { .object([("id", .integer($0.id))]) }))
                })
        }
        var text = TextBuilder()
        text.line("found \(response.leases.count) leases")
        for lease in response.leases { text.line(LeaseText.hex(lease.id)) }
        return text.bytes
    }

    /// Lease answers carry the header's fields beside their own.
    private static func flat(
        _ header: Etcd.ResponseHeader, _ build: (inout JSONObject) -> Void
    ) -> JSON {
        guard case .object(let fields) = json(header) else {
            preconditionFailure("a header is an object")
        }
        return JSONObject {
            for (name, value) in fields { $0.add(name, value) }
            build(&$0)
        }.json
    }
}
