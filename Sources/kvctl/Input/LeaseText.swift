import ArgumentParser

/// A lease id as etcdctl writes it: hexadecimal, without prefix.
struct LeaseText: ExpressibleByArgument, Equatable, CustomStringConvertible {
    let id: Int64

    init(_ id: Int64) {
        self.id = id
    }

    init?(argument: String) {
        let digits = argument.hasPrefix("0x") ? argument.dropFirst(2) : argument[...]
        guard let id = UInt64(digits, radix: 16), !digits.hasPrefix("+") else { return nil }
        self.id = Int64(bitPattern: id)
    }

    var description: String { Self.hex(id) }

    /// Sixteen digits.
    static func hex(_ id: Int64) -> String {
        let digits = String(UInt64(bitPattern: id), radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
