import NIOCore
import NIOHPACK

/// Decodes header blocks and remembers what the last few meant.
///
/// A busy client sends the same block over and over: once its headers are in the dynamic table, a
/// request head is a handful of index bytes. As long as no block changes the table, equal bytes
/// mean equal headers, so the block is compared instead of decoded and checked again.
package struct HeaderDecoder<Parsed> {
    private struct Remembered {
        let block: [UInt8]
        let opening: Bool
        let parsed: Parsed
    }

    private static var rememberedBlocks: Int { 4 }
    private static var rememberedBlockBytes: Int { 512 }

    private var hpack: HPACKDecoder
    private var remembered: [Remembered] = []
    private var nextPlace = 0
    private let parse: (HPACKHeaders, _ opening: Bool) -> Parsed

    /// `parse` makes of decoded fields what is remembered; it must depend on nothing else.
    package init(
        maximumHeaderListBytes: Int, parse: @escaping (HPACKHeaders, _ opening: Bool) -> Parsed
    ) {
        hpack = HPACKDecoder(
            allocator: ByteBufferAllocator(),
            maxDynamicTableSize: HTTP2Constant.defaultHeaderTableBytes,
            maxHeaderListSize: maximumHeaderListBytes)
        self.parse = parse
    }

    /// Decodes the block in `range` of what was received. `opening` tells a stream's first block
    /// from its trailers. A failure leaves the compression state unusable and must end the
    /// connection.
    package mutating func decode(
        _ received: [UInt8], _ range: Range<Int>, opening: Bool
    ) throws(HTTP2ConnectionError) -> Parsed {
        for place in remembered.indices
        where remembered[place].opening == opening
            && remembered[place].block.count == range.count
            && Self.equal(received, range, remembered[place].block)
        {
            return remembered[place].parsed
        }
        let bytes = Array(received[range])
        var block = ByteBuffer(bytes: bytes)
        let fields: HPACKHeaders
        do {
            fields = try hpack.decodeHeaders(from: &block)
        } catch is NIOHPACKErrors.MaxHeaderListSizeViolation {
            throw HTTP2ConnectionError(.enhanceYourCalm, "header list too large")
        } catch {
            throw HTTP2ConnectionError(.compressionError, "invalid header block")
        }
        let parsed = parse(fields, opening)
        if HeaderBlockScan.changesTable(bytes) {
            remembered.removeAll(keepingCapacity: true)
            nextPlace = 0
        } else if bytes.count <= Self.rememberedBlockBytes {
            remember(Remembered(block: bytes, opening: opening, parsed: parsed))
        }
        return parsed
    }

    /// Whether the bytes in `range`, as many as the block has, are the block. By iterators this took
    /// 35 instructions a byte.
    private static func equal(_ received: [UInt8], _ range: Range<Int>, _ block: [UInt8]) -> Bool {
        received[range].withUnsafeBufferPointer { received in
            block.withUnsafeBufferPointer { block in
                received.indices.allSatisfy { received[$0] == block[$0] }
            }
        }
    }

    private mutating func remember(_ entry: Remembered) {
        if remembered.count < Self.rememberedBlocks {
            remembered.append(entry)
        } else {
            remembered[nextPlace] = entry
            nextPlace = (nextPlace + 1) % Self.rememberedBlocks
        }
    }
}

/// Looks at the shape of a header block (RFC 7541 section 6) without decoding it.
enum HeaderBlockScan {
    /// True if the block adds to the dynamic table or changes its size, or is not well-formed.
    static func changesTable(_ block: [UInt8]) -> Bool {
        var position = 0
        while position < block.count {
            let first = block[position]
            if first & 0x80 != 0 {
                guard skipInteger(block, &position, prefixBits: 7) != nil else { return true }
            } else if first & 0xe0 != 0 {
                return true
            } else {
                guard let name = skipInteger(block, &position, prefixBits: 4) else { return true }
                if name == 0 {
                    guard skipString(block, &position) else { return true }
                }
                guard skipString(block, &position) else { return true }
            }
        }
        return false
    }

    private static func skipString(_ block: [UInt8], _ position: inout Int) -> Bool {
        guard let length = skipInteger(block, &position, prefixBits: 7),
            length <= block.count - position
        else { return false }
        position += length
        return true
    }

    private static func skipInteger(
        _ block: [UInt8], _ position: inout Int, prefixBits: Int
    ) -> Int? {
        guard position < block.count else { return nil }
        let limit = 1 << prefixBits - 1
        var value = Int(block[position]) & limit
        position += 1
        guard value == limit else { return value }
        var shift = 0
        while position < block.count, shift <= 28 {
            let byte = block[position]
            position += 1
            value += Int(byte & 0x7f) << shift
            if byte < 0x80 { return value }
            shift += 7
        }
        return nil
    }
}
