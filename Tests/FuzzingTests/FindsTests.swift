import DurableLog
import KVCore
import RaftCore
import Replica
import TestSupport
import Testing

@testable import Fuzzing

/// What fuzzing found, each in its shortest form. Before the fix each of them trapped, unless it
/// says otherwise.
@Suite("Finds")
struct FindsTests {
    // MARK: Logs whose checksums are right

    private func open(_ change: (inout [LogImage.Batch]) -> Void) throws(LogError) {
        var image = LogSeeds.short
        var batches = image.batches()
        change(&batches)
        image.replace(batches)
        var disk = image.disk()
        _ = try RecoveredReplica.open(
            &disk, identity: LogImage.identity, limits: StoreLimits())
    }

    private func corrupts(_ change: (inout [LogImage.Batch]) -> Void) -> Bool {
        do throws(LogError) {
            try open(change)
            return false
        } catch .corrupt {
            return true
        } catch {
            return false
        }
    }

    /// An entry record, as `docs/storage-format.md` has it.
    private func record(index: UInt64, term: UInt64) -> [UInt8] {
        var record: [UInt8] = [3]
        record.put(index)
        record.put(term)
        record.put(UInt32(0))
        return record
    }

    @Test("numbers at the end of their range are no part of a log", arguments: [1 << 63, .max])
    func logNumbers(number: UInt64) {
        #expect(corrupts { $0[1].payload += record(index: number, term: 1) })
        #expect(corrupts { $0[0].number = number })
        #expect(corrupts { $0[2].epoch = number })
        // The batch before it is damaged, so what this one claims counts.
        #expect(
            corrupts {
                $0[3].number += 1
                $0[4].syncedOffset = number
            })
    }

    @Test("an entry without an index is no part of a log")
    func noIndex() {
        #expect(corrupts { $0[1].payload += record(index: 0, term: 0) })
    }

    @Test("terms that go back or pass the recorded one are damage")
    func logTerms() {
        #expect(corrupts { $0[3].payload = record(index: 1, term: 9) })
        #expect(corrupts { $0[4].payload += [1] + [UInt8](repeating: 0, count: 16) })
    }

    // MARK: Snapshots whose checksums are right

    @Test("numbers at the end of their range are no part of a snapshot", arguments: [4, 20, 28])
    func snapshotNumbers(offset: Int) throws {
        var store = StoreSeeds.store(entries: 3)
        var blocks = SnapshotContentTarget.blocks(StoreSeeds.content(&store))
        // Kind, version, then revision, compacted revision, applied index and term.
        for place in (1 + offset)..<(1 + offset + 8) {
            blocks[0][place] = place == offset + 8 ? 0x7f : 0xff
        }
        let content = SnapshotContentTarget.joined(blocks)
        var isRefused = false
        do throws(KVCore.SnapshotError) {
            _ = try SnapshotContentTarget.decode(content, piece: .max)
        } catch {
            isRefused = true
        }
        #expect(isRefused)
    }

    // MARK: Peers

    private func fault(_ scene: UInt8, _ body: Message.Body, term: Term? = nil) throws -> [String] {
        var member = try PeerTarget.member(scene)
        let frame = PeerCodec.encode(
            .raft(
                Message(from: 3, to: 1, term: term ?? member.status.term, body: body),
                entryBytes: []))
        member.handle(.peerFrame(3, frame))
        return member.faults.map(\.reason)
    }

    @Test("a second leader in a term is at fault", arguments: [1, 2])
    func secondLeader(scene: UInt8) throws {
        let faults = try fault(scene, .heartbeat(.init(commitIndex: 0, round: 0)))
        #expect(faults.count == 1 && faults[0].contains("leads term"))
    }

    @Test("a rejection of an append behind nothing is at fault")
    func rejection() throws {
        let response = Message.AppendResponse(
            outcome: .rejected(previous: 0, hintIndex: 0, hintTerm: 0), round: 0,
            wantsCommits: false)
        #expect(
            try fault(2, .appendResponse(response)) == ["an append behind nothing was rejected"])
    }

    @Test("a term at the end of its range is no term")
    func terms() throws {
        #expect(try fault(1, .timeoutNow, term: .max) == ["\(UInt64.max) is no index or term"])
    }

    @Test("an append over a committed entry is at fault and changes nothing")
    func committed() throws {
        var member = try PeerTarget.member(1)
        let before = member.status
        let entries = (1...(before.lastIndex + 2)).map { _ in
            StoreSeeds.envelope(.noop, [])
        }
        let append = Message.Append(
            previous: .zero,
            entries: entries.map {
                EntryMetadata(term: before.term + 5, digest: 0, byteCount: UInt32($0.count))
            }, commitIndex: 0, round: 0)
        let message = Message(from: 2, to: 1, term: before.term + 5, body: .append(append))
        member.handle(.peerFrame(2, PeerCodec.encode(.raft(message, entryBytes: entries))))
        #expect(before.commitIndex > 0)
        #expect(member.faults.count == 1 && member.faults[0].reason.contains("is committed"))
        #expect(member.status.lastIndex == before.lastIndex && member.status.term == before.term)
    }

    /// Before the fix the leader proposed it, unknown to consensus.
    @Test("a configuration can't be forwarded", arguments: [EntryKind.configuration, .noop])
    func forwarded(kind: EntryKind) throws {
        var member = try PeerTarget.member(2)
        let before = member.status
        #expect(before.isLeader)
        let entry = Envelope.encode(
            kind: kind, origin: Origin(member: 3, boot: 1, sequence: 1),
            body: PeerTarget.membership.encode())
        member.handle(
            .peerFrame(3, PeerCodec.encode(.forward(term: before.term, envelopes: [entry]))))
        #expect(member.faults.map(\.reason) == ["a forwarded entry is invalid"])
        #expect(member.status.lastIndex == before.lastIndex)
    }
}
