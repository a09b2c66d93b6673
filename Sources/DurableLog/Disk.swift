/// One directory's files, as the log needs them. Calls block; one thread uses a value at a time.
public protocol Disk {
    /// Names of all files, ascending.
    mutating func list() throws(DiskError) -> [String]
    /// Size in bytes, or nil when there is no such file.
    mutating func byteCount(of file: String) throws(DiskError) -> Int?
    /// Exactly `byteCount` bytes; fewer are an error.
    mutating func read(_ file: String, offset: Int, byteCount: Int) throws(DiskError) -> [UInt8]
    /// The same into a buffer, whose memory is used again if it has that size.
    mutating func read(
        _ file: String, offset: Int, byteCount: Int, into buffer: inout [UInt8]
    ) throws(DiskError)
    /// Makes a file of zeroes, allocated and synced; one of that name is replaced.
    mutating func create(_ file: String, byteCount: Int) throws(DiskError)
    /// Writes all bytes, growing the file if need be (a missing one is made). Not synced.
    mutating func write(_ file: String, offset: Int, bytes: [UInt8]) throws(DiskError)
    /// Makes the file's content and size durable.
    mutating func sync(_ file: String) throws(DiskError)
    /// Gives a file another name, replacing what had it. Durable after `syncDirectory`.
    mutating func rename(_ file: String, to name: String) throws(DiskError)
    /// Removes a file; a missing one is no error. Durable after `syncDirectory`.
    mutating func remove(_ file: String) throws(DiskError)
    /// Makes creations, renames and removals durable.
    mutating func syncDirectory() throws(DiskError)
}

extension Disk {
    /// With new memory each time.
    public mutating func read(
        _ file: String, offset: Int, byteCount: Int, into buffer: inout [UInt8]
    ) throws(DiskError) {
        buffer = try read(file, offset: offset, byteCount: byteCount)
    }
}

/// A failed disk call.
public struct DiskError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What kind of failure it is.
    public enum Kind: Equatable, Sendable {
        /// There is no such file.
        case missing
        /// The file ends before the bytes asked for.
        case tooShort
        /// The disk or quota is full.
        case noSpace
        /// Anything else, with the system's number.
        case system(Int32)
    }
    /// What kind of failure it is.
    public var kind: Kind
    /// The call that failed ("write", "sync").
    public var call: String
    /// The file it was about.
    public var file: String
    /// The system's words.
    public var reason: String

    /// Creates an error.
    public init(kind: Kind, call: String, file: String, reason: String) {
        self.kind = kind
        self.call = call
        self.file = file
        self.reason = reason
    }

    /// Names call, file and reason.
    public var description: String { "\(call) of \(file) failed: \(reason)" }
}

/// One call to a disk.
public enum DiskStep: Equatable, Sendable {
    /// See `Disk.create`.
    case create(file: String, byteCount: Int)
    /// See `Disk.write`.
    case write(file: String, offset: Int, bytes: [UInt8])
    /// See `Disk.sync`.
    case sync(file: String)
    /// See `Disk.read`; adds one buffer to the result.
    case read(file: String, offset: Int, byteCount: Int)
    /// See `Disk.rename`.
    case rename(file: String, to: String)
    /// See `Disk.remove`.
    case remove(file: String)
    /// See `Disk.syncDirectory`.
    case syncDirectory
}

/// Operations of one lane run one after the other; lanes run side by side.
public enum DiskLane: Equatable, Sendable {
    /// The log's batches: nothing slow may stand before them.
    case log
    /// Preparing segments, reading back: short work that the log may wait for.
    case background
    /// Removing whole snapshots: it may take long, and the log doesn't wait for it.
    case bulk
}

/// Calls to be made in order; the first failure ends the operation.
public struct DiskOperation: Equatable, Sendable {
    /// Names it in the completion.
    public var id: UInt64
    /// Where it queues.
    public var lane: DiskLane
    /// The calls.
    public var steps: [DiskStep]

    /// Creates an operation.
    public init(id: UInt64, lane: DiskLane, steps: [DiskStep]) {
        self.id = id
        self.lane = lane
        self.steps = steps
    }

    /// Makes the calls.
    public func perform(on disk: inout some Disk) -> DiskCompletion {
        var buffers: [[UInt8]] = []
        do throws(DiskError) {
            for step in steps {
                switch step {
                case .create(let file, let byteCount):
                    try disk.create(file, byteCount: byteCount)
                case .write(let file, let offset, let bytes):
                    try disk.write(file, offset: offset, bytes: bytes)
                case .sync(let file): try disk.sync(file)
                case .read(let file, let offset, let byteCount):
                    buffers.append(try disk.read(file, offset: offset, byteCount: byteCount))
                case .rename(let file, let name): try disk.rename(file, to: name)
                case .remove(let file): try disk.remove(file)
                case .syncDirectory: try disk.syncDirectory()
                }
            }
            return DiskCompletion(operation: id, result: .success(buffers))
        } catch {
            return DiskCompletion(operation: id, result: .failure(error))
        }
    }
}

/// How an operation ended.
public struct DiskCompletion: Equatable, Sendable {
    /// Which one.
    public var operation: UInt64
    /// The buffers read, or what failed.
    public var result: Result<[[UInt8]], DiskError>

    /// Creates a completion.
    public init(operation: UInt64, result: Result<[[UInt8]], DiskError>) {
        self.operation = operation
        self.result = result
    }
}
