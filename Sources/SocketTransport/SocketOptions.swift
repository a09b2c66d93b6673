import Glibc
import NIOCore

/// Sets an option of a socket. What a kernel doesn't know it goes without.
func setSocketOption(_ descriptor: Int32, level: Int32, _ name: Int32, to value: Int32) {
    var value = value
    setsockopt(descriptor, level, name, &value, socklen_t(MemoryLayout<Int32>.size))
}

/// What befell a socket, for once: asking clears it. Nil when nothing did.
func takeError(of descriptor: Int32, reason: String) -> IOError? {
    var code: Int32 = 0
    var size = socklen_t(MemoryLayout<Int32>.size)
    getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &size)
    return code == 0 ? nil : IOError(errnoCode: code, reason: reason)
}
