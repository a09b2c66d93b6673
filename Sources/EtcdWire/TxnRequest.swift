/// `etcdserverpb.Compare`, read in place: one condition of a transaction.
public struct Compare: Equatable, Sendable {
    /// How the key's value relates to the operand (`etcdserverpb.Compare.CompareResult`).
    public enum Result: Equatable, Sendable {
        /// The two are equal.
        case equal
        /// The key's is greater.
        case greater
        /// The key's is less.
        case less
        /// The two differ.
        case notEqual
        /// A number that this version does not know.
        case unrecognized(Int32)

        /// The meaning of a number on the wire.
        public init(rawValue: Int32) {
            switch rawValue {
            case 0: self = .equal
            case 1: self = .greater
            case 2: self = .less
            case 3: self = .notEqual
            default: self = .unrecognized(rawValue)
            }
        }

        /// The number on the wire.
        public var rawValue: Int32 {
            switch self {
            case .equal: 0
            case .greater: 1
            case .less: 2
            case .notEqual: 3
            case .unrecognized(let value): value
            }
        }
    }

    /// What is compared (`etcdserverpb.Compare.CompareTarget`).
    public enum Target: Equatable, Sendable {
        /// Number of changes since creation.
        case version
        /// Create revision.
        case create
        /// Modification revision.
        case mod
        /// Value, bytewise.
        case value
        /// Lease id.
        case lease
        /// A number that this version does not know.
        case unrecognized(Int32)

        /// The meaning of a number on the wire.
        public init(rawValue: Int32) {
            switch rawValue {
            case 0: self = .version
            case 1: self = .create
            case 2: self = .mod
            case 3: self = .value
            case 4: self = .lease
            default: self = .unrecognized(rawValue)
            }
        }

        /// The number on the wire.
        public var rawValue: Int32 {
            switch self {
            case .version: 0
            case .create: 1
            case .mod: 2
            case .value: 3
            case .lease: 4
            case .unrecognized(let value): value
            }
        }
    }

    /// What the key is compared with (the oneof `target_union`). It should fit the target; where it
    /// does not, the target is compared with zero or the empty value.
    public enum Operand: Equatable, Sendable {
        /// Not given.
        case none
        /// For target `version`.
        case version(Int64)
        /// For target `create`.
        case createRevision(Int64)
        /// For target `mod`.
        case modRevision(Int64)
        /// For target `value`.
        case value(ArraySlice<UInt8>)
        /// For target `lease`.
        case lease(Int64)
    }

    /// The relation that must hold.
    public var result: Result = .equal
    /// What is compared.
    public var target: Target = .version
    /// The key, or the first key of the range.
    public var key: ArraySlice<UInt8> = []
    /// What it is compared with.
    public var operand: Operand = .none
    /// Empty: one key. Otherwise the condition must hold for every key of the range.
    public var rangeEnd: ArraySlice<UInt8> = []

    /// A condition on nothing yet.
    public init() {}

    /// Reads a whole message; byte fields are slices of it.
    public init(decoding bytes: ArraySlice<UInt8>) throws(WireError) {
        var reader = WireReader(bytes)
        while let tag = try reader.nextTag() {
            switch tag.fieldNumber {
            case 1: result = Result(rawValue: try reader.readEnum(tag))
            case 2: target = Target(rawValue: try reader.readEnum(tag))
            case 3: key = try reader.readBytes(tag)
            case 4: operand = .version(try reader.readInt64(tag))
            case 5: operand = .createRevision(try reader.readInt64(tag))
            case 6: operand = .modRevision(try reader.readInt64(tag))
            case 7: operand = .value(try reader.readBytes(tag))
            case 8: operand = .lease(try reader.readInt64(tag))
            case 64: rangeEnd = try reader.readBytes(tag)
            default: try reader.skip(tag)
            }
        }
    }

