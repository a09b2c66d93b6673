import KVClient

extension Printer {
    func members(_ response: Etcd.MemberListResponse) -> [UInt8] {
        switch format {
        case .simple:
            var text = TextBuilder()
            for member in response.members { text.line(Self.row(member).joined(separator: ", ")) }
            return text.bytes
        case .table:
            var table = Table([
                "ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER",
            ])
            for member in response.members { table.add(Self.row(member)) }
            return Array(table.text.utf8)
        case .json:
            return jsonLine(
                JSONObject {
                    $0.add("header", Self.json(response.header))
                    $0.add("members", .array(response.members.map(Self.json)))
                }.json)
        }
    }

    private static func row(_ member: Etcd.Member) -> [String] {
        [
            String(member.id, radix: 16), member.name.isEmpty ? "unstarted" : "started",
            member.name, member.peerUrls.joined(separator: ","),
            member.clientUrls.joined(separator: ","), "\(member.isLearner)",
        ]
    }

    private static func json(_ member: Etcd.Member) -> JSON {
        JSONObject {
            $0.add("ID", member.id)
            $0.add("name", .string(member.name))
            $0.add("peerURLs", .array(member.peerUrls.map(JSON.string)))
            $0.add("clientURLs", .array(member.clientUrls.map(JSON.string)))
            if member.isLearner { $0.add("isLearner", .bool(true)) }
        }.json
    }
}
