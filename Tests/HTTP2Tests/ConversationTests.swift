import EtcdWire
import NIOCore
import TestSupport
import Testing

@testable import HTTP2

/// A client core and a server core joined by two byte pipes that deliver in random pieces.
final class Conversation {
    let server: ServerHarness
    let client: ClientHarness
    var toServer: [UInt8] = []
    var toClient: [UInt8] = []
    var generator: Seeded

    init(seed: UInt64, limits: HTTP2Limits) {
        generator = Seeded(seed: seed)
        server = ServerHarness(limits: limits, handshake: false)
        client = ClientHarness(limits: limits, handshake: false)
    }

    /// Moves a random piece in each direction; false when there was nothing to move.
    func step() -> Bool {
        toServer += client.sentBytes()
        toClient += server.sentBytes()
        guard !toServer.isEmpty || !toClient.isEmpty else { return false }
        if !toServer.isEmpty {
            let count = 1 + generator.below(min(toServer.count, 40_000))
            server.feed(Array(toServer.prefix(count)))
            toServer.removeFirst(count)
        }
        if !toClient.isEmpty {
            let count = 1 + generator.below(min(toClient.count, 40_000))
            client.feed(Array(toClient.prefix(count)))
            toClient.removeFirst(count)
        }
        return true
    }

    func run() {
        while step() {}
    }
}

@Suite("Our client and our server understand each other")
struct ConversationTests {
    private func echo(_ conversation: Conversation) {
        conversation.server.react = { server, event in
            switch event {
            case .message(let id, _, let message, let isLast):
                server.send(id, message.reversed())
                if isLast { self.finish(server, id) }
            case .ended(let id, _): self.finish(server, id)
            case .request, .cancelled, .drained, .failed: break
            }
        }
    }

    private let outcome = ClientCore.Outcome.answered(
        GRPCStatus(.keyNotFound), trailers: [ResponseField(name: "martlet-detail", value: "x")])

    private func finish(_ server: ServerHarness, _ stream: UInt32) {
        server.core.finish(
            StreamID(stream), GRPCStatus(.keyNotFound), trailers: [("martlet-detail", "x")])
    }

    @Test("unary and streaming calls of every size, in random pieces", arguments: 1...8)
    func calls(seed: Int) {
        var limits = HTTP2Limits()
        limits.streamReceiveWindowBytes = 70_000
        limits.connectionReceiveWindowBytes = 100_000
        let conversation = Conversation(seed: UInt64(seed), limits: limits)
        echo(conversation)
        var expected: [UInt64: [[UInt8]]] = [:]
        var outcomes: [UInt64: ClientCore.Outcome] = [:]
        for tag in UInt64(1)...40 {
            let isUnary = conversation.generator.below(2) == 0
            let sizes = [0, 1, 100, 16_379, 16_380, 50_000, 200_000]
            func message() -> [UInt8] {
                conversation.generator.bytes(sizes[conversation.generator.below(sizes.count)])
            }
            if isUnary {
                let body = message()
                expected[tag] = [body.reversed()]
                conversation.client.unary(tag: tag, body)
            } else {
                let stream = conversation.client.open(tag: tag)
                for _ in 0..<conversation.generator.below(4) {
                    let body = message()
                    expected[tag, default: []].append(body.reversed())
                    conversation.client.core.engine.sendMessage(stream, head: []) {
                        $0.writeBytes(body)
                    }
                }
                conversation.client.core.engine.sendEnd(stream, [])
            }
            outcomes[tag] = outcome
            for _ in 0..<conversation.generator.below(5) { _ = conversation.step() }
            consume(conversation)
        }
        while conversation.step() { consume(conversation) }
        var messages: [UInt64: [[UInt8]]] = [:]
        var seen: [UInt64: ClientCore.Outcome] = [:]
        for event in conversation.client.events {
            switch event {
            case .message(let tag, let body): messages[tag, default: []].append(body)
            case .finished(let tag, let outcome): seen[tag] = outcome
            case .failed, .draining: Issue.record("\(event)")
            case .drained, .settled, .pingAnswered: break
            }
        }
        #expect(messages == expected)
        #expect(seen == outcomes)
        #expect(conversation.server.openStreams == 0 && conversation.client.openStreams == 0)
        #expect(conversation.server.unsentBytes == 0)
    }

    /// Takes everything that the client has been given.
    private func consume(_ conversation: Conversation) {
        for slot in conversation.client.core.engine.streams.slotIndices {
            let id = conversation.client.core.engine.streams[slot].id
            let bytes = conversation.client.core.engine.streams[slot].unconsumedBytes
            if id != 0, bytes > 0 {
                conversation.client.core.engine.consume(StreamID(id), bytes: bytes)
            }
        }
    }

