import KVClient

/// How the check of one endpoint went.
struct EndpointHealth {
    let endpoint: Endpoint
    let result: Result<Duration, KVClientError>

    var isHealthy: Bool {
        switch result {
        case .success: true
        case .failure: false
        }
    }
}

extension Printer {
    func health(_ checks: [EndpointHealth]) -> [UInt8] {
        switch format {
        case .simple:
            var text = TextBuilder()
            for check in checks {
                switch check.result {
                case .success(let took):
                    text.line(
                        "\(check.endpoint) is healthy: "
                            + "successfully committed proposal: took = \(Self.goText(took))")
                case .failure: text.line("\(check.endpoint) is unhealthy")
                }
            }
            return text.bytes
        case .table:
            var table = Table(["ENDPOINT", "HEALTH", "TOOK", "ERROR"])
            for check in checks {
                switch check.result {
                case .success(let took):
                    table.add([check.endpoint.description, "true", Self.goText(took), ""])
                case .failure(let error):
                    table.add([check.endpoint.description, "false", "", error.cause])
                }
            }
            return Array(table.text.utf8)
        case .json: return jsonLine(.array(checks.map(Self.json)))
        }
    }

    private static func json(_ check: EndpointHealth) -> JSON {
        switch check.result {
        case .success(let took):
            .object([
                ("endpoint", .string(check.endpoint.description)), ("health", .bool(true)),
                ("took", .string(goText(took))),
            ])
        case .failure(let error):
            .object([
                ("endpoint", .string(check.endpoint.description)), ("health", .bool(false)),
                ("error", .string(error.description)),
            ])
        }
    }

    func status(_ answers: [(endpoint: Endpoint, status: Etcd.StatusResponse)]) -> [UInt8] {
        switch format {
        case .json: return jsonLine(.array(answers.map { Self.json($0.endpoint, $0.status) }))
        case .simple:
            var text = TextBuilder()
            for (endpoint, status) in answers {
                text.line(statusRow(endpoint, status).joined(separator: ", "))
            }
            return text.bytes
        case .table:
            var table = Table([
                "ENDPOINT", "ID", "VERSION", "DB SIZE", "IS LEADER", "IS LEARNER", "RAFT TERM",
                "RAFT INDEX", "RAFT APPLIED INDEX", "ERRORS",
            ])
            for (endpoint, status) in answers { table.add(statusRow(endpoint, status)) }
            return Array(table.text.utf8)
        }
    }

    private func statusRow(_ endpoint: Endpoint, _ status: Etcd.StatusResponse) -> [String] {
        [
            endpoint.description, String(status.header.memberID, radix: 16), status.version,
            Self.size(status.dbSize),
            "\(status.leader != 0 && status.leader == status.header.memberID)",
            "\(status.isLearner)", "\(status.raftTerm)", "\(status.raftIndex)",
            "\(status.raftAppliedIndex)", status.errors.joined(separator: ", "),
        ]
    }

    private static func json(_ endpoint: Endpoint, _ status: Etcd.StatusResponse) -> JSON {
        let content = JSONObject {
            $0.add("header", json(status.header))
            $0.add("version", .string(status.version))
            $0.add("dbSize", status.dbSize)
            $0.add("leader", status.leader)
            $0.add("raftIndex", status.raftIndex)
            $0.add("raftTerm", status.raftTerm)
            $0.add("raftAppliedIndex", status.raftAppliedIndex)
            if !status.errors.isEmpty { $0.add("errors", .array(status.errors.map(JSON.string))) }
            $0.add("dbSizeInUse", status.dbSizeInUse)
            if status.isLearner { $0.add("isLearner", .bool(true)) }
        }
        return .object([("Endpoint", .string(endpoint.description)), ("Status", content.json)])
    }

    /// A size as etcdctl prints it: two digits below 10, powers of 1000.
    static func size(_ byteCount: Int64) -> String {
        guard byteCount >= 10 else { return "\(byteCount) B" }
        var value = Double(byteCount)
        var unit = 0
        let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"]
        while value >= 1_000 {
            value /= 1_000
            unit += 1
        }
        let tenths = (value * 10 + 0.5).rounded(.down)
        return tenths < 100 && unit > 0
            ? "\(Int(tenths) / 10).\(Int(tenths) % 10) \(units[unit])"
            : "\(Int((value + 0.5).rounded(.down))) \(units[unit])"
    }

    /// A length of time as Go prints it: `1.234567ms`.
    static func goText(_ duration: Duration) -> String {
        let nanoseconds = TimeParts.nanoseconds(duration)
        switch nanoseconds {
        case ..<1_000: return "\(nanoseconds)ns"
        case ..<1_000_000: return fraction(nanoseconds, 1_000) + "µs"
        case ..<1_000_000_000: return fraction(nanoseconds, 1_000_000) + "ms"
        default: return fraction(nanoseconds, 1_000_000_000) + "s"
        }
    }

    private static func fraction(_ nanoseconds: Int64, _ unit: Int64) -> String {
        var digits = String(unit + nanoseconds % unit).dropFirst()
        while digits.last == "0" { digits.removeLast() }
        return "\(nanoseconds / unit)" + (digits.isEmpty ? "" : "." + digits)
    }
}

enum TimeParts {
    static func nanoseconds(_ duration: Duration) -> Int64 {
        let (seconds, attoseconds) = duration.components
        return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }
}
