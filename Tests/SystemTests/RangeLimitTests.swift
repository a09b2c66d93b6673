import EtcdMessages
import EtcdWire
import HTTP2
import KVCore
import NIOCore
import Testing

@testable import KVServer

/// What large ranges may take, on a clock that the tests move: who takes too much, or too long, is
/// refused or cut off, and nobody else is.
@Suite("The limits of large ranges")
struct RangeLimitTests {
    /// Answered with more than a step's bytes, so that every step waits for the client.
    private static let manyKeys = 1_000
    /// Answered with more than a stream takes ahead, but in one step.
    private static let someKeys = 200

    private static let second = TimeAmount.seconds(1)

    private static func expectCutOff(
        _ outcome: ClientCore.Outcome, _ code: GRPCStatusCode,
        _ place: SourceLocation = #_sourceLocation
    ) {
        guard case .failed(let error) = outcome else {
            Issue.record("not cut off: \(outcome)", sourceLocation: place)
            return
        }
        #expect(error.status.code == code, sourceLocation: place)
    }

    private static func expectEverything(
        _ answer: (message: [UInt8]?, outcome: ClientCore.Outcome), keys: Int
    ) throws {
        #expect(answer.outcome == .answered(.ok, trailers: []))
        let message = try #require(answer.message)
        #expect(try Etcdserverpb_RangeResponse(serializedBytes: message).kvs.count == keys)
    }

    // MARK: - Clients that take nothing

    @Test("a client that takes nothing for a minute is cut off")
    func stalled() async throws {
        let harness = try await RangeHarness(keys: Self.manyKeys)
        let call = try await harness.ask()
        try await harness.await(bytes: RangeHarness.windowBytes)
        await harness.pass(RangeStreams.stallLimit)
        #expect(try await harness.failure(of: call) == nil)
        await harness.pass(Self.second)
        #expect(try await harness.failure(of: call)?.error == .tooManyRequests)
        Self.expectCutOff(try await harness.readAll(call).outcome, .resourceExhausted)
        #expect(try await harness.isIdle)
        try await harness.close()
    }

    @Test("a client that takes a little now and then gets everything, however long it takes")
    func slow() async throws {
        let harness = try await RangeHarness(keys: Self.manyKeys)
        let call = try await harness.ask()
        for _ in 0..<6 {
            await harness.pass(RangeStreams.stallLimit - Self.second)
            try await harness.readSome(of: call)
        }
        #expect(try await !harness.isGiven(call))
        try Self.expectEverything(try await harness.readAll(call), keys: Self.manyKeys)
        #expect(try await harness.isIdle)
        try await harness.close()
    }

    @Test("a client that doesn't take the end of what was given out is cut off after a minute")
    func stalledAtTheEnd() async throws {
        let harness = try await RangeHarness(keys: Self.someKeys)
        let call = try await harness.ask()
        try await harness.await(bytes: RangeHarness.windowBytes)
        #expect(try await harness.isGiven(call))
        await harness.pass(RangeStreams.stallLimit)
        #expect(try await !harness.isIdle)
        await harness.pass(Self.second)
        #expect(try await harness.isIdle)
        Self.expectCutOff(try await harness.readAll(call).outcome, .resourceExhausted)
        try await harness.close()
    }

    @Test("a client that takes the end of what was given out after nearly a minute gets it")
    func slowAtTheEnd() async throws {
        let harness = try await RangeHarness(keys: Self.someKeys)
        let call = try await harness.ask()
        try await harness.await(bytes: RangeHarness.windowBytes)
        await harness.pass(RangeStreams.stallLimit)
        try Self.expectEverything(try await harness.readAll(call), keys: Self.someKeys)
        #expect(try await harness.isIdle)
        try await harness.close()
    }

    // MARK: - Time

    @Test("a sorted range that takes more than a minute is cut off, though its client reads")
    func sorted() async throws {
        let harness = try await RangeHarness(keys: Self.manyKeys)
        var request = RangeHarness.all
        request.sortOrder = .descend
        request.sortTarget = .value
        let call = try await harness.ask(request)
        for _ in 0..<3 {
            await harness.pass(.nanoseconds(RangeStreams.sortedLimit.nanoseconds / 3))
            try await harness.readSome(of: call)
        }
        #expect(try await harness.failure(of: call) == nil)
        await harness.pass(Self.second)
        let failure = try #require(try await harness.failure(of: call))
        #expect(failure.error == .tooManyRequests)
        #expect(failure.detail.contains("sorted"))
        Self.expectCutOff(try await harness.readAll(call).outcome, .resourceExhausted)
        try await harness.close()
    }

    @Test("a range whose client's time is over in the middle of the answer is cut off")
    func deadline() async throws {
        let harness = try await RangeHarness(keys: Self.manyKeys)
        let call = try await harness.ask(timeout: .seconds(5))
        try await harness.await(bytes: RangeHarness.windowBytes)
        await harness.pass(.seconds(4))
        #expect(try await harness.failure(of: call) == nil)
        await harness.pass(Self.second)
        #expect(try await harness.failure(of: call)?.error == .deadlineExceeded)
        // As if the client had given up itself; clients show it as their deadline.
        Self.expectCutOff(try await harness.readAll(call).outcome, .canceled)
        #expect(try await harness.isIdle)
        try await harness.close()
    }

    @Test("ranges whose clients' time is over end, though the thread hasn't come to them")
    func deadlineBeforeItsTurn() async throws {
        let harness = try await RangeHarness(keys: Self.manyKeys)
        var calls: [UInt64] = []
        for _ in 0..<200 { calls.append(try await harness.ask(timeout: .seconds(5))) }
        await harness.pass(.seconds(5))
        for call in calls {
            #expect(try await harness.failure(of: call)?.error == .deadlineExceeded)
        }
        try await harness.close()
    }

    // MARK: - Number

    @Test("512 ranges are read at once, one more is refused, and taken when another has ended")
    func number() async throws {
        let harness = try await RangeHarness(keys: Self.manyKeys)
        var calls: [UInt64] = []
        for _ in 0..<RangeStreams.maxOpen { calls.append(try await harness.ask()) }
        let refused = try await harness.ask()
        for call in calls { #expect(try await harness.failure(of: call) == nil) }
        #expect(try await harness.failure(of: refused)?.error == .tooManyRequests)
        try await harness.cancel(calls[0])
        let taken = try await harness.ask()
        #expect(try await harness.failure(of: taken) == nil)
        // Refused before its answer began: with a status.
        let answer = try await harness.readAll(refused)
        #expect(
            answer.outcome
                == .answered(GRPCStatus(EtcdError.tooManyRequests), trailers: []))
        try await harness.close()
    }

    @Test("ranges that were sent don't count, however busy their connection is")
    func busyConnection() async throws {
        let harness = try await RangeHarness(keys: 3)
        try await harness.setSocketLate(true)
        for _ in 0..<RangeStreams.maxOpen + 10 {
            let call = try await harness.ask()
            await harness.settle(call)
            #expect(try await harness.failure(of: call) == nil)
        }
        #expect(try await !harness.isIdle)
        try await harness.setSocketLate(false)
        #expect(try await harness.isIdle)
        try await harness.close()
    }
}
