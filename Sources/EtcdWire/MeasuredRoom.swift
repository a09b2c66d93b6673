extension [UInt8] {
    /// Appends exactly `byteCount` bytes, which `fill` writes from the start of the room it is given;
    /// it returns how many it wrote. One check of the array for all of them.
    @inlinable @inline(__always)
    package mutating func append(
        byteCount: Int, filledBy fill: (UnsafeMutableRawBufferPointer) -> Int
    ) {
        // Not `Array(unsafeUninitializedCapacity:)`, which looks its type up anew each time: 350
        // instructions.
        append(addingCapacity: byteCount) { span in
            span.withUnsafeMutableBufferPointer { buffer, count in
                count = fill(UnsafeMutableRawBufferPointer(buffer))
                precondition(count == byteCount, "as much is written as was measured")
            }
        }
    }
}
