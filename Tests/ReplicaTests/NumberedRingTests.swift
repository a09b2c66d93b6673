import TestSupport
import Testing

@testable import Replica

struct NumberedRingTests {
    @Test("agrees with a dictionary through any order of calls", arguments: [1, UInt64.max - 50])
    func model(first: UInt64) {
        var random = Seeded(seed: 3)
        var ring = NumberedRing<Int>(firstNumber: first)
        var model: [UInt64: Int] = [:]
        var order: [UInt64] = []
        for step in 0..<20_000 {
            switch Int.random(in: 0..<4, using: &random) {
            case 0:
                let number = ring.append(step)
                model[number] = step
                order.append(number)
            case 1:
                // Ahead, far ahead or behind.
                let distance = [3, 200].randomElement(using: &random)!
                let number =
                    ring.nextNumber
                    &+ UInt64(
                        truncatingIfNeeded: Int.random(in: -distance..<distance, using: &random))
                guard model[number] == nil else { continue }
                ring.insert(step, at: number)
                model[number] = step
                order.append(number)
            default:
                guard let number = order.randomElement(using: &random) else { continue }
                ring.update(number) { $0 += 1 }
                model[number]? += 1
                #expect(ring[number] == model[number])
                let removed = ring.remove(number)
                #expect(removed == model.removeValue(forKey: number))
                let again = ring.remove(number)
                #expect(again == nil)
            }
            #expect(ring.count == model.count)
        }
        let newest = ring.nextNumber
        #expect(ring.numbers == model.keys.sorted { newest &- $0 > newest &- $1 })
        #expect(ring[ring.nextNumber] == nil)
    }

    @Test("an element that stays doesn't keep the places of those that come and go")
    func straggler() {
        var ring = NumberedRing<Int>(firstNumber: 1)
        let stays = ring.append(-1)
        for step in 0..<100_000 {
            let number = ring.append(step)
            let removed = ring.remove(number)
            #expect(removed == step)
        }
        #expect(ring.places.count < 4_096)
        ring.update(stays) { $0 -= 1 }
        #expect(ring[stays] == -2 && ring.numbers == [stays] && ring.count == 1)
        let removed = ring.remove(stays)
        #expect(removed == -2 && ring.count == 0)
    }
}
