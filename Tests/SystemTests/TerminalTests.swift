import Testing

/// `kvctl` as a person has it: at a terminal, with Ctrl-C and an editor.
@Suite("kvctl at a terminal", .serialized)
struct TerminalTests {
    @Test("Ctrl-C reaches a command once and ends watches and leases; txn -i asks; edit edits")
    func terminal() async throws {
        let cluster = try ProcessCluster(size: 1)
        try cluster.startAll()
        try await cluster.waitUntilServing()
        let result = try run(
            "python3",
            [
                PythonScript.path("terminal.py"), ProcessCluster.program("kvctl").path,
                cluster.endpoints,
            ])
        #expect(result.output == "ok\n", "\(result.errors)")
    }
}
