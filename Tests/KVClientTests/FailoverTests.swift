import EtcdWire
import Testing

@testable import HTTP2
@testable import KVClient

@Suite("What is repeated after a failure")
struct FailoverTests {
    private func failed(
        _ reach: GRPCCallError.Reach, _ code: GRPCStatusCode, _ effect: CallEffect,
        _ message: String = "x"
    ) -> FailedTry {
        FailedTry(
            GRPCCallError(reach: reach, status: GRPCStatus(code, message)), effect: effect,
            endpoint: "e")
    }

    private func isRepeated(_ failed: FailedTry) -> Bool {
        switch failed {
        case .repeats, .noConnection: true
        case .ends: false
        }
    }

    @Test("what never left is repeated, writes too")
    func neverSent() {
        #expect(isRepeated(failed(.neverSent, .unavailable, .writes)))
        #expect(isRepeated(failed(.neverSent, .unavailable, .reads)))
    }

    @Test("a write that may have arrived is not repeated and says that its outcome is open")
    func openWrite() {
        for code in [GRPCStatusCode.unavailable, .deadlineExceeded, .canceled, .internal] {
            let result = failed(.outcomeUnknown, code, .writes)
            #expect(!isRepeated(result))
            #expect(result.cause.kind == .outcomeUnknown)
            #expect(result.cause.description.contains("outcome unknown"))
        }
    }

    @Test("a read that may have arrived is repeated")
    func openRead() {
        #expect(isRepeated(failed(.outcomeUnknown, .unavailable, .reads)))
    }

    @Test("a timeout that the server answers leaves a write's outcome open and repeats a read")
    func answeredTimeout() {
        let text = EtcdError.timeoutDueToLeaderFailure.message
        #expect(failed(.answered, .unavailable, .writes, text).cause.kind == .outcomeUnknown)
        #expect(isRepeated(failed(.answered, .unavailable, .reads, text)))
    }

    @Test("a write that met no leader has certainly not happened, and is left to the caller")
    func noLeader() {
        let result = failed(.answered, .unavailable, .writes, EtcdError.noLeader.message)
        #expect(!isRepeated(result))
        #expect(result.cause.kind == .refused(.unavailable))
    }

    @Test(
        "a request that the server has judged is never repeated",
        arguments: [
            GRPCStatusCode.invalidArgument, .notFound, .outOfRange, .resourceExhausted,
            .failedPrecondition, .permissionDenied, .unimplemented,
        ])
    func judged(code: GRPCStatusCode) {
        for effect in [CallEffect.reads, .writes] {
            let result = failed(.answered, code, effect)
            #expect(!isRepeated(result))
            #expect(result.cause.kind == .refused(code))
        }
    }

    @Test("an error names endpoint, cause, the server's detail and the remedy")
    func text() {
        let error = GRPCCallError(
            reach: .answered, status: GRPCStatus(EtcdError.compacted),
            trailers: [ResponseField(name: "martlet-detail", value: "node n2: at 7")])
        let text = FailedTry(error, effect: .reads, endpoint: "h:1").cause.description
        #expect(
            text == "h:1: etcdserver: mvcc: required revision has been compacted (node n2: at 7); "
                + "read without --rev, or at a newer revision")
    }

    @Test("pauses between tries grow to a bound")
    func backoff() {
        var backoff = Backoff()
        let pauses = (0..<20).map { _ in backoff.next() }
        #expect(pauses[0] < .milliseconds(70))
        #expect(pauses.allSatisfy { $0 <= .milliseconds(1_250) })
        #expect(pauses[19] >= .milliseconds(750))
    }

    @Test("a client that reaches no endpoint fails at once and says which and why")
    func unreachable() async throws {
        let client = KVClient(
            KVClientConfiguration(endpoints: try Endpoint.list("127.0.0.1:1,127.0.0.1:2")))
        let started = ContinuousClock.now
        let error = await #expect(throws: KVClientError.self) {
            try await client.put([1], [2])
        }
        #expect(error?.kind == .unreachable)
        #expect(error?.description.contains("Connection refused") == true)
        #expect(ContinuousClock.now - started < .seconds(2))
        await client.shutdown()
    }
}
