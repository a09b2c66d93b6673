import FoundationEssentials
import KVClient

/// A transaction as etcdctl reads it: conditions, then what to do if they hold, then what to do if
/// not; each part ends with an empty line or the end of input.
///
///     mod("key") > "0"
///
///     put key "new value"
///
///     get key --prefix
struct TxnText {
    enum Part: Int, CaseIterable {
        case compares
        case success
        case failure

        /// What etcdctl asks for interactively.
        var prompt: String {
            switch self {
            case .compares: "compares:"
            case .success: "success requests (get, put, del):"
            case .failure: "failure requests (get, put, del):"
            }
        }
    }

    private(set) var request = Etcd.TxnRequest()
    private(set) var part: Part? = .compares

    /// Takes the next line, without its end.
    ///
    /// - Returns: true if a part has ended.
    mutating func take(_ line: String) throws(CommandFailure) -> Bool {
        guard let part else { return false }
        let words = line.drop { $0 == " " || $0 == "\t" }
        guard !words.isEmpty else {
            self.part = Part(rawValue: part.rawValue + 1)
            return true
        }
        switch part {
        case .compares: request.compare.append(try Self.compare(String(words)))
        case .success: request.success.append(try Self.operation(String(words)))
        case .failure: request.failure.append(try Self.operation(String(words)))
        }
        return false
    }

    // MARK: Conditions

    static func compare(_ line: String) throws(CommandFailure) -> Etcd.Compare {
        func malformed(_ reason: String) -> CommandFailure {
            .usage("malformed comparison: \(line): \(reason), as in mod(\"key\") > \"0\"")
        }
        guard let paren = line.firstIndex(of: "(") else { throw malformed("( is missing") }
        let target = line[..<paren]
        var scanner = WordScanner(String(line[line.index(after: paren)...]))
        guard let key = try scanner.quoted() else { throw malformed("the key needs quotes") }
        guard scanner.skip(")") else { throw malformed(") is missing") }
        let mark = scanner.mark()
        guard let value = try scanner.quoted() else { throw malformed("the value needs quotes") }
        guard scanner.isAtEnd else { throw malformed("something follows the value") }

        var compare = Etcd.Compare()
        compare.key = Data(key)
        switch mark {
        case "=", "==": compare.result = .equal
        case "!=": compare.result = .notEqual
        case ">": compare.result = .greater
        case "<": compare.result = .less
        default: throw malformed("\"\(mark)\" is none of = != > <")
        }
        func number() throws(CommandFailure) -> Int64 {
            guard let number = Int64(String(decoding: value, as: UTF8.self)) else {
                throw malformed("the value is no number")
            }
            return number
        }
        switch target {
        case "ver", "version":
            compare.target = .version
            compare.version = try number()
        case "c", "create":
            compare.target = .create
            compare.createRevision = try number()
        case "m", "mod":
            compare.target = .mod
            compare.modRevision = try number()
        case "val", "value":
            compare.target = .value
            compare.value = Data(value)
        case "lease":
            compare.target = .lease
            guard let lease = LeaseText(argument: String(decoding: value, as: UTF8.self)) else {
                throw malformed("the value is no lease id")
            }
            compare.lease = lease.id
        default: throw malformed("\"\(target)\" is none of ver, create, mod, val, lease")
        }
        return compare
    }

    // MARK: Operations

    static func operation(_ line: String) throws(CommandFailure) -> Etcd.RequestOp {
        var scanner = WordScanner(line)
        var words: [String] = []
        while let word = try scanner.word() { words.append(String(decoding: word, as: UTF8.self)) }
        var operation = Etcd.RequestOp()
        do {
            switch words[0] {
            case "put":
                let put = try PutCommand.parse(Array(words.dropFirst()))
                guard put.value != nil || put.ignoreValue else {
                    throw CommandFailure.usage("in \"\(line)\": the value is missing")
                }
                operation.requestPut = put.request(value: Array((put.value ?? "").utf8))
            case "get":
                operation.requestRange = try GetCommand.parse(Array(words.dropFirst())).request
            case "del":
                operation.requestDeleteRange =
                    try DeleteCommand.parse(Array(words.dropFirst())).request
            default:
                throw CommandFailure.usage("\"\(words[0])\" is none of get, put and del")
            }
        } catch let failure as CommandFailure {
            throw failure
        } catch {
            throw .usage("in \"\(line)\": \(KVCtl.message(for: error))")
        }
        return operation
    }
}

