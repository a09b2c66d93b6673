// kvctl: Martlet's command line, for people and for scripts.
//
// It takes etcdctl's commands, flags and output, so that what one knows and what scripts expect
// stays true, and adds what is missed there: `ls`, `tree`, `edit`, `import`, `export`, commands run
// on every change, and leases held for as long as a command runs.
//
// Promises. Data goes to stdout, everything else to stderr; the exit code tells how it went (the
// table is in the help). Nothing is written twice: when the outcome of a write can't be known it
// says so and exits with 3. Values are bytes: what goes in comes out, unless `--hex` or a table is
// asked for.
//
// `Commands/` has one family of commands per file, `Input/` reads what people type, `Output/` turns
// answers into text, `Work/` holds what goes on beyond one call. Code here doesn't import the full
// Foundation: scripts start this program often.

import ArgumentParser
import Glibc
import KVClient

@main
enum Entry {
    static func main() async {
        exit(await run(Array(CommandLine.arguments.dropFirst())))
    }

    /// Runs one command line.
    ///
    /// - Returns: the exit code.
    static func run(_ arguments: [String]) async -> Int32 {
        guard !arguments.isEmpty else {
            Output.write(Examples.text)
            return ExitStatus.success
        }
        do {
            var command = try KVCtl.parseAsRoot(ArgumentRewriting.rewrite(arguments))
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
            return ExitStatus.success
        } catch let failure as CommandFailure {
            if !failure.text.isEmpty { Output.complain(failure.text) }
            return failure.status
        } catch let error as KVClientError {
            Output.complain(error.description)
            return ExitStatus.of(error)
        } catch {
            return report(usage: error)
        }
    }

    /// What the argument parser throws: help that was asked for, or a mistake in the arguments.
    private static func report(usage error: any Error) -> Int32 {
        let text = KVCtl.fullMessage(for: error)
        switch KVCtl.exitCode(for: error) {
        case .success:
            Output.write(text + "\n")
            return ExitStatus.success
        case .validationFailure:
            Output.note(text)
            return ExitStatus.usage
        case let code:
            if !text.isEmpty { Output.note(text) }
            return code.rawValue
        }
    }
}
