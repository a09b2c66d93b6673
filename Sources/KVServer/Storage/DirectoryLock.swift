import DurableLog
import Glibc

/// Keeps a second process out of a data directory, for as long as this process lives.
struct DirectoryLock: ~Copyable {
    private let descriptor: Int32

    /// Makes the directory if need be and locks it.
    init(directory: String) throws(StartupError) {
        if mkdir(directory, 0o700) != 0, errno != EEXIST {
            throw StartupError(
                "the data directory \(directory) can't be made: \(String(cString: strerror(errno)))",
                remedy: "check --data-dir and its parent's permissions")
        }
        let path = directory + "/lock"
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw StartupError(
                "\(path) can't be opened: \(String(cString: strerror(errno)))",
                remedy: "check that --data-dir is writable")
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            close(descriptor)
            throw StartupError(
                "another process uses the data directory \(directory)",
                remedy: "stop it first, or give this member a --data-dir of its own")
        }
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }
}
