import NIOCore
import TestSupport
import Testing

@testable import HTTP2

@Suite("Windows, limits and tables")
struct BookkeepingTests {
    private func insert(_ id: UInt32, to table: inout StreamTable) -> Int {
        table.insert(id, sendWindow: SendWindow(1), receiveWindow: ReceiveWindow(1))
    }

    @Test("the stream table agrees with a dictionary under random use")
    func streamTable() {
        var generator = Seeded(seed: 1)
        for round in 0..<8 {
            var table = StreamTable()
            var model: [UInt32: UInt64] = [:]
            var nextID: UInt32 = 1
            for step in 0..<3_000 {
                let grows = step < 1_500 ? 6 : 3
                if model.isEmpty || generator.below(10) < grows {
                    let slot = insert(nextID, to: &table)
                    #expect(table[slot].id == nextID && table[slot].tag == 0)
                    #expect(table[slot].unsent == nil && table[slot].assembly.isEmpty)
                    table[slot].tag = generator.next()
                    table[slot].unsent = ByteBuffer(bytes: [1])
                    model[nextID] = table[slot].tag
                    // Strides that a multiplicative hash and a mask would fold together.
                    nextID += round % 2 == 0 ? 2 : 2 << UInt32(generator.below(12))
                } else if let id = model.keys.sorted().randomElement(using: &generator) {
                    guard let slot = table.find(id) else {
                        Issue.record("stream \(id) is lost")
                        return
                    }
                    #expect(table[slot].tag == model[id])
                    table.remove(slot)
                    model[id] = nil
                    #expect(table.find(id) == nil)
                }
                #expect(table.count == model.count)
            }
            for (id, tag) in model { #expect(table.find(id).map { table[$0].tag } == tag) }
            for id in model.keys {
                if let slot = table.find(id) { table.remove(slot) }
            }
            #expect(table.count == 0)
        }
    }

    @Test("a table that was large gives its memory back when it is empty")
    func streamTableShrinks() {
        var table = StreamTable()
        var slots: [Int] = []
        for id in 0..<2_000 {
            slots.append(insert(UInt32(id * 2 + 1), to: &table))
        }
        for slot in slots { table.remove(slot) }
        #expect(table.slotIndices.isEmpty)
    }

    @Test("only the last resets are remembered") func recentlyReset() {
        var resets = RecentlyReset()
        for id in 1...300 { resets.insert(UInt32(id)) }
        #expect(!resets.contains(1) && !resets.contains(44))
        #expect(resets.contains(45) && resets.contains(300))
    }

    @Test("a receive window is granted again in halves") func receiveWindow() {
        var window = ReceiveWindow(100)
        var received: [Bool] = []
        var granted: [Int?] = []
        received.append(window.receive(49))
        granted.append(window.replenish())
        received.append(window.receive(1))
        granted.append(window.replenish())
        received.append(window.receive(100))
        received.append(window.receive(1))
        #expect(received == [true, true, true, false])
        #expect(granted == [nil, 50])
        // What the owner holds is not granted until it is given up.
        granted = [
            window.replenish(held: 60), window.replenish(held: 50), window.replenish(held: 50),
            window.replenish(),
        ]
        #expect(granted == [nil, 50, nil, 50])
    }

    @Test("a send window refuses to overflow and may become negative") func sendWindow() {
        var window = SendWindow(65_535)
        let adjusted = [
            window.adjust(by: Int(Int32.max) - 65_535), window.adjust(by: 1),
        ]
        #expect(adjusted == [true, false])
        #expect(window.available == Int(Int32.max))
        let shrunk = window.adjust(by: -Int(Int32.max) - 5)
        #expect(shrunk && window.available == -5)
    }

    @Test("a flood guard allows its burst and then its rate, exactly") func floodGuard() {
        var guarded = FloodGuard(burst: 5, perSecond: 10)
        func takeAll() -> Int {
            var taken = 0
            while guarded.take() { taken += 1 }
            return taken
        }
        guarded.refill(nowNanoseconds: 1)
        #expect(takeAll() == 5)
        var taken = 0
        // One second in steps that are no multiple of a token.
        for step in 1...100 {
            guarded.refill(nowNanoseconds: 1 + UInt64(step) * 10_000_000)
            taken += takeAll()
        }
        #expect(taken == 10)
        guarded.refill(nowNanoseconds: 60_000_000_001)
        #expect(takeAll() == 5)
        guarded.credit()
        #expect(takeAll() == 1)
        // A clock that steps back gives nothing.
        guarded.refill(nowNanoseconds: 5)
        #expect(takeAll() == 0)
    }
}
