import Glibc
import NIOCore

/// A non-blocking TCP socket for addresses of this family.
///
/// - Throws: `IOError` when there is none.
func makeSocket(for address: SocketAddress) throws -> Int32 {
    let isIPv6 = address.protocol == .inet6
    let kind = SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue
    let descriptor = socket(isIPv6 ? AF_INET6 : AF_INET, Int32(kind), 0)
    guard descriptor >= 0 else { throw IOError(errnoCode: errno, reason: "socket") }
    if isIPv6 {
        // `::` serves IPv4 as well, whatever the machine's default is.
        setSocketOption(descriptor, level: Int32(IPPROTO_IPV6), IPV6_V6ONLY, to: 0)
    }
    return descriptor
}

/// The addresses of a host, in the order in which they should be tried (RFC 6724). May block.
func resolve(_ host: String, port: Int) -> Result<[SocketAddress], ConnectError> {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(host, String(port), &hints, &list)
    guard code == 0 else {
        let reason = String(cString: gai_strerror(code))
        return .failure(ConnectError(failures: [], resolution: "\(host) is unknown: \(reason)"))
    }
    defer { freeaddrinfo(list) }
    let entries = sequence(first: list) { $0?.pointee.ai_next }.prefix { $0 != nil }
    return .success(entries.compactMap { $0?.pointee.ai_addr.flatMap { SocketAddress($0) } })
}

extension SocketAddress {
    /// An address as the kernel has it; nil unless it is of the internet.
    init?(_ address: UnsafePointer<sockaddr>) {
        let bytes = UnsafeRawPointer(address)
        switch Int32(address.pointee.sa_family) {
        case AF_INET: self.init(bytes.loadUnaligned(as: sockaddr_in.self))
        case AF_INET6: self.init(bytes.loadUnaligned(as: sockaddr_in6.self))
        default: return nil
        }
    }

    /// What `getsockname` or `getpeername` say of a descriptor.
    init?(
        nameOf descriptor: Int32,
        _ name: (Int32, UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
    ) {
        var storage = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let address = withUnsafeMutablePointer(to: &storage) { storage in
            storage.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                name(descriptor, address, &size) == 0 ? SocketAddress(address) : nil
            }
        }
        guard let address else { return nil }
        self = address
    }
}
