import CAsyncIO
import DurableLog
import Glibc
import Logging
import NIOCore
import SocketTransport

/// Carries out what the log wants written, one operation at a time, on behalf of an event loop.
///
/// A batch is handed to the kernel, which writes it past its cache and signals the loop when the
/// bytes are on the platters: no thread is woken to wait for that. With three members on one disk a
/// batch of 16 KiB took 285 µs and 85 µs of CPU by a thread, 205 and 55 this way.
///
/// The loop must not wait for the disk, so a thread gets what the kernel can't begin at once, and
/// everything where it can't write that way at all. It also notes the time with the file: the first
/// write in a tick of the coarse clock would, and some file systems wait for their journal then,
/// whatever they were asked. While a batch is under way the next tick's time is noted ahead.
///
/// `@unchecked Sendable`: used on its loop only; the thread's work holds it to come back there.
final class LogWriter: @unchecked Sendable {
    /// Larger batches go to the thread: handing them over is the least of what they cost.
    private static let maxBatchBytes = 1 << 20

    private let directory: String
    private let loop: SocketLoop
    private let logger: Logger
    private let thread: DiskThread
    /// Is told of each operation's end, on the loop.
    var completed: ((DiskCompletion) -> Void)?

    /// The kernel's side; nil until it is set up, and where it can't be.
    private var kernel: (context: UInt, descriptor: Int32, signal: EventSignal)?
    /// The segment that is written to.
    private var segment: (file: String, descriptor: Int32)?
    /// The tick in which the segment's time was noted last.
    private var notedTick: Int64?
    private var isNotingTime = false
    /// What begins when the time is noted.
    private var waiting: DiskOperation?
    private var pending: (operation: DiskOperation, file: String, byteCount: Int)?
    /// What the kernel writes from, left alone while `pending` is.
    private var buffer = UnsafeMutableRawBufferPointer(start: nil, count: 0)

    /// To be called on the loop.
    init(directory: String, loop: SocketLoop, logger: Logger) {
        self.directory = directory
        self.loop = loop
        self.logger = logger
        thread = DiskThread(directory: directory, writesDirectly: true)
        setUpKernel()
    }

    private func setUpKernel() {
        var context: UInt = 0
        var descriptor: Int32 = -1
        let code = martlet_asyncio_open(&context, &descriptor)
        guard code == 0 else { return sayUnavailable(String(cString: strerror(code))) }
        do {
            let signal = try EventSignal(descriptor: descriptor, loop: loop) { [unowned self] in
                collect()
            }
            kernel = (context, descriptor, signal)
        } catch {
            // The context stays: without one there is nothing to take back from the kernel.
            Glibc.close(descriptor)
            sayUnavailable("\(error)")
        }
    }

    private func sayUnavailable(_ reason: String) {
        logger.info("a thread writes the log", metadata: ["reason": "\(reason)"])
    }

    /// Begins an operation. The log has one under way at most.
    func perform(_ operation: DiskOperation) {
        precondition(
            pending == nil && waiting == nil, "the log has one batch under way at most")
        if !isForKernel(operation) {
            performOnThread(operation)
        } else if notedTick == Self.tick() {
            begin(operation)
        } else {
            waiting = operation
            noteTime()
        }
    }

    private func isForKernel(_ operation: DiskOperation) -> Bool {
        guard kernel != nil, let segment, operation.steps.count == 2,
            case .write(segment.file, _, let bytes) = operation.steps[0],
            case .sync(segment.file) = operation.steps[1]
        else { return false }
        return bytes.count <= Self.maxBatchBytes
    }

    /// Hands a batch to the kernel, or to the thread if that can't begin it.
    private func begin(_ operation: DiskOperation) {
        guard let kernel, let segment,
            case .write(_, let offset, let bytes)? = operation.steps.first
        else { return performOnThread(operation) }
        if buffer.count < bytes.count {
            buffer.deallocate()
            buffer = .allocate(
                byteCount: bytes.count * 2, alignment: PosixDisk.directAlignment)
        }
        buffer.copyBytes(from: bytes)
        let code = martlet_asyncio_begin(
            kernel.context, segment.descriptor, buffer.baseAddress, bytes.count, off_t(offset),
            kernel.descriptor)
        guard code == 0 else {
            if code != EAGAIN { giveUp(String(cString: strerror(code))) }
            return performOnThread(operation)
        }
        pending = (operation, segment.file, bytes.count)
    }

