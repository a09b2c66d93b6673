import Glibc
import Logging
import NIOCore
import SocketTransport

extension SocketListener {
    /// Listens on all addresses of these endpoints. `localhost` is both loopback addresses, but a
    /// machine without IPv6 is no error.
    ///
    /// - Throws: as `init`, of the first address that can't be bound.
    static func all(
        of endpoints: [Endpoint], backlog: Int32, loop: SocketLoop, logger: Logger,
        addHandlers: @escaping (SocketChannel) throws -> Void
    ) throws -> [SocketListener] {
        var listeners: [SocketListener] = []
        for endpoint in endpoints {
            for host in endpoint.bindHosts {
                do {
                    listeners.append(
                        try SocketListener(
                            host: host, port: endpoint.port, backlog: backlog, loop: loop,
                            addHandlers: addHandlers
                        ) { error in
                            let remedy =
                                error.errnoCode == EMFILE
                                ? "raise the limit of open files (ulimit -n)"
                                : "the machine has no room for more"
                            logger.warning(
                                "new connections wait: \(remedy)",
                                metadata: ["at": "\(endpoint)", "error": "\(error)"])
                        })
                } catch let error as IOError where host == "::1" && error.isMissingAddress {
                    continue
                } catch {
                    for listener in listeners { listener.close() }
                    throw error
                }
            }
        }
        return listeners
    }
}

extension IOError {
    fileprivate var isMissingAddress: Bool {
        errnoCode == EADDRNOTAVAIL || errnoCode == EAFNOSUPPORT
    }
}
