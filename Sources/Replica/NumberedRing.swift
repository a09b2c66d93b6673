/// Elements under numbers that come in about ascending order, most of which are taken out in about
/// the order in which they came. To add, find or take out one costs O(1) amortised and allocates
/// nothing. One that stays while thousands come and go is set aside, so that it doesn't keep their
/// places.
public struct NumberedRing<Element> {
    // A place for each number from the oldest element on that isn't set aside; nil where it is gone or never came.
    @usableFromInline var places: [Element?] = []
    @usableFromInline var head = 0
    @usableFromInline var aside: [UInt64: Element] = [:]
    @usableFromInline var end: UInt64
    @usableFromInline var held = 0

    /// Numbers that may be left out before a new one without setting what is here aside.
    @usableFromInline static var widestGap: UInt64 { 64 }

    /// An empty ring. Numbers may begin anywhere; they wrap around.
    @inlinable public init(firstNumber: UInt64) { end = firstNumber }

    /// The least number that the next element may have.
    @inlinable public var nextNumber: UInt64 { end }
    /// Elements that are here.
    @inlinable public var count: Int { held }

    @inlinable func place(of number: UInt64) -> Int? {
        let age = end &- number
        guard age > 0 && age <= UInt64(places.count - head) else { return nil }
        return places.count - Int(age)
    }

    /// Adds an element under the next number, which it returns.
    @inlinable public mutating func append(_ element: consuming Element) -> UInt64 {
        let number = end
        places.append(element)
        end &+= 1
        held += 1
        let used = places.count - head
        if used > 1_024, used > 8 * (held - aside.count) { setAside() }
        return number
    }

    @usableFromInline mutating func setAside() {
        for place in head..<places.count {
            guard let element = places[place] else { continue }
            aside[end &- UInt64(places.count - place)] = element
        }
        places.removeAll(keepingCapacity: true)
        head = 0
    }

    /// Adds an element under a number that nothing stands under.
    @inlinable public mutating func insert(_ element: consuming Element, at number: UInt64) {
        let gap = number &- end
        if gap <= Self.widestGap {
            for _ in 0..<gap {
                places.append(nil)
                end &+= 1
            }
            _ = append(element)
        } else if let place = place(of: number) {
            places[place] = element
            held += 1
        } else if gap < .max / 2 {
            setAside()
            end = number
            _ = append(element)
        } else {
            aside[number] = element
            held += 1
        }
    }

    /// The element with a number, nil if it isn't here.
    @inlinable public subscript(number: UInt64) -> Element? {
        if let place = place(of: number) { return places[place] }
        return aside.isEmpty ? nil : aside[number]
    }

    /// Changes an element that is here.
    @inlinable public mutating func update(_ number: UInt64, _ change: (inout Element) -> Void) {
        if let place = place(of: number) {
            if places[place] != nil { change(&places[place]!) }
        } else if aside[number] != nil {
            change(&aside[number]!)
        }
    }

    /// Takes an element out.
    @inlinable public mutating func remove(_ number: UInt64) -> Element? {
        guard let place = place(of: number) else {
            guard !aside.isEmpty, let element = aside.removeValue(forKey: number) else {
                return nil
            }
            held -= 1
            return element
        }
        guard let element = places[place].take() else { return nil }
        held -= 1
        while head < places.count, places[head] == nil { head += 1 }
        if head == places.count {
            places.removeAll(keepingCapacity: true)
            head = 0
        } else if head > 1_024, head > places.count / 2 {
            places.removeFirst(head)
            head = 0
        }
        return element
    }

    /// The numbers of the elements that are here, ascending.
    @inlinable public var numbers: [UInt64] {
        // Numbers may have wrapped around, so that the oldest isn't the least.
        aside.keys.sorted { end &- $0 > end &- $1 }
            + (head..<places.count).compactMap { place in
                places[place] == nil ? nil : end &- UInt64(places.count - place)
            }
    }
}