    /// Bytes that `encode` appends.
    public var encodedSize: Int {
        let operandSize =
            switch operand {
            case .none: 0
            case .version(let number): Self.operandSize(4, number)
            case .createRevision(let number): Self.operandSize(5, number)
            case .modRevision(let number): Self.operandSize(6, number)
            case .value(let bytes): WireWriter.presentBytesSize(7, count: bytes.count)
            case .lease(let number): Self.operandSize(8, number)
            }
        return WireWriter.enumSize(1, result.rawValue) + WireWriter.enumSize(2, target.rawValue)
            + WireWriter.bytesSize(3, count: key.count) + operandSize
            + WireWriter.bytesSize(64, count: rangeEnd.count)
    }

    /// Appends the message.
    public func encode(into out: inout [UInt8]) {
        WireWriter.appendEnum(1, result.rawValue, to: &out)
        WireWriter.appendEnum(2, target.rawValue, to: &out)
        WireWriter.appendBytes(3, key, to: &out)
        switch operand {
        case .none: break
        case .version(let number): Self.appendOperand(4, number, to: &out)
        case .createRevision(let number): Self.appendOperand(5, number, to: &out)
        case .modRevision(let number): Self.appendOperand(6, number, to: &out)
        case .value(let bytes): WireWriter.appendPresentBytes(7, bytes, to: &out)
        case .lease(let number): Self.appendOperand(8, number, to: &out)
        }
        WireWriter.appendBytes(64, rangeEnd, to: &out)
    }

    private static func operandSize(_ field: UInt32, _ number: Int64) -> Int {
        WireWriter.presentUInt64Size(field, UInt64(bitPattern: number))
    }

    private static func appendOperand(_ field: UInt32, _ number: Int64, to out: inout [UInt8]) {
        WireWriter.appendPresentUInt64(field, UInt64(bitPattern: number), to: &out)
    }
}

/// `etcdserverpb.RequestOp`, read in place: one operation of a transaction.
///
/// Indirect, so that a list of small operations costs memory in proportion to its bytes.
public indirect enum RequestOperation: Equatable, Sendable {
    /// No operation was given, or one of a kind that this version does not know.
    case empty
    /// Reads keys.
    case range(RangeRequest)
    /// Writes a key.
    case put(PutRequest)
    /// Deletes keys.
    case deleteRange(DeleteRangeRequest)
    /// A transaction inside the transaction.
    case txn(TxnRequest)

    init(
        reading reader: inout WireReader, budget: inout TxnRequest.Budget
    ) throws(WireError) {
        self = .empty
        while let tag = try reader.nextTag() {
            switch tag.fieldNumber {
            case 1: self = .range(try reader.readMessage(tag, RangeRequest.init(reading:)))
            case 2: self = .put(try reader.readMessage(tag, PutRequest.init(reading:)))
            case 3:
                self = .deleteRange(try reader.readMessage(tag, DeleteRangeRequest.init(reading:)))
            case 4:
                self = .txn(
                    try reader.readMessage(tag) { reader throws(WireError) in
                        try TxnRequest(reading: &reader, budget: &budget)
                    })
            default: try reader.skip(tag)
            }
        }
    }

    /// Bytes that `encode` appends.
    public var encodedSize: Int {
        switch self {
        case .empty: 0
        case .range(let request): WireWriter.presentBytesSize(1, count: request.encodedSize)
        case .put(let request): WireWriter.presentBytesSize(2, count: request.encodedSize)
        case .deleteRange(let request): WireWriter.presentBytesSize(3, count: request.encodedSize)
        case .txn(let request): WireWriter.presentBytesSize(4, count: request.encodedSize)
        }
    }

    /// Appends the message.
    public func encode(into out: inout [UInt8]) {
        switch self {
        case .empty: break
        case .range(let request):
            WireWriter.appendMessageHead(1, size: request.encodedSize, to: &out)
            request.encode(into: &out)
        case .put(let request):
            WireWriter.appendMessageHead(2, size: request.encodedSize, to: &out)
            request.encode(into: &out)
        case .deleteRange(let request):
            WireWriter.appendMessageHead(3, size: request.encodedSize, to: &out)
            request.encode(into: &out)
        case .txn(let request):
            let message = WireWriter.beginMessage(4, to: &out)
            request.encode(into: &out)
            WireWriter.endMessage(message, to: &out)
        }
    }
}

