import EtcdWire
import TestSupport
import Testing

@testable import KVCore

/// A store with a bit of everything: chains, deletions, leases, members, a compaction.
private func furnished() -> Member {
    let member = Member()
    member.apply(
        .configuration,
        MembershipRecord(
            members: [
                .init(id: 1, peerURLs: ["http://a:2380"], role: .voter),
                .init(id: 2, peerURLs: [], role: .learner),
            ], removedIDs: [7]
        ).encode())
    member.apply(
        .memberAttributes,
        MemberAttributes(
            id: 1, name: "a", clientURLs: ["http://a:2379"],
            directoryID: [UInt8](repeating: 3, count: 16)
        ).encode())
    member.grant(5, ttl: 60)
    member.grant(6, ttl: 30)
    member.apply(
        .leaseCheckpoint, LeaseCheckpoint(items: [.init(id: 5, remainingSeconds: 12)]).encode())
    member.put("kept", "old")
    member.put("gone")
    member.delete("gone")
    member.put("leased", "1", lease: 5)
    member.put("reborn", "1")
    member.delete("reborn")
    member.compact(7)
    member.put("reborn", "2", lease: 6)
    member.put("leased", "2", lease: 6)
    member.txn(
        txnRequest(then: [.put(putRequest("z", "")), .put(putRequest("a", "first"))]))
    member.delete("kept")
    return member
}

private func expectEqual(_ left: Member, _ right: Member) throws {
    #expect(left.store.revision == right.store.revision)
    #expect(left.store.compactedRevision == right.store.compactedRevision)
    #expect(left.store.appliedIndex == right.store.appliedIndex)
    #expect(left.store.appliedTerm == right.store.appliedTerm)
    #expect(left.store.stateHash == right.store.stateHash)
    #expect(left.store.logicalBytes == right.store.logicalBytes)
    #expect(left.store.allLeases() == right.store.allLeases())
    #expect(left.store.members == right.store.members)
    #expect(left.store.removedMemberIDs == right.store.removedMemberIDs)
    #expect(left.snapshot() == right.snapshot())
    for revision in max(1, left.store.compactedRevision)...left.store.revision {
        let all = rangeRequest("\0", end: "\0", revision: revision)
        #expect(try left.range(all) == right.range(all))
        #expect(
            try left.store.hashKV(revision: revision) == right.store.hashKV(revision: revision))
    }
    for id: Int64 in [5, 6] {
        #expect(
            left.store.keys(ofLease: id).map(KV.init) == right.store.keys(ofLease: id).map(KV.init))
    }
}

@Suite("The snapshot body")
struct SnapshotTests {
    @Test(
        "a decoded store equals the encoded one, in any pieces, and goes on like it",
        arguments: [1, 2, 3, 17, 100_000])
    func roundTrip(pieces: Int) throws {
        let member = furnished()
        let copy = Member(try decodeSnapshot(member.snapshot(), pieces: pieces))
        try expectEqual(member, copy)
        for each in [member, copy] {
            each.put("leased", "3", lease: 5)
            each.compact(10)
            each.revoke(6)
            each.compact(12)
            each.trim()
        }
        try expectEqual(member, copy)
    }

    @Test("the fresh store's body is the one of the format page, byte for byte")
    func golden() {
        let body = Member().snapshot()
        let blocks: [[UInt8]] = [
            [45, 0, 0, 0, 1, 2, 0, 0, 0] + [1, 0, 0, 0, 0, 0, 0, 0]
                + [UInt8](repeating: 0xff, count: 8) + [UInt8](repeating: 0, count: 16)
                + [0x31, 0x74, 0x65, 0x6c, 0x74, 0x72, 0x61, 0x6d],
            [9, 0, 0, 0, 2] + [UInt8](repeating: 0, count: 8),
            [25, 0, 0, 0, 5] + [UInt8](repeating: 0, count: 24),
        ]
        var hash: UInt64 = 0
        var expected: [UInt8] = []
        for block in blocks {
            hash = block.dropFirst(4).withUnsafeBytes { SnapshotFormat.hash(previous: hash, $0) }
            expected += block
            expected.append(littleEndian: hash)
        }
        #expect(body == expected)
    }

    @Test("the bytes don't depend on the sizes asked for, on trimming or on the tree's past")
    func deterministic() throws {
        let member = furnished()
        let view = member.store.takeView()
        let bytes = encodeSnapshot(view, maxBytes: 1)
        #expect(encodeSnapshot(view, maxBytes: 1 << 20) == bytes)
        member.trim()
        #expect(encodeSnapshot(member.store.takeView()) == bytes)
        let follower = Member()
        for entry in member.log {
            follower.apply(entry)
            follower.trim()
            _ = follower.store.takeView()
        }
        try expectEqual(member, follower)
    }

