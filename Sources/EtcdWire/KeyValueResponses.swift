// Responses are written field by field in ascending order, straight into the outgoing buffer.
// A namespace per message; where a response holds what the store finds while it walks, the caller
// appends the parts itself.

/// `etcdserverpb.PutResponse`.
public enum PutResponse {
    /// Appends the message without a previous key-value. With one, append the header's field, then
    /// `appendPrevious`.
    @inlinable
    public static func append(_ header: ResponseHeader, to out: inout [UInt8]) {
        header.appendField(to: &out)
    }

    /// Appends `prev_kv`.
    @inlinable
    public static func appendPrevious(
        key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer, _ numbers: KeyValueNumbers,
        to out: inout [UInt8]
    ) {
        WireWriter.appendKeyValue(2, key: key, value: value, numbers, to: &out)
    }
}

/// `etcdserverpb.RangeResponse`: the header's field, each key-value, then the tail.
public enum RangeResponse {
    /// Bytes that `appendKeyValue` appends.
    @inlinable
    public static func keyValueFieldSize(
        keyCount: Int, valueCount: Int, _ numbers: KeyValueNumbers
    ) -> Int {
        WireWriter.presentBytesSize(
            2,
            count: WireWriter.keyValueSize(
                keyCount: keyCount, valueCount: valueCount, numbers))
    }

    /// Appends one element of `kvs`.
    @inlinable
    public static func appendKeyValue(
        key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer, _ numbers: KeyValueNumbers,
        to out: inout [UInt8]
    ) {
        WireWriter.appendKeyValue(2, key: key, value: value, numbers, to: &out)
    }

    /// A whole answer without a key-value.
    public static func encodeEmpty(_ header: ResponseHeader) -> [UInt8] {
        var out: [UInt8] = []
        header.appendField(to: &out)
        return out
    }

    /// A whole answer of one key-value and a count of one, which most are.
    public static func encode(
        _ header: ResponseHeader, key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer,
        _ numbers: KeyValueNumbers
    ) -> [UInt8] {
        let size = WireWriter.keyValueSize(
            keyCount: key.count, valueCount: value.count, numbers)
        let total =
            header.fieldSize + WireWriter.presentBytesSize(2, count: size)
            + tailSize(more: false, count: 1)
        var out: [UInt8] = []
        FieldRoom.append(byteCount: total, to: &out) { room in
            header.writeField(to: &room)
            room.writeKeyValue(2, size: size, key: key, value: value, numbers)
            room.write(4, Int64(1))
        }
        return out
    }

    /// Bytes that `appendTail` appends.
    @inlinable
    public static func tailSize(more: Bool, count: Int64) -> Int {
        WireWriter.boolSize(3, more) + WireWriter.int64Size(4, count)
    }

    /// Appends what follows the key-values: `more` (a limit cut something off) and `count` (all
    /// matching keys, whatever the limit).
    @inlinable
    public static func appendTail(more: Bool, count: Int64, to out: inout [UInt8]) {
        WireWriter.appendBool(3, more, to: &out)
        WireWriter.appendInt64(4, count, to: &out)
    }
}

/// `etcdserverpb.RangeStreamResponse`: one chunk of a streamed range.
public enum RangeStreamResponse {
    /// Starts the chunk; append the parts of a `RangeResponse`, then `WireWriter.endMessage`.
    @inlinable
    public static func begin(to out: inout [UInt8]) -> WireWriter.OpenMessage {
        WireWriter.beginMessage(1, to: &out)
    }
}

/// `etcdserverpb.DeleteRangeResponse`: the header's field, `deleted`, then each previous key-value.
public enum DeleteRangeResponse {
    /// Appends header and number of deleted keys.
    @inlinable
    public static func append(
        _ header: ResponseHeader, deleted: Int64, to out: inout [UInt8]
    ) {
        header.appendField(to: &out)
        WireWriter.appendInt64(2, deleted, to: &out)
    }

    /// Appends one element of `prev_kvs`.
    @inlinable
    public static func appendPrevious(
        key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer, _ numbers: KeyValueNumbers,
        to out: inout [UInt8]
    ) {
        WireWriter.appendKeyValue(3, key: key, value: value, numbers, to: &out)
    }
}

/// `etcdserverpb.TxnResponse`: header and outcome, then each operation's response between
/// `beginOperation` and `endOperation`.
public enum TxnResponse {
    /// The kinds of `etcdserverpb.ResponseOp`, by field number.
    public enum OperationKind: UInt32, Sendable {
        /// A `RangeResponse`.
        case range = 1
        /// A `PutResponse`.
        case put = 2
        /// A `DeleteRangeResponse`.
        case deleteRange = 3
        /// A `TxnResponse`.
        case txn = 4
    }

    /// The place of an operation's response that is being appended.
    public struct OpenOperation: Sendable {
        @usableFromInline let element: WireWriter.OpenMessage
        @usableFromInline let body: WireWriter.OpenMessage

        @inlinable
        init(element: WireWriter.OpenMessage, body: WireWriter.OpenMessage) {
            self.element = element
            self.body = body
        }
    }

    /// Appends header and `succeeded` (every compare held).
    @inlinable
    public static func append(
        _ header: ResponseHeader, succeeded: Bool, to out: inout [UInt8]
    ) {
        header.appendField(to: &out)
        WireWriter.appendBool(2, succeeded, to: &out)
    }

    /// Starts one element of `responses`; append the parts of the response that `kind` names.
    @inlinable
    public static func beginOperation(
        _ kind: OperationKind, to out: inout [UInt8]
    ) -> OpenOperation {
        let element = WireWriter.beginMessage(3, to: &out)
        return OpenOperation(
            element: element, body: WireWriter.beginMessage(kind.rawValue, to: &out))
    }

    /// Ends the innermost open operation.
    @inlinable
    public static func endOperation(_ operation: OpenOperation, to out: inout [UInt8]) {
        WireWriter.endMessage(operation.body, to: &out)
        WireWriter.endMessage(operation.element, to: &out)
    }
}

/// `etcdserverpb.CompactionResponse`.
public enum CompactionResponse {
    /// Appends the message.
    @inlinable
    public static func append(_ header: ResponseHeader, to out: inout [UInt8]) {
        header.appendField(to: &out)
    }
}
