import NIOCore
import Testing

@testable import HTTP2

@Suite("Frames are cut from any fragmentation")
struct FrameReaderTests {
    private func read(_ reader: inout FrameReader) throws -> [TestFrame] {
        var frames: [TestFrame] = []
        while let frame = try reader.next() {
            frames.append(
                TestFrame(
                    type: frame.header.type, flags: frame.header.flags,
                    stream: frame.header.streamID, payload: Array(reader.bytes[frame.payload])))
        }
        return frames
    }

    @Test("every split into two reads gives the same frames") func everySplit() throws {
        let frames = [
            TestFrame.settings([(4, 70_000)]), .headers(1, [1, 2, 3]),
            .data(1, Array(repeating: 7, count: 300), end: true), .settingsAck,
        ]
        let bytes = HTTP2Constant.preface + frames.flatMap(\.bytes)
        for split in 0...bytes.count {
            var reader = FrameReader(expectsPreface: true)
            reader.append(ByteBuffer(bytes: bytes[..<split]))
            var seen = try read(&reader)
            reader.append(ByteBuffer(bytes: bytes[split...]))
            seen += try read(&reader)
            #expect(seen == frames, "split at \(split)")
            reader.releaseIfEmpty()
            #expect(reader.bytes.capacity == 0)
        }
    }

    @Test("the largest frame passes and one byte more does not") func frameSize() throws {
        var reader = FrameReader(expectsPreface: false)
        let largest = TestFrame.data(1, Array(repeating: 0, count: 16_384))
        reader.append(ByteBuffer(bytes: largest.bytes))
        #expect(try read(&reader) == [largest])
        reader.append(ByteBuffer(bytes: [0, 0x40, 0x01, 0, 0, 0, 0, 0, 1]))
        #expect(throws: HTTP2ConnectionError.self) { try read(&reader) }
    }

    @Test("a wrong preface is refused at its first wrong byte") func preface() throws {
        for place in HTTP2Constant.preface.indices {
            var bytes = Array(HTTP2Constant.preface[...place])
            var reader = FrameReader(expectsPreface: true)
            reader.append(ByteBuffer(bytes: bytes))
            #expect(try read(&reader).isEmpty)
            bytes[place] ^= 1
            reader = FrameReader(expectsPreface: true)
            reader.append(ByteBuffer(bytes: bytes))
            #expect(throws: HTTP2ConnectionError.self) { try read(&reader) }
        }
    }

    @Test("the reserved bit of the stream id is ignored") func reservedBit() throws {
        var reader = FrameReader(expectsPreface: false)
        reader.append(ByteBuffer(bytes: [0, 0, 0, 0, 0, 0x80, 0, 0, 3]))
        #expect(try read(&reader).map(\.stream) == [3])
    }
}