/// Reads words as etcdctl splits them: plain, in single quotes as they are, or in double quotes
/// with Go's escapes.
struct WordScanner {
    private let bytes: [UInt8]
    private var position = 0

    init(_ text: String) {
        bytes = Array(text.utf8)
    }

    var isAtEnd: Bool {
        mutating get {
            skipSpace()
            return position == bytes.count
        }
    }

    mutating func skip(_ character: Unicode.Scalar) -> Bool {
        skipSpace()
        guard position < bytes.count, bytes[position] == UInt8(ascii: character) else {
            return false
        }
        position += 1
        return true
    }

    /// The characters up to the next space or quote.
    mutating func mark() -> String {
        skipSpace()
        let start = position
        while position < bytes.count, !Self.isSpace(bytes[position]),
            bytes[position] != UInt8(ascii: "\"")
        {
            position += 1
        }
        return String(decoding: bytes[start..<position], as: UTF8.self)
    }

    /// The next word, or nil at the end.
    mutating func word() throws(CommandFailure) -> [UInt8]? {
        skipSpace()
        guard position < bytes.count else { return nil }
        if bytes[position] == UInt8(ascii: "'") {
            guard let end = bytes[(position + 1)...].firstIndex(of: UInt8(ascii: "'")) else {
                throw .usage("a single quote isn't closed")
            }
            defer { position = end + 1 }
            return Array(bytes[(position + 1)..<end])
        }
        if let text = try quoted() { return text }
        let start = position
        while position < bytes.count, !Self.isSpace(bytes[position]) { position += 1 }
        return Array(bytes[start..<position])
    }

    /// What stands in double quotes next, or nil if there are none.
    mutating func quoted() throws(CommandFailure) -> [UInt8]? {
        skipSpace()
        guard position < bytes.count, bytes[position] == UInt8(ascii: "\"") else { return nil }
        position += 1
        var content: [UInt8] = []
        while position < bytes.count {
            let byte = bytes[position]
            position += 1
            if byte == UInt8(ascii: "\"") { return content }
            content += byte == UInt8(ascii: "\\") ? try escape() : [byte]
        }
        throw .usage("a double quote isn't closed")
    }

    private mutating func escape() throws(CommandFailure) -> [UInt8] {
        guard position < bytes.count else { throw .usage("nothing follows a backslash") }
        let byte = bytes[position]
        position += 1
        switch byte {
        case UInt8(ascii: "n"): return [0x0a]
        case UInt8(ascii: "t"): return [0x09]
        case UInt8(ascii: "r"): return [0x0d]
        case UInt8(ascii: "a"): return [0x07]
        case UInt8(ascii: "b"): return [0x08]
        case UInt8(ascii: "f"): return [0x0c]
        case UInt8(ascii: "v"): return [0x0b]
        case UInt8(ascii: "\\"), UInt8(ascii: "\""), UInt8(ascii: "'"): return [byte]
        case UInt8(ascii: "x"): return [UInt8(try number(digits: 2, radix: 16) & 0xff)]
        case UInt8(ascii: "u"), UInt8(ascii: "U"):
            let value = try number(digits: byte == UInt8(ascii: "u") ? 4 : 8, radix: 16)
            guard let scalar = Unicode.Scalar(value) else {
                throw .usage("an escape names no character")
            }
            return Array(String(Character(scalar)).utf8)
        case UInt8(ascii: "0")...UInt8(ascii: "7"):
            position -= 1
            return [UInt8(try number(digits: 3, radix: 8) & 0xff)]
        default:
            throw .usage("unknown escape \\\(Character(Unicode.Scalar(byte)))")
        }
    }

    private mutating func number(digits: Int, radix: Int) throws(CommandFailure) -> UInt32 {
        guard position + digits <= bytes.count,
            let value = UInt32(
                String(decoding: bytes[position..<position + digits], as: UTF8.self),
                radix: radix)
        else { throw .usage("an escape has too few digits") }
        position += digits
        return value
    }

    private mutating func skipSpace() {
        while position < bytes.count, Self.isSpace(bytes[position]) { position += 1 }
    }

    private static func isSpace(_ byte: UInt8) -> Bool {
        byte == 0x20 || (0x09...0x0d).contains(byte)
    }
}
