import DurableLog
import Fuzzing
import KVClient
import NIOCore

@testable import KVServer
@testable import kvctl

/// What arrives on a connection between members before the messages: frames and hellos.
struct PeerFramingTarget: FuzzTarget {
    let name = "peer-framing"
    let summary = "frames between members: cut the same in pieces of any size; hellos read back"

    private static let hello = PeerHello(
        kind: .main, clusterID: 7, sender: 2, receiver: 1,
        directoryID: DirectoryID(high: 3, low: 4), incarnation: 9)

    static func framed(_ payloads: [[UInt8]]) -> [UInt8] {
        var buffer = ByteBuffer()
        for payload in payloads { PeerFraming.append(payload, to: &buffer) }
        return [UInt8](buffer: buffer)
    }

    func seeds() -> [[UInt8]] {
        let hello = Self.hello.encoded()
        let welcomes = [
            PeerWelcome.welcome(version: PeerHello.version, incarnation: 5), .refused(reason: "no"),
        ]
        return [
            Self.framed([hello, [1, 2, 3], []]),
            Self.framed(welcomes.map { $0.encoded() }),
            Self.framed([[UInt8](repeating: 8, count: 600), hello]),
        ]
    }

    func mutate(_ input: [UInt8], _ mutator: inout Mutator) -> [UInt8] {
        guard mutator.once(in: 2) else { return mutator.damage(input) }
        var payloads = Self.cut(input, piece: input.count + 1).payloads
        mutator.rearrange(&payloads) { payload, mutator in payload = mutator.damage(payload) }
        return Self.framed(payloads)
    }

    struct Reading: Equatable {
        var payloads: [[UInt8]] = []
        var isMalformed = false
    }

    static func cut(_ input: [UInt8], piece: Int) -> Reading {
        var reading = Reading()
        var cutter = PeerFrameCutter()
        var rest = input[...]
        while !rest.isEmpty {
            var received = ByteBuffer(bytes: rest.prefix(piece))
            rest = rest.dropFirst(piece)
            cutting: while true {
                switch cutter.next(from: &received) {
                case .frame(let payload): reading.payloads.append(payload)
                case .incomplete: break cutting
                case .malformed:
                    reading.isMalformed = true
                    return reading
                }
            }
        }
        return reading
    }

    func run(_ input: [UInt8]) throws(PropertyBreach) -> Behaviour {
        var trace = BehaviourTrace()
        let whole = Self.cut(input, piece: input.count + 1)
        try Self.compare(whole, Self.cut(input, piece: 1 + Int(stableHash(input) % 30)))
        trace.note(whole.isMalformed ? "malformed" : "whole")
        for payload in whole.payloads {
            if let hello = PeerHello(payload) {
                trace.note("hello \(hello.kind)")
                try Self.checkReadsBack(hello, PeerHello(hello.encoded()))
            }
            if let welcome = PeerWelcome(payload) {
                trace.note("welcome")
                try Self.checkReadsBack(welcome, PeerWelcome(welcome.encoded()))
            }
            trace.note("frame of \(Int.bitWidth - payload.count.leadingZeroBitCount)")
        }
        return Behaviour(isAccepted: !whole.isMalformed && !whole.payloads.isEmpty, trace)
    }

    static func compare(_ whole: Reading, _ pieces: Reading) throws(PropertyBreach) {
        try require(whole == pieces, "pieces of any size mean the same")
    }

    static func checkReadsBack<Value: Equatable>(
        _ value: Value, _ again: Value?
    ) throws(PropertyBreach) {
        try require(again == value, "what was written reads back the same", "\(value)")
    }
}

/// Transactions as they are typed into `kvctl txn`.
struct TxnTextTarget: FuzzTarget {
    let name = "txn-text"
    let summary = "the text of a transaction: a usage error, or a request with what was typed"

    var tokens: [[UInt8]] {
        [
            "mod(\"", "\") ", "value", "ver", "create", "lease", "\"", "'", "\\x", "\\u00e4", "\\",
            "\n", "\n\n", "put ", "get ", "del ", " --prefix", " --lease=", " --from-key", "=", ">",
            "-", "0", "9223372036854775808", "--",
        ].map { Array($0.utf8) }
    }

    func seeds() -> [[UInt8]] {
        [
            "mod(\"key\") > \"0\"\n\nput key \"new value\"\n\nget key --prefix\n",
            "val(\"a\") = \"\\x00\\377\"\nlease(\"b\") != \"1f\"\n\ndel a b\nput c 'd'\n\n\n",
            "\nput -- -dash value\nget a --limit=3 --order=DESCEND\n\n\n",
        ].map { Array($0.utf8) }
    }

    func run(_ input: [UInt8]) throws(PropertyBreach) -> Behaviour {
        var trace = BehaviourTrace()
        var text = TxnText()
        var lineCount = 0
        for line in String(decoding: input.prefix(2_000), as: UTF8.self).split(
            separator: "\n", omittingEmptySubsequences: false)
        {
            guard let part = text.part else { break }
            do throws(CommandFailure) {
                let isEnd = try text.take(String(line))
                trace.note("\(part) \(isEnd)")
                lineCount += isEnd ? 0 : 1
            } catch {
                trace.note("\(part) refused")
                return Behaviour(isAccepted: false, trace)
            }
        }
        let request = text.request
        try Self.check(
            lines: lineCount,
            elements: request.compare.count + request.success.count + request.failure.count)
        return Behaviour(isAccepted: lineCount > 0, trace)
    }

    static func check(lines: Int, elements: Int) throws(PropertyBreach) {
        try require(lines == elements, "each line is one element", "\(elements) for \(lines)")
    }
}
