import FoundationEssentials
import KVClient

/// Turns answers into what is printed, in the chosen format. It only builds text; commands write it.
struct Printer {
    let format: OutputFormat
    let isHex: Bool

    /// Bytes as they are, or as `\x66\x6f` with `--hex`.
    func bytes(_ data: Data) -> [UInt8] {
        guard isHex else { return [UInt8](data) }
        return Array(data.map { "\\x" + Self.hexByte($0) }.joined().utf8)
    }

    /// A cell of a table: text that can't break it.
    func cell(_ data: Data) -> String {
        if !isHex, let text = Self.printable(data) { return text }
        return data.map { "\\x" + Self.hexByte($0) }.joined()
    }

    static func hexByte(_ byte: UInt8) -> String {
        (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }

    /// The text if it has no control characters and is valid UTF-8.
    static func printable(_ data: Data) -> String? {
        guard let text = String(validating: data, as: UTF8.self),
            text.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7f })
        else { return nil }
        return text
    }
}

/// Bytes and lines put together.
struct TextBuilder {
    private(set) var bytes: [UInt8] = []

    mutating func line(_ content: [UInt8]) {
        bytes += content
        bytes.append(UInt8(ascii: "\n"))
    }

    mutating func line(_ text: String) {
        line(Array(text.utf8))
    }

    mutating func raw(_ content: [UInt8]) {
        bytes += content
    }
}
