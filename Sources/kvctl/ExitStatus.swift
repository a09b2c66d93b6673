import KVClient

/// The exit codes, as the help lists them.
enum ExitStatus {
    static let success: Int32 = 0
    static let failure: Int32 = 1
    static let usage: Int32 = 2
    static let outcomeUnknown: Int32 = 3

    static let help = """
        EXIT CODES
          0  it worked
          1  the key is missing, or the command failed; stderr says why
          2  the arguments make no sense
          3  outcome unknown: a write may have happened; stderr says how to check
          `lease run` exits with its command's code, 128 + signal if a signal ended it.
        """

    static func of(_ error: KVClientError) -> Int32 {
        switch error.kind {
        case .outcomeUnknown: outcomeUnknown
        case .invalidEndpoint: usage
        case .unreachable, .timedOut, .refused, .invalidAnswer, .cancelled: failure
        }
    }
}

/// Ends the program with a text on stderr and an exit code.
struct CommandFailure: Error, Equatable {
    let text: String
    let status: Int32

    init(_ text: String, status: Int32 = ExitStatus.failure) {
        self.text = text
        self.status = status
    }

    /// A mistake in the arguments that the parser can't see.
    static func usage(_ text: String) -> CommandFailure {
        CommandFailure(text, status: ExitStatus.usage)
    }

    /// A write whose outcome is open, with the command that shows it.
    static func outcomeUnknown(_ error: KVClientError, check: String) -> CommandFailure {
        CommandFailure(
            "outcome unknown, check with: \(check)\n  \(error)", status: ExitStatus.outcomeUnknown)
    }
}

/// Makes a write; if its outcome stays open, says which command shows it.
func writing<Answer>(
    check: @autoclosure () -> String, _ write: () async throws(KVClientError) -> Answer
) async throws -> Answer {
    let failure: KVClientError
    do throws(KVClientError) {
        return try await write()
    } catch {
        failure = error
    }
    guard failure.kind == .outcomeUnknown else { throw failure }
    throw CommandFailure.outcomeUnknown(failure, check: check())
}
