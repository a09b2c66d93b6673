import ArgumentParser
import NIOCore
import NIOPosix

/// The server to load.
struct Server: Sendable {
    let host: String
    let port: Int
}

/// Where the load goes, as flags.
struct ServerOptions: ParsableArguments {
    @Option(help: "Host and port of the server.")
    var endpoint = "127.0.0.1:2379"

    var server: Server {
        get throws {
            let parts = endpoint.split(separator: ":")
            guard parts.count == 2, let port = Int(parts[1]) else {
                throw ValidationError("--endpoint is HOST:PORT, not \(endpoint)")
            }
            return Server(host: String(parts[0]), port: port)
        }
    }
}

/// Why a load could not be made.
struct LoadError: Error, CustomStringConvertible {
    let description: String
}

/// A load: lives on one event loop, and tells when it is done.
protocol Load: LoadReceiver, SendableMetatype {
    associatedtype Outcome: Sendable
    /// Begins; calls `done` on the loop, once.
    func start(done: @escaping (Result<Outcome, LoadError>) -> Void)
}

extension Load {
    /// Makes a load on an event loop of its own and waits for its outcome.
    static func run(_ make: @escaping @Sendable (any EventLoop) -> Self) async throws -> Outcome {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        let promise = loop.makePromise(of: Outcome.self)
        loop.execute {
            let load = make(loop)
            let keeper = Keeper(load)
            load.start { result in
                keeper.load = nil
                promise.completeWith(result.mapError { $0 as any Error })
            }
        }
        let outcome: Outcome
        do {
            outcome = try await promise.futureResult.get()
        } catch {
            try await group.shutdownGracefully()
            throw error
        }
        try await group.shutdownGracefully()
        return outcome
    }
}

/// Keeps a load alive until it is done.
private final class Keeper<Held> {
    var load: Held?
    init(_ load: Held) { self.load = load }
}
