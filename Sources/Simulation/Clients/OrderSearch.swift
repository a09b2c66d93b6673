import RaftCore

/// Looks for an order of a register's operations that respects real time and explains each read:
/// the search of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993) with the memory
/// of states seen of Lowe ("Testing for linearizability", 2017). Linearizability is local: keys are
/// searched one by one.
struct OrderSearch {
    enum Verdict: Equatable {
        case linearizable
        case impossible
        /// More states than the bound; says nothing.
        case undecided
    }

    /// States visited for one key at most.
    static let maxSteps = 400_000

    private struct Seen: Hashable {
        var done: [UInt64]
        var value: Int
    }
    /// A call or a return in the order of time.
    private struct Mark {
        var operation: Int
        var isCall: Bool
    }

    private let operations: [RegisterHistory.Operation]
    /// Values by number; 0 is none.
    private var numbers: [[UInt8]: Int] = [:]
    private var marks: [Mark] = []
    // A doubly linked list over `marks`, with a head at 0 and marks counted from 1.
    private var next: [Int] = []
    private var previous: [Int] = []
    private var returnMark: [Int] = []

    init(_ history: [RegisterHistory.Operation]) {
        let read = Set(
            history.compactMap { operation -> [UInt8]? in
                if case .read(let value?) = operation.action { value } else { nil }
            })
        // A write nobody knows the outcome of, and whose value nobody saw, may as well be the last.
        operations = history.filter { operation in
            guard operation.returned == .max, case .write(let value?) = operation.action else {
                return true
            }
            return read.contains(value)
        }
        var times: [(time: Microseconds, isCall: Bool, operation: Int)] = []
        for (position, operation) in operations.enumerated() {
            times.append((operation.invoked, true, position))
            times.append((operation.returned, false, position))
        }
        // At the same moment a call counts before a return: the two overlap.
        times.sort { a, b in
            if a.time != b.time { return a.time < b.time }
            if a.isCall != b.isCall { return a.isCall }
            return a.operation < b.operation
        }
        marks = times.map { Mark(operation: $0.operation, isCall: $0.isCall) }
        returnMark = Array(repeating: 0, count: operations.count)
        for (position, mark) in marks.enumerated() where !mark.isCall {
            returnMark[mark.operation] = position + 1
        }
        next = Array(1...marks.count + 1)
        previous = Array(-1...marks.count - 1) + [marks.count]
        for operation in operations {
            switch operation.action {
            case .write(let value?), .read(let value?):
                numbers[value] = numbers[value] ?? numbers.count + 1
            case .write(nil), .read(nil): break
            }
        }
    }

    private func number(_ value: [UInt8]?) -> Int { value.map { numbers[$0]! } ?? 0 }

    /// The value after an operation; nil when a read saw something else.
    private func step(_ operation: Int, value: Int) -> Int? {
        switch operations[operation].action {
        case .write(let written): number(written)
        case .read(let seen): number(seen) == value ? value : nil
        }
    }

    private mutating func unlink(_ mark: Int) {
        next[previous[mark]] = next[mark]
        if next[mark] <= marks.count { previous[next[mark]] = previous[mark] }
    }

    private mutating func relink(_ mark: Int) {
        next[previous[mark]] = mark
        if next[mark] <= marks.count { previous[next[mark]] = mark }
    }

    mutating func run() -> Verdict {
        guard !operations.isEmpty else { return .linearizable }
        var done = [UInt64](repeating: 0, count: operations.count / 64 + 1)
        var value = 0
        var seen: Set<Seen> = []
        var stack: [(mark: Int, value: Int)] = []
        var mark = next[0]
        var steps = 0
        while next[0] <= marks.count {
            steps += 1
            if steps > Self.maxSteps { return .undecided }
            if mark <= marks.count, marks[mark - 1].isCall {
                let operation = marks[mark - 1].operation
                if let newValue = step(operation, value: value) {
                    var newDone = done
                    newDone[operation / 64] |= 1 << UInt64(operation % 64)
                    if seen.insert(Seen(done: newDone, value: newValue)).inserted {
                        stack.append((mark, value))
                        done = newDone
                        value = newValue
                        unlink(mark)
                        unlink(returnMark[operation])
                        mark = next[0]
                        continue
                    }
                }
                mark = next[mark]
                continue
            }
            // An operation returned that found no place so far: take the last choice back.
            guard let last = stack.popLast() else { return .impossible }
            let operation = marks[last.mark - 1].operation
            relink(returnMark[operation])
            relink(last.mark)
            done[operation / 64] &= ~(1 << UInt64(operation % 64))
            value = last.value
            mark = next[last.mark]
        }
        return .linearizable
    }
}
