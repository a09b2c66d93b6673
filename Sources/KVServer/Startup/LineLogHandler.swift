import FoundationEssentials
import Glibc
import Logging

/// How log lines look.
enum LogFormat: String, Sendable {
    case console
    case json
}

/// Writes one line per record to standard error: for people, or as a JSON object with fields.
struct LineLogHandler: LogHandler {
    var logLevel: Logger.Level = .info
    var metadata: Logger.Metadata = [:]
    private let format: LogFormat

    init(format: LogFormat) { self.format = format }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var fields = metadata
        for (key, value) in event.metadata ?? [:] { fields[key] = value }
        let ordered = fields.sorted { $0.key < $1.key }.map { ($0.key, "\($0.value)") }
        let time = Date().formatted(
            .iso8601.year().month().day().timeZone(separator: .omitted)
                .time(includingFractionalSeconds: true))
        var line: String
        switch format {
        case .console:
            line = "\(time) \(event.level) \(event.message)"
            for (key, value) in ordered {
                line += " \(key)=\(Self.quoted(value, onlyIfNeeded: true))"
            }
        case .json:
            let head = [("ts", time), ("level", "\(event.level)"), ("msg", "\(event.message)")]
            let pairs = (head + ordered).map { "\(Self.quoted($0.0)):\(Self.quoted($0.1))" }
            line = "{" + pairs.joined(separator: ",") + "}"
        }
        line += "\n"
        Self.writeToStandardError(Array(line.utf8))
    }

    /// A line that can't be written is lost: there is nobody left to tell.
    private static func writeToStandardError(_ line: [UInt8]) {
        var rest = line[...]
        while !rest.isEmpty {
            let written = rest.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
            if written > 0 {
                rest = rest.dropFirst(written)
            } else if written == 0 || errno != EINTR {
                return
            }
        }
    }

    private static func quoted(_ text: String, onlyIfNeeded: Bool = false) -> String {
        if onlyIfNeeded, !text.isEmpty,
            text.allSatisfy({ !$0.isWhitespace && $0 != "\"" && $0 != "=" })
        {
            return text
        }
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case "\n": quoted += "\\n"
            case "\t": quoted += "\\t"
            case "\r": quoted += "\\r"
            case _ where scalar.value < 0x20:
                quoted += "\\u00" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }
}