    @Test("a graceful end lets every call finish or proves it unprocessed") func gracefulEnd() {
        for seed in 1...20 {
            let conversation = Conversation(seed: UInt64(seed), limits: HTTP2Limits())
            echo(conversation)
            var started: UInt64 = 0
            for round in 0..<60 {
                if round == 20 { conversation.server.core.engine.beginShutdown() }
                if conversation.client.core.engine.failure == nil {
                    started += 1
                    conversation.client.unary(tag: started, [UInt8(round)])
                }
                _ = conversation.step()
            }
            conversation.run()
            var answered = 0
            var refused = 0
            for event in conversation.client.events {
                switch event {
                case .finished(_, .answered(let status, _)):
                    #expect(status == GRPCStatus(.keyNotFound))
                    answered += 1
                case .finished(_, .failed(let error)):
                    #expect(error.reach == .neverSent)
                    refused += 1
                case .failed: Issue.record("\(event)")
                case .message, .drained, .settled, .draining, .pingAnswered: break
                }
            }
            #expect(answered + refused == Int(started))
            #expect(answered > 0 && refused > 0)
            #expect(conversation.server.isShutDown)
        }
    }
}

@Suite("Hostile conversations")
struct FuzzTests {
    /// A valid conversation as the bytes of its client.
    private func recording(seed: UInt64) -> [UInt8] {
        let conversation = Conversation(seed: seed, limits: HTTP2Limits())
        var bytes: [UInt8] = []
        for tag in UInt64(1)...6 {
            if tag % 2 == 0 {
                conversation.client.unary(tag: tag, conversation.generator.bytes(60))
            } else {
                let stream = conversation.client.open(tag: tag)
                for _ in 0..<3 {
                    let message = conversation.generator.bytes(conversation.generator.below(90))
                    conversation.client.core.engine.sendMessage(stream, head: []) {
                        $0.writeBytes(message)
                    }
                }
                if tag % 3 == 0 { conversation.client.core.engine.sendEnd(stream, []) }
                if tag % 5 == 0 { conversation.client.core.engine.resetStream(stream, .cancel) }
            }
            bytes += conversation.client.sentBytes()
        }
        bytes += TestFrame.settings([(4, 100)]).bytes + TestFrame.windowUpdate(0, 999).bytes
        bytes += TestFrame.ping().bytes + TestFrame.settingsAck.bytes
        return bytes
    }

    /// Changes bytes, and swaps, drops, repeats or cuts whole frames.
    private func mutate(_ bytes: [UInt8], _ generator: inout Seeded) -> [UInt8] {
        let preface = HTTP2Constant.preface.count
        var frames = TestFrame.parse(Array(bytes.dropFirst(preface)))
        for _ in 0..<(1 + generator.below(4)) {
            let index = generator.below(frames.count)
            switch generator.below(9) {
            case 0: frames.swapAt(index, generator.below(frames.count))
            case 1 where frames.count > 1: frames.remove(at: index)
            case 2: frames.insert(frames[index], at: generator.below(frames.count + 1))
            case 3: frames[index].flags = UInt8(truncatingIfNeeded: generator.next())
            case 4: frames[index].type = UInt8(generator.below(11))
            case 5: frames[index].stream = UInt32(generator.below(16))
            case 6: frames[index].payload = generator.bytes(generator.below(40))
            case 7:
                frames[index].payload.removeLast(min(1, frames[index].payload.count))
            default:
                if !frames[index].payload.isEmpty {
                    let place = generator.below(frames[index].payload.count)
                    frames[index].payload[place] = UInt8(truncatingIfNeeded: generator.next())
                }
            }
        }
        var mutated = Array(bytes.prefix(preface)) + frames.flatMap(\.bytes)
        if generator.below(3) == 0 {
            mutated[generator.below(mutated.count)] = UInt8(truncatingIfNeeded: generator.next())
        }
        return mutated
    }

    @Test(
        "mutated clients never trap the server, and its memory stays bounded",
        arguments: 1...8)
    func server(seed: Int) {
        var generator = Seeded(seed: UInt64(seed) &* 77)
        let original = recording(seed: UInt64(seed))
        var limits = HTTP2Limits()
        limits.maximumAssemblyBytes = 10_000
        limits.maximumMessageBytes = 5_000
        var failed = 0
        for _ in 0..<400 {
            let bytes = mutate(original, &generator)
            let server = ServerHarness(limits: limits, handshake: false)
            server.react = { server, event in
                switch event {
                case .message(let id, _, let message, let isLast):
                    server.send(id, message + message)
                    if isLast { server.core.finish(StreamID(id), .ok, trailers: []) }
                case .ended(let id, _): server.core.finish(StreamID(id), .ok, trailers: [])
                case .request, .cancelled, .drained, .failed: break
                }
            }
            var position = 0
            while position < bytes.count {
                let count = min(1 + generator.below(200), bytes.count - position)
                server.feed(Array(bytes[position..<(position + count)]))
                // What is sent must be frames, whatever came in.
                _ = server.sent()
                position += count
                #expect(server.assemblyBytes <= 10_000)
                #expect(server.heldBytes <= 16_393 + 200)
            }
            #expect(orderBreach(server.events) == nil)
            if case .failed? = server.events.last { failed += 1 }
            if server.core.engine.failure == nil { checkCounts(server) }
        }
        #expect(failed > 40 && failed < 400)
    }

