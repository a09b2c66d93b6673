import ArgumentParser
import FoundationEssentials
import KVClient

/// `kvctl import`.
struct ImportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import", abstract: "Store the files of a folder as keys.",
        discussion: """
            A file's key is the prefix and its path within the folder; its content is the value,
            byte by byte. Shows the difference first ("+" new, "~" changed), then writes what
            differs. Keys without a file stay. Symbolic links are left out.

              kvctl import ./config --prefix config/ --dry-run
            """)

    @Argument(help: "The folder.", completion: .directory)
    var folder: String

    @Option(help: "What all keys begin with.")
    var prefix: String

    @Flag(help: "Only show the difference.")
    var dryRun = false

    @OptionGroup var globals: GlobalOptions

    func run() async throws {
        let client = try globals.makeClient()
        let tree = try FileTree(folder)
        for failure in tree.failures { Output.complain(failure) }
        var plan = ImportPlan(folder: Array(folder.utf8), prefix: Array(prefix.utf8))
        try await plan.compare(tree.files, with: client)
        for failure in plan.failures { Output.complain(failure) }
        for change in plan.changes {
            let key = globals.printer.cell(Data(change.key))
            Output.write(
                change.isNew
                    ? Style.added("+ \(key)", on: 1) + "\n"
                    : Style.changed("~ \(key)", on: 1) + "\n")
        }
        var failureCount = tree.failures.count + plan.failures.count
        var written = plan.changes
        if !dryRun {
            written = await write(plan, client)
            failureCount += plan.changes.count - written.count
        }
        let newCount = written.count { $0.isNew }
        Output.note(
            "kvctl: \(dryRun ? "would import" : "imported"): \(newCount) new, "
                + "\(written.count - newCount) changed, \(plan.unchangedCount) unchanged, "
                + "\(tree.skipped.count) skipped (no regular file), \(failureCount) failed")
        if failureCount > 0 { throw CommandFailure("\(failureCount) files failed") }
    }

    /// - Returns: what was written.
    private func write(_ plan: ImportPlan, _ client: KVClient) async -> [ImportPlan.Change] {
        var written: [ImportPlan.Change] = []
        var progress = ProgressLine()
        let writer = ImportWriter(client, timeout: globals.commandTimeout.duration)
        await writer.write(plan) { change, failure in
            if let failure {
                progress.interrupt { Output.complain(failure) }
            } else {
                written.append(change)
                progress.show("\(written.count) of \(plan.changes.count) keys written")
            }
        }
        progress.finish()
        return written
    }
}
