import EtcdWire
import HTTP2
import NIOCore
import SwiftProtobuf

extension KVClient {
    /// Makes a call of one message each way, at the endpoint that answered last or at the others.
    ///
    /// - Parameters:
    ///   - effect: whether the call may be repeated.
    ///   - endpoint: the index of the only endpoint to ask; nil for any.
    func call<Response: Message>(
        _ method: RPCMethod, _ request: some Message, effect: CallEffect, at endpoint: Int? = nil,
        timeout: Duration? = nil
    ) async throws(KVClientError) -> Response {
        let message: [UInt8] = Self.encode(request)
        let deadline = ContinuousClock.now + (timeout ?? configuration.commandTimeout)
        var backoff = Backoff()
        while true {
            let first = await pool.preferred
            let order =
                endpoint.map { [$0] }
                ?? pool.endpoints.indices.map { (first + $0) % pool.endpoints.count }
            var lastError: KVClientError?
            var isReachable = false
            for index in order {
                let remaining = deadline - .now
                guard remaining > .zero else { break }
                // A read leaves time for another endpoint, in case that this one is frozen.
                let share = effect == .reads && order.count > 1 ? remaining / 2 : remaining
                do {
                    let answer = try await attempt(
                        method, message, effect: effect, at: index, timeout: share)
                    if endpoint == nil, index != first { await pool.prefer(index) }
                    return try decode(answer, from: index)
                } catch {
                    switch error {
                    case .ends(let cause): throw cause
                    case .noConnection(let cause): lastError = cause
                    case .repeats(let cause):
                        lastError = cause
                        isReachable = true
                    }
                }
            }
            if Task.isCancelled { throw .cancelledByCaller }
            let failure = lastError ?? timedOut(effect)
            let pause = backoff.next()
            guard isReachable, ContinuousClock.now + pause < deadline else { throw failure }
            try? await Task.sleep(for: pause)
        }
    }

    private func attempt(
        _ method: RPCMethod, _ message: [UInt8], effect: CallEffect, at index: Int,
        timeout: Duration
    ) async throws(FailedTry) -> [UInt8] {
        let connection: GRPCClientConnection
        let started = ContinuousClock.now
        do {
            connection = try await pool.connection(index)
        } catch {
            throw .noConnection(error)
        }
        let remaining = timeout - (ContinuousClock.now - started)
        let request = GRPCRequest(
            path: method.path,
            timeoutNanoseconds: max(TimeAmount(remaining).nanoseconds, 1))
        do {
            return try await connection.unary(request, message)
        } catch {
            if error.reach != .answered, error.status.code == .unavailable {
                await pool.discard(connection, index)
            }
            let failed = FailedTry(
                error, effect: effect, endpoint: pool.endpoints[index].description)
            if Task.isCancelled, case .repeats = failed { throw .ends(.cancelledByCaller) }
            throw failed
        }
    }

    private func timedOut(_ effect: CallEffect) -> KVClientError {
        KVClientError(
            .timedOut, cause: "no answer within \(configuration.commandTimeout)",
            remedy: "raise the timeout, or look at the server's log")
    }

    private func decode<Response: Message>(
        _ bytes: [UInt8], from index: Int
    ) throws(FailedTry) -> Response {
        do {
            return try Self.decode(bytes, endpoint: pool.endpoints[index])
        } catch {
            throw .ends(error)
        }
    }

    static func encode(_ message: some Message) -> [UInt8] {
        do {
            return try message.serializedBytes()
        } catch {
            preconditionFailure("a message without required fields can't be encoded: \(error)")
        }
    }

    static func decode<Response: Message>(
        _ bytes: [UInt8], endpoint: Endpoint
    ) throws(KVClientError) -> Response {
        do {
            return try Response(serializedBytes: bytes)
        } catch {
            throw KVClientError(
                .invalidAnswer, endpoint: endpoint.description,
                cause: "the answer is no valid message: \(error)",
                remedy: "is this an etcd v3 server?")
        }
    }
}

/// Growing pauses between tries, spread so that many clients don't come back at the same moment.
struct Backoff {
    private static let firstMilliseconds = 50.0
    private static let lastMilliseconds = 1_000.0
    private var milliseconds = firstMilliseconds

    /// The next pause.
    mutating func next() -> Duration {
        defer { milliseconds = min(milliseconds * 2, Self.lastMilliseconds) }
        return .milliseconds(milliseconds * Double.random(in: 0.75...1.25))
    }
}
