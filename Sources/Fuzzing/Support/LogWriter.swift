import DurableLog
import TestSupport

/// Runs a log against a memory disk until nothing is under way.
struct LogWriter: ~Copyable {
    var log: DurableLog
    var disk: MemoryDisk
    private(set) var durable: UInt64 = 0
    private(set) var failure: LogError?
    private var pending: [DiskOperation] = []

    init(opening disk: MemoryDisk, _ recovered: RecoveredLog) {
        self.disk = disk
        log = DurableLog(
            continuing: recovered, identity: LogImage.identity, settings: LogImage.settings)
    }

    mutating func append(_ append: DurableLog.Append, token: UInt64, commitIndex: UInt64) {
        log.append(append, token: token, commitIndex: commitIndex)
        settle()
    }

    mutating func settle() {
        repeat {
            var outputs: [LogOutput] = []
            log.drain(into: &outputs)
            for output in outputs {
                switch output {
                case .perform(let operation): pending.append(operation)
                case .durable(let token): durable = token
                case .failed(let error): failure = error
                case .entries, .entriesGone: break
                }
            }
            guard !pending.isEmpty else { return }
            log.completed(pending.removeFirst().perform(on: &disk))
        } while true
    }
}
