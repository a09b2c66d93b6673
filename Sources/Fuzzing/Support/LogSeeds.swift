import DurableLog
import EtcdWire
import KVCore
import RaftCore
import Replica
import TestSupport

/// Logs as a member writes them: entries, votes, truncations, compactions, segment changes.
enum LogSeeds {
    static let membership = MembershipRecord(
        members: [.init(id: 1, peerURLs: ["http://n1"], role: .voter)], removedIDs: [])

    static let base = LogBase(index: 0, term: 0, chain: 0, configuration: membership.encode())

    static func entry(_ index: UInt64, term: UInt64, valueBytes: Int = 20) -> LogEntry {
        var body: [UInt8] = []
        var put = PutRequest()
        put.key = Array("key\(index % 5)".utf8)[...]
        put.value = [UInt8](repeating: UInt8(index), count: valueBytes)[...]
        put.encode(into: &body)
        let origin = Origin(member: 1, boot: 1, sequence: index)
        return LogEntry(
            index: index, term: term,
            bytes: Envelope.encode(kind: .put, origin: origin, body: body))
    }

    /// A directory to which `write` has added, with a marker at its end.
    static func written(_ write: (inout LogWriter) -> Void) -> LogImage {
        var disk = MemoryDisk()
        // A fresh memory disk fails at nothing.
        try? LogRecovery.initialize(
            &disk, identity: LogImage.identity, base: base, settings: LogImage.settings)
        guard let recovered = try? LogRecovery.open(&disk, identity: LogImage.identity) else {
            preconditionFailure("a log that was just made can be opened")
        }
        var writer = LogWriter(opening: disk, recovered)
        writer.settle()
        write(&writer)
        writer.log.writeMarker()
        writer.settle()
        return LogImage(&writer.disk)
    }

    private static func append(
        _ writer: inout LogWriter, _ range: ClosedRange<UInt64>, term: UInt64, valueBytes: Int = 20
    ) {
        for index in range {
            writer.append(
                .init(entries: [entry(index, term: term, valueBytes: valueBytes)]), token: index,
                commitIndex: index - 1)
        }
    }

    /// A few batches in one segment.
    static let short = written { writer in
        writer.append(.init(vote: RecordedVote(term: 1, vote: 1)), token: 1, commitIndex: 0)
        append(&writer, 1...6, term: 1)
    }

    /// Entries that were replaced in a later term.
    static let replaced = written { writer in
        writer.append(.init(vote: RecordedVote(term: 1, vote: 1)), token: 1, commitIndex: 0)
        append(&writer, 1...5, term: 1)
        writer.append(
            .init(
                vote: RecordedVote(term: 3, vote: 0), truncation: 3,
                entries: [entry(4, term: 3), entry(5, term: 3)]), token: 20, commitIndex: 3)
        append(&writer, 6...8, term: 3)
    }

    /// More than one segment.
    static let long = written { writer in
        writer.append(.init(vote: RecordedVote(term: 2, vote: 1)), token: 1, commitIndex: 0)
        append(&writer, 1...22, term: 2, valueBytes: 900)
    }

    static let all = [short, replaced, long]
}
