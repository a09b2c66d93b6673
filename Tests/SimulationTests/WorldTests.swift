import RaftCore
import Testing

@testable import Simulation

@Suite("A world")
struct WorldTests {
    /// A seed's own scenario, but with faults for a few seconds only.
    private func run(_ seed: UInt64) -> RunResult {
        World(seed: seed, scenario: Scenario(seed: seed, without: [], faultMicroseconds: 6_000_000))
            .run()
    }

    @Test("is the same again for the same seed", arguments: [3, 40, 77] as [UInt64])
    func repeats(seed: UInt64) {
        let first = run(seed)
        let second = run(seed)
        #expect(first.traceHash == second.traceHash)
        #expect(first.events == second.events)
        #expect(first.violation == nil)
    }

    @Test("differs from seed to seed")
    func differs() {
        #expect(run(1).traceHash != run(2).traceHash)
    }

    @Test("keeps all promises in calm weather, and does real work")
    func calm() {
        var scenario = Scenario()
        scenario.faultMicroseconds = 10_000_000
        let result = World(seed: 9, scenario: scenario).run()
        #expect(result.violation == nil)
        #expect(result.counts.writes > 50)
        #expect(result.counts.reads > 30)
        #expect(result.counts.leaseCalls > 10)
        // In the end a minority is broken, and those who had just asked it hear no more.
        #expect(result.counts.unknown <= scenario.work.sessions)
    }

    @Test("lets clients fail while no majority is there")
    func rough() {
        var scenario = Scenario()
        scenario.machine.crashEveryMicroseconds = 500_000
        scenario.faultMicroseconds = 5_000_000
        let result = World(seed: 10, scenario: scenario).run()
        #expect(result.violation == nil)
        #expect(result.counts.failures + result.counts.unknown > 0)
    }
}