/// `etcdserverpb.TxnRequest`, read in place.
public struct TxnRequest: Equatable, Sendable {
    /// Levels of transactions inside each other that are read. The operation limit takes at least
    /// one from each level, so with the default limit of 128 no valid request is deeper.
    public static let maximumNestingDepth = 128
    /// Compares and operations of all levels together that are read. It bounds the memory that a
    /// message of tiny elements can claim and lies far above any sensible operation limit.
    public static let maximumElementCount = 65_536

    /// Room for so many is made at once.
    private static let usualOperations = 4

    /// What a message may still contain while it is read.
    struct Budget {
        var depth = TxnRequest.maximumNestingDepth
        var elements = TxnRequest.maximumElementCount

        mutating func takeElement() throws(WireError) {
            guard elements > 0 else { throw .tooManyElements }
            elements -= 1
        }
    }

    /// The conditions; all must hold for success.
    public var compare: [Compare] = []
    /// Run when every condition holds.
    public var success: [RequestOperation] = []
    /// Run when one does not hold.
    public var failure: [RequestOperation] = []

    /// A transaction of nothing yet.
    public init() {}

    /// Reads a whole message; byte fields are slices of it.
    public init(decoding bytes: ArraySlice<UInt8>) throws(WireError) {
        var budget = Budget()
        var reader = WireReader(bytes)
        try self.init(reading: &reader, budget: &budget)
    }

    init(reading reader: inout WireReader, budget: inout Budget) throws(WireError) {
        guard budget.depth > 0 else { throw .nestedTooDeeply }
        budget.depth -= 1
        while let tag = try reader.nextTag() {
            switch tag.fieldNumber {
            case 1:
                try budget.takeElement()
                compare.append(try Compare(decoding: try reader.readBytes(tag)))
            case 2:
                try budget.takeElement()
                if success.isEmpty { success.reserveCapacity(Self.usualOperations) }
                success.append(try Self.operation(&reader, tag, &budget))
            case 3:
                try budget.takeElement()
                failure.append(try Self.operation(&reader, tag, &budget))
            default: try reader.skip(tag)
            }
        }
        budget.depth += 1
    }

    private static func operation(
        _ reader: inout WireReader, _ tag: WireTag, _ budget: inout Budget
    ) throws(WireError) -> RequestOperation {
        try reader.readMessage(tag) { reader throws(WireError) in
            try RequestOperation(reading: &reader, budget: &budget)
        }
    }

    /// Bytes that `encode` appends.
    public var encodedSize: Int {
        var size = 0
        for element in compare {
            size += WireWriter.presentBytesSize(1, count: element.encodedSize)
        }
        for operation in success {
            size += WireWriter.presentBytesSize(2, count: operation.encodedSize)
        }
        for operation in failure {
            size += WireWriter.presentBytesSize(3, count: operation.encodedSize)
        }
        return size
    }

    /// Appends the message.
    public func encode(into out: inout [UInt8]) {
        for element in compare {
            WireWriter.appendMessageHead(1, size: element.encodedSize, to: &out)
            element.encode(into: &out)
        }
        // Operations may nest: their sizes are written when they end, so that no level is
        // measured again by every level above it.
        for operation in success {
            let message = WireWriter.beginMessage(2, to: &out)
            operation.encode(into: &out)
            WireWriter.endMessage(message, to: &out)
        }
        for operation in failure {
            let message = WireWriter.beginMessage(3, to: &out)
            operation.encode(into: &out)
            WireWriter.endMessage(message, to: &out)
        }
    }
}
