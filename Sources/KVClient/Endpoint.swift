/// Where a server listens.
public struct Endpoint: Hashable, Sendable, CustomStringConvertible {
    /// The port that etcd clients use by default.
    public static let defaultPort = 2_379

    /// A name or an address; IPv6 addresses without brackets.
    public let host: String
    /// The TCP port.
    public let port: Int
    /// As it was written.
    public let description: String

    /// Reads `host:port`, `http://host:port`, `[::1]:port`, or a host alone.
    public init(_ text: String) throws(KVClientError) {
        var rest = text[...]
        if let scheme = text.range(ofScheme: "://") {
            guard text[..<scheme] == "http" else {
                throw Self.invalid(text, "only http:// is supported, without TLS")
            }
            rest = text[text.index(scheme, offsetBy: 3)...]
        }
        if rest.hasSuffix("/") { rest = rest.dropLast() }
        let hostText: Substring
        if rest.hasPrefix("["), let bracket = rest.firstIndex(of: "]") {
            hostText = rest[rest.index(after: rest.startIndex)..<bracket]
            rest = rest[rest.index(after: bracket)...]
        } else {
            hostText = rest.prefix { $0 != ":" }
            rest = rest[hostText.endIndex...]
        }
        guard !hostText.isEmpty, !hostText.contains("/"), !hostText.contains(" ") else {
            throw Self.invalid(text, "the host is missing")
        }
        if rest.isEmpty {
            port = Self.defaultPort
        } else {
            guard rest.hasPrefix(":"), let number = UInt16(rest.dropFirst()), number > 0 else {
                throw Self.invalid(text, "the port is no number from 1 to 65535")
            }
            port = Int(number)
        }
        host = String(hostText)
        description = text
    }

    /// Reads a list separated by commas.
    public static func list(_ text: String) throws(KVClientError) -> [Endpoint] {
        var endpoints: [Endpoint] = []
        for part in text.split(separator: ",") {
            endpoints.append(try Endpoint(String(part)))
        }
        guard !endpoints.isEmpty else {
            throw invalid(text, "the list of endpoints is empty")
        }
        return endpoints
    }

    /// What `:authority` says.
    var authority: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

    private static func invalid(_ text: String, _ reason: String) -> KVClientError {
        KVClientError(
            .invalidEndpoint, cause: "\"\(text)\" is no endpoint: \(reason)",
            remedy: "write it as http://HOST:PORT")
    }
}

extension String {
    /// Where `mark` begins, or nil.
    fileprivate func range(ofScheme mark: String) -> Index? {
        indices.first { self[$0...].hasPrefix(mark) }
    }
}