    // MARK: - The file's time

    /// To be called at the end of each turn: with a batch under way, what the next one needs noted
    /// costs it no time.
    func noteTimeAhead() {
        if pending != nil, notedTick != Self.tick() { noteTime() }
    }

    private func noteTime() {
        guard !isNotingTime, let segment else { return }
        isNotingTime = true
        thread.submit { [self] _ in
            let before = Self.tick()
            let times = [
                timespec(tv_sec: 0, tv_nsec: Self.leaveAsItIs),
                timespec(tv_sec: 0, tv_nsec: Self.setToNow),
            ]
            let isSet = futimens(segment.descriptor, times) == 0
            let isNoted = isSet && before == Self.tick()
            loop.execute { [self] in timeNoted(isNoted ? before : nil) }
        }
    }

    private func timeNoted(_ tick: Int64?) {
        isNotingTime = false
        if let tick { notedTick = tick }
        guard let operation = waiting else { return }
        waiting = nil
        if notedTick == Self.tick() {
            begin(operation)
        } else {
            performOnThread(operation)
        }
    }

    // `UTIME_OMIT` and `UTIME_NOW`, which Swift doesn't see.
    private static let leaveAsItIs = (1 << 30) - 2
    private static let setToNow = (1 << 30) - 1

    /// The time as the kernel notes it with files, in nanoseconds: it stands still for milliseconds.
    private static func tick() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME_COARSE, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }

    /// The kernel has signalled.
    private func collect() {
        var result: Int64 = 0
        guard let kernel, martlet_asyncio_take(kernel.context, &result) == 1, let batch = pending
        else { return }
        pending = nil
        switch result {
        case Int64(batch.byteCount):
            finish(batch.operation, .success([]))
        case -Int64(EAGAIN), 0..<Int64(batch.byteCount):
            // It couldn't be begun, or not all of it: nothing failed.
            performOnThread(batch.operation)
        case -Int64(EINVAL), -Int64(EOPNOTSUPP):
            giveUp(String(cString: strerror(Int32(-result))))
            performOnThread(batch.operation)
        default:
            fail(batch.operation, batch.file, Int32(-result))
        }
    }

    /// A batch that failed is never tried again: the kernel may have dropped its bytes.
    private func fail(_ operation: DiskOperation, _ file: String, _ code: Int32) {
        let error = DiskError(call: "write", path: directory + "/" + file, code: code)
        finish(operation, .failure(error))
    }

    private func finish(_ operation: DiskOperation, _ result: Result<[[UInt8]], DiskError>) {
        completed?(DiskCompletion(operation: operation.id, result: result))
    }

    /// The file system or the device can't do it.
    private func giveUp(_ reason: String) {
        sayUnavailable(reason)
        stopUsingKernel()
    }

    private func stopUsingKernel() {
        kernel?.signal.close()
        kernel = nil
        guard let descriptor = segment?.descriptor else { return }
        segment = nil
        thread.submit { _ in Glibc.close(descriptor) }
    }

    /// The thread writes, and opens the segment for the batches that follow.
    private func performOnThread(_ operation: DiskOperation) {
        var opening: String?
        if kernel != nil, case .write(let file, _, _)? = operation.steps.first,
            file != segment?.file
        {
            opening = file
        }
        let former = opening == nil ? nil : segment?.descriptor
        if opening != nil { segment = nil }
        thread.submit { [self, opening, former] disk in
            // Here: to close the last descriptor of a removed file may take long.
            if let former { Glibc.close(former) }
            let tick = Self.tick()
            let completion = operation.perform(on: &disk)
            let opened = opening.flatMap { file in disk.duplicate(file).map { (file, $0) } }
            // What a start read of it is in the cache, and the kernel would have to let go of that
            // before each batch, which it doesn't begin then.
            if let opened { posix_fadvise(opened.1, 0, 0, POSIX_FADV_DONTNEED) }
            loop.execute { [self] in
                notedTick = tick
                if let opened {
                    segment = opened
                } else if opening != nil, case .success = completion.result {
                    giveUp("no descriptor for direct writes")
                }
                completed?(completion)
            }
        }
    }

    /// Lets the thread end when it has done what it was given. The process ends when the kernel has.
    func close() {
        if let operation = waiting {
            waiting = nil
            performOnThread(operation)
        }
        stopUsingKernel()
        thread.close()
    }
}
