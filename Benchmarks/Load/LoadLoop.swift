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
        let keeper = Keeper<Self>()
        loop.execute {
            let load = make(loop)
            keeper.load = load
            load.start { promise.completeWith($0.mapError { $0 as any Error }) }
        }
        let outcome: Result<Outcome, any Error>
        do {
            outcome = .success(try await promise.futureResult.get())
        } catch {
            outcome = .failure(error)
        }
        try await group.shutdownGracefully()
        keeper.load = nil
        return try outcome.get()
    }
}

/// Keeps a load alive until its loop has ended: connections tell it of their end, too, and one may
/// still be trying when another has failed. `@unchecked Sendable`: used on the loop, and behind it.
private final class Keeper<Held>: @unchecked Sendable {
    var load: Held?
}
