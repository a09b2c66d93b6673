import ArgumentParser
import KVClient

/// `kvctl lease run`: a registration that lives with a process.
struct LeaseRunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Hold a lease while a command runs.",
        discussion: """
            Grants a lease, puts the keys under it and starts the command. The lease is renewed
            while the command runs, granted and put again if it was lost, and revoked when the
            command ends. SIGINT and SIGTERM go on to the command, or end this program if it hasn't
            started one yet. Exits with the command's code.

              kvctl lease run --ttl 10 --put services/web/1=10.0.0.1:80 -- ./server --port 80
            """)

    @Option(help: "Seconds the keys outlive this program if it is killed.")
    var ttl: Int64 = 10

    @Option(
        help: ArgumentHelp("Put this under the lease; may be repeated.", valueName: "key=value"))
    var put: [KeyValueText] = []

    @OptionGroup var globals: GlobalOptions

    @Argument(parsing: .postTerminator, help: "The command and its arguments.")
    var command: [String] = []

    func validate() throws {
        if command.isEmpty { throw ValidationError("which command? It goes behind --") }
        if ttl <= 0 { throw ValidationError("--ttl must be positive") }
    }

    func run() async throws {
        let client = try globals.makeClient()
        let pairs = put
        let session = LeaseSession(client, ttlSeconds: ttl, onChange: Self.report) {
            (client, lease) throws(KVClientError) in
            for pair in pairs { try await client.put(pair.key, pair.value, lease: lease) }
        }
        let signals = EndSignals()
        let current = CurrentChild()
        let starting = Task { try await session.start() }
        let forwarder = Task {
            for await number in signals.numbers {
                await current.end(number)
                starting.cancel()
            }
        }
        defer { forwarder.cancel() }
        let status: Int32
        do {
            try await starting.value
            guard let child = try await current.start(command) else {
                throw CancellationError()
            }
            status = await Self.hold(session, while: child, current)
        } catch {
            try? await session.end()
            if let number = await current.endSignal {
                throw CommandFailure("", status: 128 + number)
            }
            throw error
        }
        do throws(KVClientError) {
            try await session.end()
        } catch {
            if error.kind != .refused(.notFound) {
                Output.complain("\(error); the lease ends by itself within \(ttl) s")
            }
        }
        if status != 0 { throw CommandFailure("", status: status) }
    }

    /// Keeps the session alive until the command has ended.
    private static func hold(
        _ session: LeaseSession, while child: ChildProcess, _ current: CurrentChild
    ) async -> Int32 {
        let keeper = Task {
            do throws(KVClientError) {
                try await session.run()
            } catch {
                Output.complain("the registration has ended: \(error)")
            }
        }
        let status = await child.wait()
        await current.ended()
        keeper.cancel()
        await keeper.value
        return status
    }

    @Sendable
    private static func report(_ state: LeaseSession.State) {
        switch state {
        case .active(let id, let ttl):
            Output.note("kvctl: lease \(LeaseText.hex(id)) holds, TTL \(ttl) s")
        case .unsure(_, let error): Output.complain("\(error); renewing again")
        case .lost(let id):
            Output.complain("lease \(LeaseText.hex(id)) was lost; granting a new one")
        case .reestablishing(let error): Output.complain("\(error); granting again")
        case .idle, .ended: break
        }
    }
}

/// `KEY=VALUE`; the value may hold further equals signs.
struct KeyValueText: ExpressibleByArgument, Equatable, Sendable {
    let key: [UInt8]
    let value: [UInt8]

    init?(argument: String) {
        guard let mark = argument.firstIndex(of: "="), mark != argument.startIndex else {
            return nil
        }
        key = Array(argument[..<mark].utf8)
        value = Array(argument[argument.index(after: mark)...].utf8)
    }
}
