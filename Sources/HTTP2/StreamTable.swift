import NIOCore

/// One open stream.
struct Stream {
    /// 0 marks a free slot.
    var id: UInt32 = 0
    /// The owner's own number for what runs on this stream.
    var tag: UInt64 = 0
    /// The peer has sent END_STREAM.
    var isRemoteClosed = false
    /// We have sent END_STREAM.
    var isLocalClosed = false
    /// We have sent our first header block.
    var hasSentHeaders = false
    /// The peer has sent its first header block.
    var hasReceivedHeaders = false
    /// The stream is in the queue of those with something to send.
    var isQueued = false
    /// The owner waits to hear that the queue has drained.
    var awaitsDrain = false
    var sendWindow = SendWindow(0)
    var receiveWindow = ReceiveWindow(0)
    /// Bytes of messages that the owner was given and has not consumed.
    var unconsumedBytes = 0
    /// Body bytes that `content-length` still promises; -1 without the header.
    var promisedBodyBytes = -1
    var assembly = MessageAssembly()
    /// Bytes of the message being sent that the owner hasn't given yet.
    var owedBytes = 0
    /// Message bytes (prefixes included) that wait for a window or the socket.
    var unsent: ByteBuffer?
    /// The header block that ends the stream once `unsent` is gone; empty: END_STREAM on DATA.
    var unsentEnd: [UInt8]?

    var unsentBytes: Int { unsent?.readableBytes ?? 0 }

    /// Makes a free slot a new stream. What a free slot holds is empty already, so that the common
    /// short stream touches no reference count.
    mutating func open(_ id: UInt32, sendWindow: SendWindow, receiveWindow: ReceiveWindow) {
        self.id = id
        self.sendWindow = sendWindow
        self.receiveWindow = receiveWindow
        tag = 0
        isRemoteClosed = false
        isLocalClosed = false
        hasSentHeaders = false
        hasReceivedHeaders = false
        isQueued = false
        awaitsDrain = false
        unconsumedBytes = 0
        promisedBodyBytes = -1
        owedBytes = 0
    }

    /// Makes the stream's slot free.
    mutating func close() {
        id = 0
        if !assembly.isEmpty { assembly = MessageAssembly() }
        if unsent != nil { unsent = nil }
        if unsentEnd != nil { unsentEnd = nil }
    }
}

/// The open streams of one connection, found by id.
///
/// Streams lie in slots of one array, so that they change in place. The index is a hash table with
/// linear probing: ids come in ascending order and most streams are short, which a multiplication
/// spreads well; the factor is drawn per process, so that a peer cannot choose ids that collide.
package struct StreamTable {
    private static let keptSlots = 1_024
    private static let processFactor = UInt64.random(in: .min ... .max) | 1

    package private(set) var count = 0
    /// A copy: each look at the static one asks whether it is there yet.
    private let factor = Self.processFactor
    private var slots: [Stream] = []
    private var freeSlots: [Int] = []
    /// Slot number + 1, or 0. The size is a power of two and at least twice the count.
    private var index: [UInt32] = .init(repeating: 0, count: 16)
    private var shift: UInt64 = 60
    /// The stream that was added last, which the next frames are mostly about: three of the seven
    /// searches that a call takes end here.
    private var newest: (id: UInt32, slot: Int) = (0, 0)

    /// Slots that exist, used or free; each is a valid argument of the subscript.
    var slotIndices: Range<Int> { slots.indices }

    subscript(slot: Int) -> Stream {
        _read { yield slots[slot] }
        _modify { yield &slots[slot] }
    }

    private func home(_ id: UInt32) -> Int {
        Int(truncatingIfNeeded: (UInt64(id) &* factor) >> shift)
    }

    /// The slot of an open stream.
    func find(_ id: UInt32) -> Int? {
        if id == newest.id, id != 0 { return newest.slot }
        let mask = index.count - 1
        var place = home(id)
        while index[place] != 0 {
            let slot = Int(index[place]) - 1
            if slots[slot].id == id { return slot }
            place = (place + 1) & mask
        }
        return nil
    }

    /// Adds a stream that is not there yet; returns its slot.
    mutating func insert(
        _ id: UInt32, sendWindow: SendWindow, receiveWindow: ReceiveWindow
    ) -> Int {
        precondition(id != 0 && find(id) == nil, "stream inserted twice")
        if (count + 1) * 2 > index.count { grow() }
        let slot: Int
        if let free = freeSlots.popLast() {
            slot = free
        } else {
            slot = slots.count
            slots.append(Stream())
        }
        slots[slot].open(id, sendWindow: sendWindow, receiveWindow: receiveWindow)
        count += 1
        link(slot)
        newest = (id, slot)
        return slot
    }

    private mutating func link(_ slot: Int) {
        let mask = index.count - 1
        var place = home(slots[slot].id)
        while index[place] != 0 { place = (place + 1) & mask }
        index[place] = UInt32(slot + 1)
    }

    private mutating func grow() {
        index = .init(repeating: 0, count: index.count * 2)
        shift -= 1
        for slot in slots.indices where slots[slot].id != 0 { link(slot) }
    }

    /// Removes the stream in a slot and frees what it held. Slot numbers may lose their meaning.
    mutating func remove(_ slot: Int) {
        let mask = index.count - 1
        var hole = home(slots[slot].id)
        while index[hole] != UInt32(slot + 1) { hole = (hole + 1) & mask }
        // Close the gap: move back every later entry of the run that may stand in the hole.
        var place = hole
        while true {
            place = (place + 1) & mask
            guard index[place] != 0 else { break }
            let wanted = home(slots[Int(index[place]) - 1].id)
            if (place &- wanted) & mask >= (place &- hole) & mask {
                index[hole] = index[place]
                hole = place
            }
        }
        index[hole] = 0
        if newest.slot == slot { newest.id = 0 }
        slots[slot].close()
        freeSlots.append(slot)
        count -= 1
        // A connection that was busy once does not keep the memory for ever.
        if count == 0, slots.count > Self.keptSlots { self = StreamTable() }
    }
}

/// The last streams that we reset. Frames which the peer sent before it heard of that are no error
/// (RFC 9113 section 5.1); of older streams they are answered, not remembered.
struct RecentlyReset {
    static let capacity = 256
    private var ids: [UInt32] = []
    private var next = 0

    mutating func insert(_ id: UInt32) {
        if ids.count < Self.capacity {
            ids.append(id)
        } else {
            ids[next] = id
            next = (next + 1) % Self.capacity
        }
    }

    func contains(_ id: UInt32) -> Bool { ids.contains(id) }
}