    @Test("a store of many blocks, with long chains across them, survives")
    func large() throws {
        let member = Member()
        for number in 0..<3_000 {
            member.put("key/\(number % 700)", String(repeating: "x", count: number % 300))
            member.put("hot", String(repeating: "y", count: 100))
        }
        for id in Int64(1)...5_000 { member.grant(id) }
        let bytes = member.snapshot()
        #expect(bytes.count > 10 * SnapshotFormat.blockBytes)
        let copy = Member(try decodeSnapshot(bytes, pieces: 10_000))
        #expect(copy.snapshot() == bytes)
        #expect(copy.store.keyCount == 701 && copy.store.leaseCount == 5_000)
        #expect(try copy.get("hot", revision: 3)?.version == 1)
        #expect(try copy.get("hot", revision: 3_001)?.version == 1_500)
    }

    @Test("the encoder works on while the store changes")
    func whileChanging() throws {
        let member = Member()
        for number in 0..<2_000 { member.put("k\(number)", String(repeating: "v", count: 200)) }
        let expected = member.snapshot()
        var encoder = SnapshotEncoder(member.store.takeView())
        var bytes: [UInt8] = []
        var number = 0
        while let piece = encoder.next(maxBytes: 1) {
            bytes += piece
            for _ in 0..<50 {
                member.put("k\(number % 3_000)", "changed")
                member.delete("k\((number * 7) % 2_000)")
                number += 1
            }
            member.compact(member.store.revision - 3)
            _ = member.store.compactStep(budget: 100)
        }
        #expect(bytes == expected)
    }

    @Test("any flipped byte is an error, wherever it is")
    func flipped() throws {
        let bytes = furnished().snapshot()
        for index in bytes.indices {
            for mask: UInt8 in [1, 0x80, 0xff] {
                var damaged = bytes
                damaged[index] ^= mask
                #expect(throws: SnapshotError.self) { _ = try decodeSnapshot(damaged) }
            }
        }
    }

    @Test("any truncation is incomplete, bytes behind the end are refused")
    func truncated() throws {
        let bytes = furnished().snapshot()
        for count in bytes.indices {
            #expect(throws: SnapshotError.incomplete) {
                _ = try decodeSnapshot([UInt8](bytes[..<count]))
            }
        }
        #expect(throws: SnapshotError.self) { _ = try decodeSnapshot(bytes + [0]) }
        #expect(throws: SnapshotError.self) { _ = try decodeSnapshot(bytes + bytes) }
    }

    /// Changes a byte and makes the hashes fit again, as no accident would.
    private func forge(_ bytes: [UInt8], at index: Int, to value: UInt8) -> [UInt8] {
        var forged = bytes
        forged[index] = value
        var hash: UInt64 = 0
        var offset = 0
        while forged.count - offset >= 4 {
            let length = (0..<4).reversed().reduce(0) { $0 << 8 | Int(forged[offset + $1]) }
            let end = offset + 4 + length
            guard length > 0, end + 8 <= forged.count else { break }
            hash = forged[(offset + 4)..<end].withUnsafeBytes {
                SnapshotFormat.hash(previous: hash, $0)
            }
            var hashBytes: [UInt8] = []
            hashBytes.append(littleEndian: hash)
            forged.replaceSubrange(end..<(end + 8), with: hashBytes)
            offset = end + 8
        }
        return forged
    }

    @Test("a forged body with fitting hashes is an error or a store that encodes to it")
    func forged() throws {
        let bytes = furnished().snapshot()
        var generator = Seeded(seed: 12)
        var accepted = 0
        for index in bytes.indices {
            for value in [0, 1, 0x7f, 0x80, 0xff, UInt8(generator.below(256))] {
                let forged = forge(bytes, at: index, to: value)
                do throws(SnapshotError) {
                    let member = Member(try decodeSnapshot(forged))
                    #expect(member.snapshot() == forged, "byte \(index) = \(value)")
                    member.put("after", "v")
                    member.compact(member.store.revision)
                    member.trim()
                    accepted += 1
                } catch {
                    continue
                }
            }
        }
        #expect(accepted > 100, "values are anybody's")
    }

    @Test("another format version is named", arguments: [1, 3] as [UInt8])
    func otherVersion(version: UInt8) {
        let forged = forge(Member().snapshot(), at: 5, to: version)
        #expect(throws: SnapshotError.unknownFormatVersion(UInt32(version))) {
            _ = try decodeSnapshot(forged)
        }
    }
}
