import Glibc

/// The program's two streams: data goes to stdout, all else to stderr.
enum Output {
    /// Data.
    static func write(_ bytes: [UInt8]) {
        put(bytes, to: STDOUT_FILENO)
    }

    /// Data.
    static func write(_ text: String) {
        put(Array(text.utf8), to: STDOUT_FILENO)
    }

    /// A line for the person at the terminal.
    static func note(_ text: String) {
        put(Array((text + "\n").utf8), to: STDERR_FILENO)
    }

    /// Text without a line's end for the person at the terminal.
    static func hint(_ text: String) {
        put(Array(text.utf8), to: STDERR_FILENO)
    }

    /// A line about what went wrong.
    static func complain(_ text: String) {
        note("\(Style.error("kvctl:", on: STDERR_FILENO)) \(text)")
    }

    static func isTerminal(_ descriptor: Int32) -> Bool {
        isatty(descriptor) == 1
    }

    private static func put(_ bytes: [UInt8], to descriptor: Int32) {
        var position = 0
        while position < bytes.count {
            // The kernel reads `$0.count` bytes at most.
            let count = bytes[position...].withUnsafeBytes {
                Glibc.write(descriptor, $0.baseAddress, $0.count)
            }
            if count > 0 {
                position += count
            } else if errno == EAGAIN {
                // Another process made the terminal non-blocking; wait until it takes more.
                var waiting = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                _ = poll(&waiting, 1, -1)
            } else if errno != EINTR {
                // The reader is gone, as in `kvctl get … | head`.
                exit(descriptor == STDOUT_FILENO ? ExitStatus.failure : ExitStatus.success)
            }
        }
    }
}

/// Colours, on terminals only, and never where `NO_COLOR` is set.
enum Style {
    static func error(_ text: String, on descriptor: Int32) -> String {
        paint(text, "31", descriptor)
    }

    static func added(_ text: String, on descriptor: Int32) -> String {
        paint(text, "32", descriptor)
    }

    static func changed(_ text: String, on descriptor: Int32) -> String {
        paint(text, "33", descriptor)
    }

    static func directory(_ text: String, on descriptor: Int32) -> String {
        paint(text, "34", descriptor)
    }

    private static func paint(_ text: String, _ code: String, _ descriptor: Int32) -> String {
        guard Output.isTerminal(descriptor), getenv("NO_COLOR") == nil else { return text }
        return "\u{1b}[\(code)m\(text)\u{1b}[0m"
    }
}
