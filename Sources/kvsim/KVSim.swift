import ArgumentParser

@main
struct KVSim: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kvsim",
        abstract: "Runs whole Martlet clusters in simulated worlds and looks for broken promises.",
        discussion: """
            A world is made of one seed; the same seed gives the same world everywhere.

              kvsim run --seeds 1000             a thousand worlds of about a minute each
              kvsim run --seeds 50 --from 700    fifty others
              kvsim replay 712                   one world, checks only
              kvsim replay 712 --trace           one world, told as a story
              kvsim shrink 712                   which faults it takes, and for how long
              kvsim crash-points                 power lost at every disk call of scripted scenarios

            Exit codes: 0 all promises kept, 1 one was broken, 64 wrong usage.
            """,
        subcommands: commands)

    private static var commands: [ParsableCommand.Type] {
        var commands: [ParsableCommand.Type] = [
            RunCommand.self, ReplayCommand.self, ShrinkCommand.self, CrashPointsCommand.self,
            WorkerCommand.self,
        ]
        #if MUTATIONS
            commands.append(MutantsCommand.self)
        #endif
        return commands
    }
}
