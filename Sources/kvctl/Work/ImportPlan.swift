import Crypto
import FoundationEssentials
import KVClient

/// What an import has to write: files whose content isn't what the store holds.
struct ImportPlan {
    struct Change: Equatable, Sendable {
        let file: [UInt8]
        let key: [UInt8]
        let isNew: Bool
    }

    /// Values of a page are held at once, and each may be large.
    private static let pageKeys: Int64 = 32

    let folder: [UInt8]
    let prefix: [UInt8]
    private(set) var changes: [Change] = []
    private(set) var unchangedCount = 0
    private(set) var failures: [String] = []

    init(folder: [UInt8], prefix: [UInt8]) {
        self.folder = folder
        self.prefix = prefix
    }

    mutating func compare(_ files: [[UInt8]], with client: KVClient) async throws {
        var stored: [Data: SHA256.Digest] = [:]
        var request = Etcd.RangeRequest.keys(.prefix(prefix))
        request.limit = Self.pageKeys
        try await client.pages(request) { page in
            for kv in page.kvs { stored[kv.key] = SHA256.hash(data: kv.value) }
        }
        for file in files {
            let key = prefix + file
            do throws(CommandFailure) {
                let digest = SHA256.hash(data: try content(file))
                let present = stored[Data(key)]
                if present == digest {
                    unchangedCount += 1
                } else {
                    changes.append(Change(file: file, key: key, isNew: present == nil))
                }
            } catch {
                failures.append(error.text)
            }
        }
    }

    func content(_ file: [UInt8]) throws(CommandFailure) -> [UInt8] {
        try FileIO.read(FileTree.join(folder, file))
    }
}

/// Writes the changes of an import, several at once.
struct ImportWriter: Sendable {
    private static let concurrentWrites = 16
    /// A write whose outcome is open is settled by reading; that goes on for so many timeouts.
    private static let triesPerKey = 6

    private let client: KVClient
    private let timeout: Duration

    init(_ client: KVClient, timeout: Duration) {
        self.client = client
        self.timeout = timeout
    }

    /// - Parameter done: called after each change, with what went wrong if anything did.
    func write(_ plan: ImportPlan, done: (ImportPlan.Change, String?) -> Void) async {
        await withTaskGroup(of: (ImportPlan.Change, String?).self) { group in
            func finishOne() async {
                guard let (change, failure) = await group.next() else { return }
                done(change, failure)
            }
            for (index, change) in plan.changes.enumerated() {
                if index >= Self.concurrentWrites { await finishOne() }
                group.addTask {
                    do {
                        let value = try plan.content(change.file)
                        try await write(change.key, value)
                        return (change, nil)
                    } catch {
                        let key = String(decoding: change.key, as: UTF8.self)
                        return (change, "\(key): \(Self.text(error))")
                    }
                }
            }
            for _ in 0..<min(plan.changes.count, Self.concurrentWrites) { await finishOne() }
        }
    }

    /// An import makes keys equal to files, so a write whose outcome is open may be made again if
    /// reading shows that it didn't happen.
    private func write(_ key: [UInt8], _ value: [UInt8]) async throws(KVClientError) {
        var tries = 1
        while true {
            do throws(KVClientError) {
                if tries > 1, let present = try await client.get(key),
                    present.value.elementsEqual(value)
                {
                    return
                }
                try await client.put(key, value)
                return
            } catch {
                guard error.mayPass, tries < Self.triesPerKey else { throw error }
                tries += 1
            }
            // What may pass, an election for instance, gets time to.
            try? await Task.sleep(for: timeout / 10)
        }
    }

    private static func text(_ error: any Error) -> String {
        (error as? CommandFailure)?.text ?? "\(error)"
    }
}
