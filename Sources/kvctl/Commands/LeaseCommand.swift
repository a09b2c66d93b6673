import ArgumentParser
import KVClient

/// `kvctl lease …`.
struct LeaseCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lease", abstract: "Keys that live as long as somebody renews them.",
        subcommands: [
            Grant.self, Revoke.self, KeepAlive.self, TimeToLive.self, List.self,
            LeaseRunCommand.self,
        ])

    struct Grant: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Grant a lease.")

        @Argument(help: "Seconds until it expires unless it is renewed.")
        var ttl: Int64

        @OptionGroup var globals: GlobalOptions

        func run() async throws {
            let client = try globals.makeClient()
            let response = try await writing(check: "kvctl lease list") {
                () throws(KVClientError) in
                try await client.leaseGrant(ttlSeconds: ttl)
            }
            Output.write(globals.printer.leaseGrant(response))
        }
    }

    struct Revoke: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "End a lease; its keys are deleted.")

        @Argument(help: "The lease, in hexadecimal.")
        var id: LeaseText

        @OptionGroup var globals: GlobalOptions

        func run() async throws {
            let client = try globals.makeClient()
            let response = try await writing(check: "kvctl lease timetolive \(id)") {
                () throws(KVClientError) in
                try await client.leaseRevoke(id.id)
            }
            Output.write(globals.printer.leaseRevoke(id.id, response))
        }
    }

    struct KeepAlive: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "keep-alive", abstract: "Renew a lease until stopped.",
            discussion: "Exits with 1 when the lease is gone.")

        @Argument(help: "The lease, in hexadecimal.")
        var id: LeaseText

        @Flag(help: "Renew once.")
        var once = false

        @OptionGroup var globals: GlobalOptions

        private static let pauseAfterFailure = Duration.milliseconds(500)

        func run() async throws {
            let client = try globals.makeClient()
            while true {
                var ttlSeconds: Int64?
                do throws(KVClientError) {
                    let response = try await client.leaseKeepAlive(id.id)
                    Output.write(globals.printer.leaseKeepAlive(response))
                    ttlSeconds = response.ttl
                } catch {
                    guard error.mayPass, !once else { throw error }
                    Output.complain("\(error); trying again")
                }
                if ttlSeconds == 0 { throw CommandFailure("") }
                if once { return }
                try await Task.sleep(
                    for: ttlSeconds.map { .milliseconds($0 * 1_000 / 3) } ?? Self.pauseAfterFailure)
            }
        }
    }

    struct TimeToLive: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "timetolive", abstract: "Show how long a lease lives yet.")

        @Argument(help: "The lease, in hexadecimal.")
        var id: LeaseText

        @Flag(help: "Show its keys, too.")
        var keys = false

        @OptionGroup var globals: GlobalOptions

        func run() async throws {
            let response = try await globals.makeClient().leaseTimeToLive(id.id, keys: keys)
            Output.write(globals.printer.leaseTimeToLive(response, keys: keys))
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List all leases.")

        @OptionGroup var globals: GlobalOptions

        func run() async throws {
            Output.write(globals.printer.leaseList(try await globals.makeClient().leaseList()))
        }
    }
}
