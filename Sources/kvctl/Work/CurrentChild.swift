/// The command that runs now, for signals to reach it.
actor CurrentChild {
    private var child: ChildProcess?
    private(set) var endSignal: Int32?

    /// Starts a command and knows it at once: a signal comes before it, and nothing is started, or
    /// finds it. Nil when the program is about to end.
    func start(
        _ command: [String], input: ChildProcess.Input = .inherited,
        environment: [String: String?] = [:]
    ) throws(CommandFailure) -> ChildProcess? {
        guard endSignal == nil else { return nil }
        let child = try ChildProcess.start(command, input: input, environment: environment)
        self.child = child
        return child
    }

    /// To be called when the command was waited for: its process id may soon be another's.
    func ended() { child = nil }

    func end(_ number: Int32) {
        endSignal = number
        if let child, !EndSignals.reachesChildren(number) { child.signal(number) }
    }
}
