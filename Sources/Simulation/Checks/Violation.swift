import RaftCore

/// A promise that was broken.
public struct Violation: Error, Sendable, CustomStringConvertible {
    /// The check that noticed, by the name of its type.
    public var check: String
    /// What it saw.
    public var detail: String

    init(_ check: String, _ detail: String) {
        self.check = check
        self.detail = detail
    }

    /// The check and what it saw.
    public var description: String { "\(check): \(detail)" }
}

extension LogPosition {
    /// Index and term, as traces and violations show them.
    var label: String { "\(index)@\(term)" }
}
