import ArgumentParser

/// The program `kvctl`.
struct KVCtl: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kvctl",
        abstract: "Reads, writes and follows a Martlet cluster, or any etcd v3 server.",
        discussion: """
            Flags and output are etcdctl's. `kvctl` alone shows examples, and
            `kvctl help COMMAND` the details. The servers are given by --endpoints,
            MARTLET_ENDPOINTS or ETCDCTL_ENDPOINTS.

            \(ExitStatus.help)
            """,
        version: VersionCommand.text,
        groupedSubcommands: [
            CommandGroup(
                name: "KEYS",
                subcommands: [
                    GetCommand.self, PutCommand.self, DeleteCommand.self, TxnCommand.self,
                    WatchCommand.self,
                    LeaseCommand.self,
                ]),
            CommandGroup(
                name: "FOLDERS",
                subcommands: [
                    ListCommand.self, TreeCommand.self, EditCommand.self, ImportCommand.self,
                    ExportCommand.self,
                ]),
            CommandGroup(
                name: "CLUSTER",
                subcommands: [
                    EndpointCommand.self, MemberCommand.self, CompactionCommand.self,
                    SnapshotCommand.self, VersionCommand.self,
                ]),
        ])
}

/// What `kvctl` says when it is given nothing to do.
enum Examples {
    static let text = """
        kvctl reads, writes and follows a Martlet cluster. Ten examples:

          kvctl put greeting hello                        write a key
          kvctl get greeting                              read it
          kvctl get --prefix config/ -w table             read many
          kvctl tree                                      see what there is
          kvctl edit config/app.yaml                      change a value in your editor
          kvctl import ./config --prefix config/          store a folder, shows the difference first
          kvctl watch config/ --prefix                    follow changes
          kvctl watch config/ --prefix -- ./reload.sh     run a command now and on every change
          kvctl lease run --ttl 10 --put services/web/1=10.0.0.1:80 -- ./server
                                                          a registration that lives with a process
          kvctl endpoint status -w table                  look at the servers

        kvctl --help lists all commands, flags and exit codes.

        """
}
