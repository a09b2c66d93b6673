import RaftCore

/// Tells what happens: always as a hash, on demand as a story.
struct Trace {
    /// Over everything that happened so far, in order.
    private(set) var hash: UInt64 = 0x51_7C_C1_B7_27_22_0A_95
    /// Takes each line of the story; nil when nobody listens.
    var listener: ((String) -> Void)?

    mutating func note(_ word: UInt64) {
        let product = (hash ^ word).multipliedFullWidth(by: 0x9E37_79B9_7F4A_7C15)
        hash = product.high ^ product.low &+ 0x2545_F491_4F6C_DD1D
    }

    mutating func note(_ bytes: [UInt8]) {
        note(UInt64(bytes.count))
        bytes.withUnsafeBytes { raw in
            var offset = 0
            while offset + 8 <= raw.count {
                note(
                    UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
                )
                offset += 8
            }
            while offset < raw.count {
                note(UInt64(raw[offset]))
                offset += 1
            }
        }
    }

    func tell(_ now: Microseconds, _ line: @autoclosure () -> String) {
        guard let listener else { return }
        let millis = String(now % 1_000_000 / 1_000)
        let micros = String(now % 1_000)
        listener(
            """
            \(now / 1_000_000).\(String(repeating: "0", count: 3 - millis.count))\(millis)\
            ,\(String(repeating: "0", count: 3 - micros.count))\(micros)  \(line())
            """)
    }
}
