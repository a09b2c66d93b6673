import ArgumentParser
import KVClient

/// `kvctl endpoint …`: what single servers say.
struct EndpointCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "endpoint", abstract: "Look at the servers themselves.",
        subcommands: [Health.self, Status.self])

    /// Which servers are asked.
    struct Targets: ParsableArguments {
        @Flag(help: "Ask all members of the cluster, not only --endpoints.")
        var cluster = false

        func client(_ globals: GlobalOptions) async throws(KVClientError) -> KVClient {
            let client = try globals.makeClient()
            guard cluster else { return client }
            let members = try await client.memberList().members
            var endpoints: [Endpoint] = []
            for url in members.flatMap(\.clientUrls) { endpoints.append(try Endpoint(url)) }
            return globals.makeClient(endpoints: endpoints)
        }
    }

    struct Health: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Check that each server reaches a leader and a majority.",
            discussion: "Exits with 1 if one of them doesn't.")

        @Option(help: "Try until all are healthy, at most this long.")
        var wait: DurationText?

        @OptionGroup var targets: Targets
        @OptionGroup var globals: GlobalOptions

        private static let pauseBetweenTries = Duration.milliseconds(100)

        func run() async throws {
            let deadline = ContinuousClock.now + (wait?.duration ?? .zero)
            while true {
                let checks = try await check(until: deadline)
                let isHealthy = checks.allSatisfy(\.isHealthy)
                if !isHealthy, ContinuousClock.now + Self.pauseBetweenTries < deadline {
                    try await Task.sleep(for: Self.pauseBetweenTries)
                    continue
                }
                Output.write(globals.printer.health(checks))
                guard !isHealthy else { return }
                for case .failure(let error) in checks.map(\.result) {
                    Output.complain(error.description)
                }
                throw CommandFailure("unhealthy cluster")
            }
        }

        /// Asks all at once.
        private func check(until deadline: ContinuousClock.Instant) async throws -> [EndpointHealth]
        {
            let client: KVClient
            do throws(KVClientError) {
                client = try await targets.client(globals)
            } catch {
                guard targets.cluster, error.kind != .invalidEndpoint else { throw error }
                let endpoint = try globals.endpointList()[0]
                return [EndpointHealth(endpoint: endpoint, result: .failure(error))]
            }
            return await withTaskGroup(of: (Int, EndpointHealth).self) { group in
                for index in client.endpoints.indices {
                    group.addTask {
                        let result: Result<Duration, KVClientError>
                        do throws(KVClientError) {
                            result = .success(try await client.checkHealth(at: index))
                        } catch {
                            result = .failure(error)
                        }
                        let endpoint = client.endpoints[index]
                        return (index, EndpointHealth(endpoint: endpoint, result: result))
                    }
                }
                var checks: [(Int, EndpointHealth)] = []
                for await check in group { checks.append(check) }
                return checks.sorted { $0.0 < $1.0 }.map(\.1)
            }
        }
    }

    struct Status: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show version, size, role and log position of each server.",
            discussion: "Exits with 1 if one of them doesn't answer.")

        @OptionGroup var targets: Targets
        @OptionGroup var globals: GlobalOptions

        func run() async throws {
            let client = try await targets.client(globals)
            var answers: [(endpoint: Endpoint, status: Etcd.StatusResponse)] = []
            var failureCount = 0
            for (index, endpoint) in client.endpoints.enumerated() {
                do throws(KVClientError) {
                    answers.append((endpoint, try await client.status(at: index)))
                } catch {
                    failureCount += 1
                    Output.complain(error.description)
                }
            }
            if !answers.isEmpty { Output.write(globals.printer.status(answers)) }
            guard failureCount == 0 else {
                throw CommandFailure("\(failureCount) of \(client.endpoints.count) don't answer")
            }
        }
    }
}
