import ArgumentParser

/// A length of time as Go writes it: `500ms`, `2s`, `1m30s`; a bare number means seconds.
struct DurationText: ExpressibleByArgument, Equatable, CustomStringConvertible {
    let duration: Duration
    let description: String

    var defaultValueDescription: String { description }

    /// A default of whole seconds.
    init(_ duration: Duration) {
        self.duration = duration
        description = "\(duration.components.seconds)s"
    }

    init?(argument: String) {
        guard let duration = Self.parse(argument) else { return nil }
        self.duration = duration
        description = argument
    }

    private static let units: [(name: String, nanoseconds: Double)] = [
        ("ns", 1), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9),
    ]

    static func parse(_ text: String) -> Duration? {
        var rest = text[...]
        var nanoseconds = 0.0
        guard !rest.isEmpty else { return nil }
        while !rest.isEmpty {
            let digits = rest.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
            guard let number = Double(digits) else { return nil }
            rest = rest[digits.endIndex...]
            let name = rest.prefix { $0.isLetter }
            rest = rest[name.endIndex...]
            if name.isEmpty {
                guard digits.count == text.count else { return nil }
                nanoseconds = number * 1e9
            } else {
                guard let unit = units.first(where: { $0.name == name }) else { return nil }
                nanoseconds += number * unit.nanoseconds
            }
        }
        guard nanoseconds < Double(Int64.max) else { return nil }
        return .nanoseconds(Int64(nanoseconds))
    }
}
