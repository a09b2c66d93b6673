/// Why the bytes of a stream are not gRPC messages that we take.
package enum MessageViolation: Equatable {
    /// The compressed flag is set.
    case compressed
    /// The compressed flag is neither 0 nor 1.
    case invalidFlag
    /// The announced length is above the limit.
    case tooLarge(bytes: Int, limit: Int)
    /// The connection holds too many bytes of incomplete messages.
    case tooManyAssemblyBytes
    /// The stream ended inside a message.
    case truncated
}

/// A gRPC message of which a part has come.
package struct MessageAssembly {
    /// Prefix bytes so far, most significant first.
    private var prefix: UInt64 = 0
    private var prefixCount = 0
    /// The announced length, once the prefix is complete and checked.
    private var expectedBytes = 0
    package private(set) var bytes: [UInt8] = []

    /// An assembly between two messages.
    package init() {}

    /// True between two messages.
    package var isEmpty: Bool { prefixCount == 0 }

    /// What `take` did.
    package enum Taken {
        /// All bytes are used up and the message is not complete.
        case incomplete
        /// The message is complete; more bytes may be left.
        case message([UInt8])
        /// The stream cannot go on.
        case violation(MessageViolation)
    }

    /// Takes bytes from `range` of what was received up to the end of one message and moves the
    /// range's start behind them.
    package mutating func take(
        from received: [UInt8], _ range: inout Range<Int>, maximumMessageBytes: Int
    ) -> Taken {
        if prefixCount < HTTP2Constant.messagePrefixBytes {
            takePrefix(from: received, &range)
            guard prefixCount == HTTP2Constant.messagePrefixBytes else { return .incomplete }
            switch Self.check(prefix: prefix, maximumMessageBytes: maximumMessageBytes) {
            case .length(let length): expectedBytes = length
            case .violation(let violation): return .violation(violation)
            }
        }
        let count = min(expectedBytes - bytes.count, range.count)
        let part = range.lowerBound..<(range.lowerBound + count)
        range = part.upperBound..<range.upperBound
        if count == expectedBytes {
            prefix = 0
            prefixCount = 0
            return .message(
                received.withUnsafeBytes { [UInt8](UnsafeRawBufferPointer(rebasing: $0[part])) })
        }
        // Not reserved at once: an announced length costs the peer five bytes, real ones cost it
        // what they cost us.
        bytes.append(contentsOf: received[part])
        guard bytes.count == expectedBytes else { return .incomplete }
        let message = bytes
        self = MessageAssembly()
        return .message(message)
    }

    private mutating func takePrefix(from received: [UInt8], _ range: inout Range<Int>) {
        if prefixCount == 0, range.count >= HTTP2Constant.messagePrefixBytes {
            let start = range.lowerBound
            prefix =
                UInt64(received[start]) << 32 | UInt64(received[start + 1]) << 24
                | UInt64(received[start + 2]) << 16 | UInt64(received[start + 3]) << 8
                | UInt64(received[start + 4])
            prefixCount = HTTP2Constant.messagePrefixBytes
            range = start + HTTP2Constant.messagePrefixBytes..<range.upperBound
            return
        }
        while prefixCount < HTTP2Constant.messagePrefixBytes, let first = range.first {
            prefix = prefix << 8 | UInt64(received[first])
            prefixCount += 1
            range = (first + 1)..<range.upperBound
        }
    }

    private enum PrefixCheck {
        case length(Int)
        case violation(MessageViolation)
    }

    /// Judges the five prefix bytes.
    private static func check(prefix: UInt64, maximumMessageBytes: Int) -> PrefixCheck {
        let length = Int(truncatingIfNeeded: prefix & 0xffff_ffff)
        switch prefix >> 32 {
        case 0: break
        case 1: return .violation(.compressed)
        default: return .violation(.invalidFlag)
        }
        guard length <= maximumMessageBytes else {
            return .violation(.tooLarge(bytes: length, limit: maximumMessageBytes))
        }
        return .length(length)
    }
}
