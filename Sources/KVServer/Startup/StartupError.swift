/// Why the program doesn't start: what is wrong and what to do about it.
struct StartupError: Error, CustomStringConvertible {
    var cause: String
    var remedy: String

    init(_ cause: String, remedy: String) {
        self.cause = cause
        self.remedy = remedy
    }

    var description: String { "\(cause); \(remedy)" }
}
