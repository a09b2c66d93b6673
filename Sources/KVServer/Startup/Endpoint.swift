/// A URL of the form `http://host:port`, as etcd's flags have them.
struct Endpoint: Hashable, Sendable, CustomStringConvertible {
    var host: String
    var port: Int

    var description: String {
        let isIPv6 = host.utf8.contains(UInt8(ascii: ":"))
        return isIPv6 ? "http://[\(host)]:\(port)" : "http://\(host):\(port)"
    }

    init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// Reads one URL given for `flag`.
    init(_ text: String, flag: String) throws(StartupError) {
        func invalid(_ reason: String) -> StartupError {
            StartupError(
                "\(flag) has \"\(text)\": \(reason)", remedy: "write it as http://HOST:PORT")
        }
        guard text.hasPrefix("http://") else {
            if text.hasPrefix("https://") || text.hasPrefix("unix") {
                throw invalid("only plain http is served by this version")
            }
            throw invalid("it is no URL")
        }
        var rest = text.dropFirst("http://".count)
        if rest.hasSuffix("/") { rest = rest.dropLast() }
        guard let colon = rest.lastIndex(of: ":"),
            let port = Int(rest[rest.index(after: colon)...]),
            (0...65_535).contains(port)
        else { throw invalid("the port is missing") }
        var host = String(rest[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        guard !host.isEmpty, !host.utf8.contains(UInt8(ascii: "/")) else {
            throw invalid("the host is missing")
        }
        self.host = host
        self.port = port
    }

    /// Reads a list separated by commas.
    static func list(_ text: String, flag: String) throws(StartupError) -> [Endpoint] {
        var endpoints: [Endpoint] = []
        for part in text.split(separator: ",") {
            endpoints.append(try Endpoint(String(part), flag: flag))
        }
        guard !endpoints.isEmpty else {
            throw StartupError("\(flag) is empty", remedy: "give at least one URL")
        }
        return endpoints
    }

    /// The address to bind; `localhost` means both loopback addresses.
    var bindHosts: [String] { host == "localhost" ? ["127.0.0.1", "::1"] : [host] }
}
