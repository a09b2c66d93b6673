import ArgumentParser
import KVClient

/// `kvctl watch`.
struct WatchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "watch", abstract: "Follow changes, or run a command on every change.",
        discussion: """
            Goes on without a gap when a connection or a server is lost.

            With a command behind "--" it reads the present state, runs the command
            once, and again after every change: once per revision, never two at a time.
            The command gets the events as JSON lines on stdin, and the last one in
            ETCD_WATCH_EVENT_TYPE, ETCD_WATCH_KEY, ETCD_WATCH_VALUE (if it is text of
            at most 64 KiB) and ETCD_WATCH_REVISION. When it fails that is reported,
            and its events come again with the next change.

              kvctl watch config/ --prefix
              kvctl watch config/ --prefix --debounce 200ms -- systemctl reload web
              kvctl watch flag -- sh -c 'echo "flag is $ETCD_WATCH_VALUE"'
            """)

    @OptionGroup var range: RangeArguments

    @Option(help: "Follow from this revision on, past or future.")
    var rev: Int64 = 0

    @Flag(help: "Show the pair before each change, too.")
    var prevKv = false

    @Flag(help: "Show now and then how far the watch is.")
    var progressNotify = false

    @Flag(inversion: .prefixedNo, help: "Run the command for the present state first.")
    var initial = true

    @Option(help: "Wait this long after a change and merge what else comes.")
    var debounce: DurationText?

    @Option(help: "When the command fails: retry at the next change, or stop.")
    var onError = WatchRunner.FailurePolicy.retry

    @OptionGroup var globals: GlobalOptions

    @Argument(parsing: .postTerminator, help: "A command and its arguments.")
    var command: [String] = []

    func validate() throws {
        if command.isEmpty, debounce != nil || !initial || onError != .retry {
            throw ValidationError(
                "--debounce, --no-initial and --on-error need a command behind --")
        }
    }

    private var options: WatchOptions {
        var options = WatchOptions(range.range)
        options.startRevision = rev
        options.previousValues = prevKv
        options.progressNotifications = progressNotify
        return options
    }

    func run() async throws {
        let client = try globals.makeClient()
        guard command.isEmpty else {
            let runner = WatchRunner(
                client: client, options: options, command: command,
                runsInitially: initial, debounce: debounce?.duration, onFailure: onError)
            let status = try await runner.run()
            throw CommandFailure("", status: status)
        }
        try await show(client.watch(options))
    }

    private func show(_ watch: Watch) async throws {
        var isInterrupted = false
        while true {
            switch try await watch.next() {
            case .established(let endpoint, _):
                if isInterrupted { Output.note("kvctl: following again at \(endpoint)") }
                isInterrupted = false
            case .events(let events, let revision):
                Output.write(globals.printer.watch(events, revision: revision))
            case .progress(let revision):
                if progressNotify { Output.note("progress notify: \(revision)") }
            case .interrupted(let error):
                isInterrupted = true
                Output.complain("\(error); trying again")
            case .compacted(let revision):
                throw CommandFailure(
                    "the changes asked for are compacted; watch with --rev \(revision) or later, "
                        + "after reading the state")
            }
        }
    }
}

extension WatchRunner.FailurePolicy: ExpressibleByArgument {}
