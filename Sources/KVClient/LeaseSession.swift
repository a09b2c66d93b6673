/// A lease that is kept alive, together with what is registered under it.
///
/// `start` grants the lease and registers; `run` keeps it alive until its task is cancelled; `end`
/// revokes it. When the lease was lost, because no server could be reached for longer than its TTL
/// or because somebody revoked it, `run` grants a new one and registers again.
public actor LeaseSession {
    /// What a session is doing.
    public enum State: Equatable, Sendable {
        /// Neither granted nor registered.
        case idle
        /// The lease lives and everything is registered under it.
        case active(id: Int64, ttlSeconds: Int64)
        /// The last renewal failed; the lease may still live. It is tried again.
        case unsure(id: Int64, KVClientError)
        /// The lease is gone, and with it its keys. A new one is being granted.
        case lost(id: Int64)
        /// Granting or registering again failed; it is tried again.
        case reestablishing(KVClientError)
        /// Revoked by `end`.
        case ended
    }

    /// Puts what belongs under the lease; called with its id, again after each loss.
    public typealias Registration =
        @Sendable (_ client: KVClient, _ leaseID: Int64) async throws(KVClientError) -> Void

    /// Renewals come this many times per TTL, so that two may fail.
    private static let renewalsPerTTL: Int64 = 3

    private let client: KVClient
    private let ttlSeconds: Int64
    private let register: Registration
    private let observe: @Sendable (State) -> Void
    private var leaseID: Int64 = 0
    private var grantedSeconds: Int64 = 0
    /// What the session is doing.
    public private(set) var state = State.idle

    /// A session that has not begun.
    ///
    /// - Parameters:
    ///   - ttlSeconds: how long the lease outlives this program's last sign of life.
    ///   - onChange: told of every change of state; must return at once.
    ///   - register: puts what belongs under the lease.
    public init(
        _ client: KVClient, ttlSeconds: Int64,
        onChange: @escaping @Sendable (State) -> Void = { _ in },
        register: @escaping Registration = { (_, _) throws(KVClientError) in }
    ) {
        self.client = client
        self.ttlSeconds = ttlSeconds
        self.register = register
        observe = onChange
    }

    /// The lease's id; it changes when a lost lease is replaced.
    public var id: Int64 { leaseID }

    /// Grants the lease and registers.
    public func start() async throws(KVClientError) {
        let granted = try await client.leaseGrant(ttlSeconds: ttlSeconds)
        leaseID = granted.id
        grantedSeconds = granted.ttl
        try await register(client, granted.id)
        change(.active(id: granted.id, ttlSeconds: granted.ttl))
    }

    /// Keeps the lease alive until the task is cancelled, then returns. Throws only what no
    /// repetition can mend, such as a registration that the server refuses.
    public func run() async throws(KVClientError) {
        precondition(leaseID != 0, "a session must be started before it runs")
        var backoff = Backoff()
        var pause = renewalInterval
        while true {
            do {
                try await Task.sleep(for: pause)
            } catch {
                return
            }
            do throws(KVClientError) {
                try await renew()
                backoff = Backoff()
                pause = renewalInterval
            } catch {
                guard !Task.isCancelled else { return }
                guard error.mayPass else { throw error }
                pause = min(backoff.next(), renewalInterval)
            }
        }
    }

    /// Revokes the lease, which deletes its keys.
    public func end() async throws(KVClientError) {
        guard leaseID != 0, state != .ended else { return }
        _ = try await client.leaseRevoke(leaseID)
        change(.ended)
    }

    private var renewalInterval: Duration {
        .milliseconds(max(grantedSeconds, 1) * 1_000 / Self.renewalsPerTTL)
    }

    private func renew() async throws(KVClientError) {
        switch state {
        case .lost, .reestablishing: return try await reestablish()
        case .idle, .active, .unsure, .ended: break
        }
        do throws(KVClientError) {
            let answer = try await client.leaseKeepAlive(leaseID, timeout: renewalInterval)
            guard answer.ttl > 0 else {
                change(.lost(id: leaseID))
                return try await reestablish()
            }
            change(.active(id: leaseID, ttlSeconds: answer.ttl))
        } catch {
            if case .refused(.notFound) = error.kind {
                change(.lost(id: leaseID))
                return try await reestablish()
            }
            if !Task.isCancelled, state.isActiveOrUnsure { change(.unsure(id: leaseID, error)) }
            throw error
        }
    }

    /// Granting and registering may be repeated even if an outcome is unknown: a lease nobody
    /// renews expires, and the registration puts the same again.
    private func reestablish() async throws(KVClientError) {
        do throws(KVClientError) {
            try await start()
        } catch {
            if !Task.isCancelled { change(.reestablishing(error)) }
            throw error
        }
    }

    private func change(_ next: State) {
        guard next != state else { return }
        state = next
        observe(next)
    }
}

extension LeaseSession.State {
    fileprivate var isActiveOrUnsure: Bool {
        switch self {
        case .active, .unsure: true
        case .idle, .lost, .reestablishing, .ended: false
        }
    }
}

extension KVClientError {
    /// True if the failure speaks about servers and connections, so that it may pass by itself.
    public var mayPass: Bool {
        switch kind {
        case .unreachable, .timedOut, .outcomeUnknown: true
        case .refused(let code): FailedTry.isPassing(code) || code == .resourceExhausted
        case .invalidEndpoint, .invalidAnswer, .cancelled: false
        }
    }
}
