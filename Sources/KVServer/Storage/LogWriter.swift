import CAsyncIO
import DurableLog
import Glibc
import Logging
import NIOCore
import NIOPosix

/// Carries out what the log wants written, one operation at a time, on behalf of an event loop.
///
/// A batch is handed to the kernel, which writes it past its cache and signals the loop when the
/// bytes are on the platters: no thread is woken to wait for that. What the kernel can't begin
/// without waiting goes to a thread, and so does everything where it can't write that way at all;
/// the loop itself never waits for the disk. With three members on one disk a batch of 16 KiB
/// took 285 µs and 85 µs of CPU by the thread, 205 and 55 this way.
///
/// `@unchecked Sendable`: used on its loop only; the thread's work holds it to come back there.
final class LogWriter: @unchecked Sendable {
    /// Larger batches go to the thread: handing them over is the least of what they cost.
    private static let maxBatchBytes = 1 << 20

    private let directory: String
    private let loop: EventLoop
    private let logger: Logger
    private let thread: DiskThread
    /// Is told of each operation's end, on the loop.
    var completed: ((DiskCompletion) -> Void)?

    /// The kernel's side; nil until it is set up, and where it can't be.
    private var queue: (context: UInt, signal: Int32, channel: Channel)?
    /// The segment that is written to.
    private var segment: (file: String, descriptor: Int32)?
    private var pending: (operation: DiskOperation, file: String, byteCount: Int)?
    /// What the kernel writes from, left alone while `pending` is.
    private var buffer = UnsafeMutableRawBufferPointer(start: nil, count: 0)

    /// To be called on the loop.
    init(directory: String, loop: EventLoop, logger: Logger) {
        self.directory = directory
        self.loop = loop
        self.logger = logger
        thread = DiskThread(directory: directory, writesDirectly: true)
        setUpQueue()
    }

    private func setUpQueue() {
        var context: UInt = 0
        var signal: Int32 = -1
        let code = martlet_asyncio_open(&context, &signal)
        guard code == 0 else { return sayUnavailable(String(cString: strerror(code))) }
        NIOPipeBootstrap(group: loop)
            .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 16))
            .channelInitializer { [self] channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(SignalHandler(writer: self))
                }
            }
            .takingOwnershipOfDescriptor(input: signal)
            .whenComplete { [self, context, signal] result in
                switch result {
                case .success(let channel): queue = (context, signal, channel)
                case .failure(let error): sayUnavailable("\(error)")
                }
            }
    }

    private func sayUnavailable(_ reason: String) {
        logger.info("a thread writes the log", metadata: ["reason": "\(reason)"])
    }

    /// Begins an operation. The log has one under way at most.
    func perform(_ operation: DiskOperation) {
        precondition(pending == nil, "the log has one batch under way at most")
        if !begin(operation) { performOnThread(operation) }
    }

    /// Hands a batch to the kernel; false if the thread has to do it.
    private func begin(_ operation: DiskOperation) -> Bool {
        guard let queue, let segment, operation.steps.count == 2,
            case .write(segment.file, let offset, let bytes) = operation.steps[0],
            case .sync(segment.file) = operation.steps[1],
            bytes.count <= Self.maxBatchBytes
        else { return false }
        if buffer.count < bytes.count {
            buffer.deallocate()
            buffer = .allocate(
                byteCount: bytes.count * 2, alignment: PosixDisk.directAlignment)
        }
        buffer.copyBytes(from: bytes)
        let code = martlet_asyncio_begin(
            queue.context, segment.descriptor, buffer.baseAddress, bytes.count, off_t(offset),
            queue.signal)
        guard code == 0 else {
            if code != EAGAIN { giveUp(String(cString: strerror(code))) }
            return false
        }
        pending = (operation, segment.file, bytes.count)
        return true
    }

    /// The kernel has signalled.
    fileprivate func take() {
        var result: Int64 = 0
        guard let queue, martlet_asyncio_take(queue.context, &result) == 1, let batch = pending
        else { return }
        pending = nil
        switch result {
        case Int64(batch.byteCount):
            finish(batch.operation, .success([]))
        case -Int64(EAGAIN), 0..<Int64(batch.byteCount):
            // It couldn't be begun, or not all of it: nothing failed.
            performOnThread(batch.operation)
        case -Int64(EINVAL):
            giveUp(String(cString: strerror(EINVAL)))
            performOnThread(batch.operation)
        default:
            // Never tried again: the kernel may have dropped the bytes.
            let error = DiskError(
                call: "write", path: directory + "/" + batch.file, code: Int32(-result))
            finish(batch.operation, .failure(error))
        }
    }

    private func finish(_ operation: DiskOperation, _ result: Result<[[UInt8]], DiskError>) {
        completed?(DiskCompletion(operation: operation.id, result: result))
    }

    /// The file system or the device can't do it.
    private func giveUp(_ reason: String) {
        sayUnavailable(reason)
        queue?.channel.close(promise: nil)
        queue = nil
    }

    /// The thread writes, and opens the segment for the batches that follow.
    private func performOnThread(_ operation: DiskOperation) {
        var opening: String?
        if queue != nil, case .write(let file, _, _)? = operation.steps.first,
            file != segment?.file
        {
            opening = file
        }
        let former = opening == nil ? nil : segment?.descriptor
        if opening != nil { segment = nil }
        thread.submit { [self, opening, former] disk in
            // Here: to close the last descriptor of a removed file may take long.
            if let former { Glibc.close(former) }
            let completion = operation.perform(on: &disk)
            let opened = opening.flatMap { file in disk.duplicate(file).map { (file, $0) } }
            loop.execute { [self] in
                if let opened {
                    segment = opened
                } else if opening != nil, case .success = completion.result {
                    giveUp("the file system takes no direct writes")
                }
                completed?(completion)
            }
        }
    }

    /// Ends when what was begun has ended.
    func close() {
        queue?.channel.close(promise: nil)
        queue = nil
        thread.close()
    }
}

/// Hears the kernel's signal.
private final class SignalHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let writer: LogWriter

    init(writer: LogWriter) { self.writer = writer }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { writer.take() }
}
