import RaftCore

/// What will happen, by time; of two things at the same time the one that was scheduled first.
struct EventQueue<Event> {
    /// Events are large: the heap moves their places about, and they stay where they are.
    private struct Item {
        var time: Microseconds
        var order: UInt64
        var place: Int

        func precedes(_ other: Item) -> Bool {
            time != other.time ? time < other.time : order < other.order
        }
    }
    private var heap: [Item] = []
    private var events: [Event?] = []
    private var freePlaces: [Int] = []
    private var nextOrder: UInt64 = 0

    var nextTime: Microseconds? { heap.first?.time }

    mutating func schedule(_ event: Event, at time: Microseconds) {
        heap.append(Item(time: time, order: nextOrder, place: store(event)))
        nextOrder += 1
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child].precedes(heap[parent]) else { break }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    private mutating func store(_ event: Event) -> Int {
        guard let place = freePlaces.popLast() else {
            events.append(event)
            return events.count - 1
        }
        events[place] = event
        return place
    }

    mutating func removeFirst() -> (time: Microseconds, event: Event) {
        heap.swapAt(0, heap.count - 1)
        let first = heap.removeLast()
        var parent = 0
        while true {
            var least = parent
            let left = 2 * parent + 1
            if left < heap.count, heap[left].precedes(heap[least]) { least = left }
            if left + 1 < heap.count, heap[left + 1].precedes(heap[least]) { least = left + 1 }
            if least == parent { break }
            heap.swapAt(parent, least)
            parent = least
        }
        freePlaces.append(first.place)
        guard let event = events[first.place].take() else {
            preconditionFailure("an event has its place until its turn comes")
        }
        return (first.time, event)
    }
}
