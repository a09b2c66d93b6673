// Signal sources are thread-safe (they are only cancelled here), but not marked so.
@preconcurrency import Dispatch
import Glibc

/// A command that we started.
struct ChildProcess: Sendable {
    let pid: pid_t

    /// What a command gets on stdin.
    enum Input {
        case inherited
        case bytes([UInt8])
    }

    /// Starts a command, looked up in PATH.
    ///
    /// - Parameter environment: what is set on top of ours, or with nil left out of it.
    static func start(
        _ command: [String], input: Input = .inherited, environment: [String: String?] = [:]
    ) throws(CommandFailure) -> ChildProcess {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        var descriptor: Int32 = -1
        defer { if descriptor >= 0 { close(descriptor) } }
        if case .bytes(let bytes) = input {
            descriptor = try unnamedFile(bytes)
            posix_spawn_file_actions_adddup2(&actions, descriptor, STDIN_FILENO)
        }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // What we ignore in order to handle it ourselves must reach the command as usual, and so
        // must what the threads of our pools block.
        var defaults = sigset_t()
        sigemptyset(&defaults)
        for number in [SIGINT, SIGTERM, SIGHUP, SIGPIPE] { sigaddset(&defaults, number) }
        posix_spawnattr_setsigdefault(&attributes, &defaults)
        var blocked = sigset_t()
        sigemptyset(&blocked)
        posix_spawnattr_setsigmask(&attributes, &blocked)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))

        let arguments = CStrings(command)
        let variables = CStrings(merged(environment))
        var pid: pid_t = 0
        let error = posix_spawnp(
            &pid, command[0], &actions, &attributes, arguments.pointers, variables.pointers)
        guard error == 0 else {
            throw CommandFailure("can't start \(command[0]): \(String(cString: strerror(error)))")
        }
        return ChildProcess(pid: pid)
    }

    /// Waits for the end.
    ///
    /// - Returns: the exit code, or 128 + signal as shells have it.
    func wait() async -> Int32 {
        await withCheckedContinuation { continuation in
            DispatchQueue.global().async {
                var status: Int32 = 0
                while waitpid(pid, &status, 0) < 0, errno == EINTR {}
                let signal = status & 0x7f
                continuation.resume(returning: signal == 0 ? status >> 8 & 0xff : 128 + signal)
            }
        }
    }

    func signal(_ number: Int32) {
        kill(pid, number)
    }

    /// Input through a file: a command that doesn't read can't block us, nor break a pipe.
    private static func unnamedFile(_ bytes: [UInt8]) throws(CommandFailure) -> Int32 {
        let folder = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template = Array("\(folder)/kvctl-XXXXXX".utf8CString)
        let descriptor = mkstemp(&template)
        guard descriptor >= 0 else { throw FileIO.failure("can't write into", folder) }
        unlink(template)
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        do throws(CommandFailure) {
            try FileIO.writeAll(bytes, to: descriptor, name: folder)
        } catch {
            close(descriptor)
            throw error
        }
        lseek(descriptor, 0, SEEK_SET)
        return descriptor
    }

    private static func merged(_ changes: [String: String?]) -> [String] {
        var variables: [String] = []
        var entry = environ
        while let text = entry.pointee {
            let variable = String(cString: text)
            if changes[String(variable.prefix { $0 != "=" })] == nil { variables.append(variable) }
            entry += 1
        }
        for (name, value) in changes.sorted(by: { $0.key < $1.key }) {
            if let value { variables.append("\(name)=\(value)") }
        }
        return variables
    }
}

/// A null-terminated array of C strings, freed with this object: each is a copy of its own, nobody
/// else frees it, and `posix_spawn` takes no pointer along.
private final class CStrings {
    let pointers: [UnsafeMutablePointer<CChar>?]

    init(_ texts: [String]) {
        pointers = texts.map { strdup($0) } + [nil]
    }

    deinit {
        for pointer in pointers { free(pointer) }
    }
}

/// Takes over the signals that ask the program to end.
final class EndSignals: Sendable {
    /// Arriving signals.
    let numbers: AsyncStream<Int32>

    init() {
        let (stream, continuation) = AsyncStream.makeStream(
            of: Int32.self, bufferingPolicy: .bufferingNewest(8))
        numbers = stream
        let sources = [SIGINT, SIGTERM, SIGHUP].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { continuation.yield(number) }
            source.resume()
            return source
        }
        // The stream keeps the sources alive.
        continuation.onTermination = { _ in for source in sources { source.cancel() } }
    }

    /// True if the terminal has sent the signal to our command already: Ctrl-C goes to the whole
    /// foreground group.
    static func reachesChildren(_ number: Int32) -> Bool {
        number == SIGINT && tcgetpgrp(STDIN_FILENO) == getpgrp()
    }
}