    /// The first event against the order that `GRPCService` promises.
    private func orderBreach(_ events: [ServerHarness.Event]) -> ServerHarness.Event? {
        var open: Set<UInt32> = []
        var ended: Set<UInt32> = []
        for (index, event) in events.enumerated() {
            let isRight =
                switch event {
                case .request(let id, _, let isEnd):
                    open.insert(id).inserted && (!isEnd || ended.insert(id).inserted)
                case .message(let id, let tag, _, let isLast):
                    open.contains(id) && !ended.contains(id) && tag == UInt64(id) + 1_000
                        && (!isLast || ended.insert(id).inserted)
                case .ended(let id, _): open.contains(id) && ended.insert(id).inserted
                case .cancelled(let id, _): open.remove(id) != nil
                case .drained(let id, _): open.contains(id)
                case .failed: index == events.count - 1
                }
            if !isRight { return event }
        }
        return nil
    }

    @Test("the order check sees each kind of disorder") func orderCheck() {
        let start = ServerHarness.Event.request(1, path: "/", isEnd: false)
        let last = ServerHarness.Event.message(1, tag: 1_001, [], isLast: true)
        #expect(orderBreach([start, last, .cancelled(1, tag: 0), .failed(1)]) == nil)
        let disorders: [[ServerHarness.Event]] = [
            [start, start], [last], [start, last, last], [start, last, .ended(1, tag: 1_001)],
            [start, .message(1, tag: 7, [], isLast: false)], [.cancelled(1, tag: 0)],
            [start, .cancelled(1, tag: 0), last], [.drained(1, tag: 0)], [.failed(1), start],
            [.ended(1, tag: 0)],
        ]
        for events in disorders { #expect(orderBreach(events) != nil, "\(events)") }
    }

    /// The sums agree with the streams.
    private func checkCounts(_ server: ServerHarness) {
        var assembly = 0
        var unsent = 0
        for slot in server.core.engine.streams.slotIndices {
            assembly += server.core.engine.streams[slot].assembly.bytes.count
            unsent += server.core.engine.streams[slot].unsentBytes
        }
        #expect(server.assemblyBytes == assembly)
        #expect(server.unsentBytes == unsent)
    }

    @Test("random bytes behind the preface never trap the server") func noise() {
        var generator = Seeded(seed: 99)
        for _ in 0..<300 {
            let server = ServerHarness()
            for _ in 0..<10 {
                let frame = TestFrame(
                    type: UInt8(generator.below(12)),
                    flags: UInt8(truncatingIfNeeded: generator.next()),
                    stream: UInt32(generator.below(6)),
                    payload: generator.bytes(generator.below(50)))
                server.feed(frame)
                _ = server.sent()
            }
            #expect(orderBreach(server.events) == nil)
        }
    }

    @Test(
        "mutated servers never trap the client, and every call ends at most once",
        arguments: 1...8)
    func client(seed: Int) {
        var generator = Seeded(seed: UInt64(seed) &* 131)
        let answers: [TestFrame] = [
            .settings([(3, 100)]), .settingsAck, .headers(1, ResponseBlocks.head),
            .data(1, grpcMessage([1, 2, 3])), .headers(1, ResponseBlocks.trailersOK, end: true),
            .headers(3, ResponseBlocks.trailersOnly(GRPCStatus(.emptyKey), extra: []), end: true),
            .headers(5, ResponseBlocks.head), .data(5, grpcMessage(generator.bytes(50))),
            .data(5, grpcMessage([])), .ping(), .windowUpdate(5, 10), .reset(5, 8),
            .goAway(5), .headers(7, ResponseBlocks.head),
        ]
        let original = HTTP2Constant.preface + answers.flatMap(\.bytes)
        for _ in 0..<400 {
            let bytes = Array(
                mutate(original, &generator).dropFirst(HTTP2Constant.preface.count))
            let client = ClientHarness(handshake: false)
            client.unary(tag: 1)
            client.unary(tag: 2)
            _ = client.open(tag: 3)
            _ = client.open(tag: 4)
            _ = client.sentBytes()
            var position = 0
            while position < bytes.count {
                let count = min(1 + generator.below(100), bytes.count - position)
                client.feed(Array(bytes[position..<(position + count)]))
                _ = client.sent()
                position += count
            }
            var finished: Set<UInt64> = []
            for event in client.events {
                switch event {
                case .message(let tag, _): #expect(!finished.contains(tag))
                case .finished(let tag, _): #expect(finished.insert(tag).inserted)
                case .failed: #expect(event == client.events.last)
                case .drained, .settled, .draining, .pingAnswered: break
                }
            }
        }
    }
}
