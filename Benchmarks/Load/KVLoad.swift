import ArgumentParser

@main
struct KVLoad: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kvload",
        abstract: "Loads a server of the etcd v3 API and prints one JSON line of figures.",
        discussion: """
            What h2load can't do: many keys, streams with many messages, watches, a load that keeps to
            a schedule, one that goes on through a failover.

              kvload run put --endpoint 127.0.0.1:2379 --keys 1000000 --requests 200000
              kvload run put --rate 500 --seconds 20       latencies on a schedule
              kvload run keep-alive --connections 8 --streams 16
              kvload fill --keys 1000000                   as fast as it goes, in transactions
              kvload watch --watchers 1000 --events 200    until the last watcher has seen an event
              kvload leases --count 100000 --seconds 60    leases that all expire in one second

            Exit codes: 0 every call succeeded (or failures were allowed), 1 not so, 64 wrong usage.
            """,
        subcommands: [
            RunCommand.self, FillCommand.self, WatchCommand.self, LeasesCommand.self,
            StatusCommand.self, BodyCommand.self,
        ])
}
