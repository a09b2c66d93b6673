import ArgumentParser
import KVClient

/// `kvctl snapshot …`.
struct SnapshotCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshot", abstract: "Save the whole store to a file.",
        subcommands: [Save.self, Status.self])

    struct Save: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Download a snapshot.",
            discussion: """
                Takes it from the first of --endpoints that answers. The file appears under its
                name only when it is complete, verified and on disk.
                """)

        @Argument(help: "Where to.", completion: .file())
        var file: String

        @OptionGroup var globals: GlobalOptions

        func run() async throws {
            let client = try globals.makeClient()
            for index in client.endpoints.indices {
                let aside = try AsideFile(file)
                do {
                    try await Self.download(from: index, client, to: aside)
                } catch {
                    let isLast = index == client.endpoints.count - 1
                    guard !isLast, let failure = error as? KVClientError, failure.mayPass else {
                        throw error
                    }
                    Output.complain("\(failure); trying the next endpoint")
                    continue
                }
                try aside.commit(isSynced: true)
                Output.write("Snapshot saved at \(file)\n")
                return
            }
        }

        private static func download(
            from index: Int, _ client: KVClient, to aside: AsideFile
        ) async throws {
            var progress = ProgressLine()
            defer { progress.finish() }
            // Behind a snapshot that the member writes for itself this takes seconds.
            progress.show("waiting for \(client.endpoints[index]) to give out its state")
            var byteCount = 0
            _ = try await client.snapshot(at: index) { bytes in
                try aside.write(bytes)
                byteCount += bytes.count
                progress.show("\(byteCount >> 20) MiB received")
            }
        }
    }

    struct Status: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Verify a snapshot file and show what is in it.",
            discussion: "Exits with 1 if the file is damaged or no snapshot.")

        @Argument(help: "The file.", completion: .file())
        var file: String

        @OptionGroup var globals: GlobalOptions

        func run() throws {
            let summary = try SnapshotSummary(file: file)
            Output.write(globals.printer.snapshot(summary))
        }
    }
}
