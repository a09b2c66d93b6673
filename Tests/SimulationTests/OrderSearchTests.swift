import RaftCore
import Testing

@testable import Simulation

@Suite("The search for an order")
struct OrderSearchTests {
    typealias Operation = RegisterHistory.Operation

    private func write(_ value: String?, _ from: Microseconds, _ to: Microseconds) -> Operation {
        Operation(action: .write(value.map { Array($0.utf8) }), invoked: from, returned: to)
    }

    private func read(_ value: String?, _ from: Microseconds, _ to: Microseconds) -> Operation {
        Operation(action: .read(value.map { Array($0.utf8) }), invoked: from, returned: to)
    }

    private func verdict(_ operations: [Operation]) -> OrderSearch.Verdict {
        var search = OrderSearch(operations)
        return search.run()
    }

    @Test("accepts what one map could have said")
    func legal() {
        #expect(verdict([]) == .linearizable)
        #expect(
            verdict([
                write("a", 0, 10), write("b", 5, 20), read("b", 11, 12), read("a", 13, 14),
            ]) == .impossible, "b was seen, then a: but a was written before 10")
        #expect(
            verdict([write("a", 0, 30), write("b", 5, 20), read("b", 11, 12), read("a", 13, 14)])
                == .linearizable)
        #expect(
            verdict([write("a", 0, 10), write(nil, 11, .max), read("a", 20, 21), read(nil, 30, 31)])
                == .linearizable, "an unknown deletion may come true late")
    }

    @Test("rejects a stale read, a lost write and a read of nothing")
    func illegal() {
        #expect(
            verdict([write("a", 0, 10), write("b", 11, 20), read("a", 21, 22)]) == .impossible)
        #expect(verdict([write("a", 0, 10), read(nil, 11, 12)]) == .impossible)
        #expect(verdict([read("a", 0, 10), write("a", 11, 12)]) == .impossible)
    }
}
