import FoundationEssentials
import KVClient

/// Runs a command on every change of a range: never two at a time, never skipping a revision.
struct WatchRunner {
    /// What happens when the command fails.
    enum FailurePolicy: String, CaseIterable, Sendable {
        case retry
        case stop
    }

    let client: KVClient
    let options: WatchOptions
    let command: [String]
    let runsInitially: Bool
    let debounce: Duration?
    let onFailure: FailurePolicy

    private static let pauseAfterFailure = Duration.milliseconds(500)

    /// Runs until a signal ends it, the server refuses the watch, or the command fails and the
    /// policy is to stop.
    ///
    /// - Returns: the exit code.
    func run() async throws -> Int32 {
        let signals = EndSignals()
        let queue = ChangeQueue()
        let follower = Task { await follow(into: queue) }
        defer { follower.cancel() }
        let current = CurrentChild()
        let runner = Task { try await runCommands(from: queue, current) }
        let ending = Task {
            for await number in signals.numbers {
                await current.end(number)
                runner.cancel()
                await queue.fail(.init(.cancelled, cause: "ended by signal \(number)"))
                return number
            }
            return 0
        }
        defer { ending.cancel() }
        let result = await runner.result
        if let number = await current.endSignal { return 128 + number }
        return try result.get()
    }

    // MARK: Following

    private func follow(into queue: ChangeQueue) async {
        do {
            var reader = StateReader(client, options.range)
            var options = options
            if options.startRevision == 0 {
                let state = try await readPersistently(&reader)
                if runsInitially { await queue.give(state: state) }
                options.startRevision = state.revision + 1
            }
            let watch = client.watch(options)
            var isInterrupted = false
            while true {
                switch try await watch.next() {
                case .established(let endpoint, _):
                    if isInterrupted { Output.note("kvctl: following again at \(endpoint)") }
                    isInterrupted = false
                case .events(let events, _):
                    reader.follow(events)
                    await queue.give(events)
                case .progress: break
                case .interrupted(let error):
                    isInterrupted = true
                    Output.complain("\(error); trying again")
                case .compacted(let revision):
                    Output.note("kvctl: revision \(revision) is compacted; reading the state again")
                    let state = try await readPersistently(&reader)
                    if !state.events.isEmpty { await queue.give(state: state) }
                    await watch.restart(from: state.revision + 1)
                }
            }
        } catch let error as KVClientError {
            await queue.fail(error)
        } catch {
            await queue.fail(KVClientError(.invalidAnswer, cause: "\(error)"))
        }
    }

    /// A state that can't be read now is read later: this program stays up while servers restart.
    private func readPersistently(_ reader: inout StateReader) async throws -> ChangeBatch {
        var hasComplained = false
        while true {
            do {
                return try await reader.read()
            } catch {
                guard let failure = error as? KVClientError, failure.mayPass else { throw error }
                if !hasComplained { Output.complain("\(failure); trying again") }
                hasComplained = true
                try await Task.sleep(for: Self.pauseAfterFailure)
            }
        }
    }

    // MARK: Running

    private func runCommands(from queue: ChangeQueue, _ current: CurrentChild) async throws -> Int32
    {
        while true {
            let batch = try await queue.take(debounce: debounce)
            if Task.isCancelled { return ExitStatus.failure }
            let child = try await current.start(
                command, input: .bytes(batch.events.flatMap(Printer.commandLine)),
                environment: WatchEnvironment.variables(batch))
            guard let child else { return ExitStatus.failure }
            let status = await child.wait()
            await current.ended()
            guard status != 0 else { continue }
            Output.complain(
                "\(command[0]) failed with exit code \(status) at revision \(batch.revision)")
            switch onFailure {
            case .stop: return status
            case .retry: await queue.putBack(batch)
            }
        }
    }
}

/// etcdctl's variables, without the quotes that it puts around them.
enum WatchEnvironment {
    /// Longer values would make starting the command fail; they come on stdin only.
    static let maximumValueBytes = 64 << 10

    /// The last event's type, key and value, and the last revision.
    static func variables(_ batch: ChangeBatch) -> [String: String?] {
        var variables: [String: String?] = [
            "ETCD_WATCH_REVISION": "\(batch.revision)",
            "ETCD_WATCH_EVENT_TYPE": nil as String?,
            "ETCD_WATCH_KEY": nil as String?,
            "ETCD_WATCH_VALUE": nil as String?,
        ]
        guard let event = batch.events.last else { return variables }
        variables["ETCD_WATCH_EVENT_TYPE"] = event.typeName
        variables["ETCD_WATCH_KEY"] = .some(text(event.kv.key))
        if event.type == .put { variables["ETCD_WATCH_VALUE"] = .some(text(event.kv.value)) }
        return variables
    }

    /// Nil if it can't be a variable.
    private static func text(_ data: Data) -> String? {
        guard data.count <= maximumValueBytes, !data.contains(0) else { return nil }
        return String(validating: data, as: UTF8.self)
    }
}
