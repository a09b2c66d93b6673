import DurableLog
import TestSupport
import Testing

@Suite("A crash at any disk call")
struct CrashTests {
    /// What the log was told, so that a recovered one can be compared with it.
    struct Model {
        struct State: Equatable {
            var vote = RecordedVote(term: 0, vote: 0)
            var base = emptyBase
            var entries: [LogEntry] = []
            var lastIndex: UInt64 { entries.last?.index ?? base.index }
        }
        /// Every state the log went through with the last token complete by then. A long append
        /// spans batches, so a crash may leave a part of it.
        var states: [(token: UInt64, state: State)] = [(0, State())]
        var current: State { states.last!.state }

        mutating func record(_ append: DurableLog.Append, token: UInt64) {
            var state = current
            func note(_ state: State) -> (token: UInt64, state: State) { (token - 1, state) }
            if let vote = append.vote {
                state.vote = vote
                states.append(note(state))
            }
            if let reset = append.reset {
                state.base = reset
                state.entries = []
                states.append(note(state))
            }
            if let truncation = append.truncation {
                state.entries.removeAll { $0.index > truncation }
                states.append(note(state))
            }
            for entry in append.entries {
                state.entries.append(entry)
                states.append(note(state))
            }
            states.append((token, state))
        }

        func matches(_ recovered: RecoveredLog, atLeast token: UInt64) -> Bool {
            states.contains { reached, state in
                guard reached >= token else { return false }
                // A compaction may or may not have been recorded yet.
                let base = max(state.base.index, recovered.base.index)
                return state.vote == recovered.vote
                    && state.lastIndex == (recovered.entries.last?.index ?? recovered.base.index)
                    && state.entries.filter { $0.index > base }
                        == recovered.entries.filter { $0.index > base }
            }
        }
    }

    static func randomAppend(
        _ state: inout Model.State, random: inout Seeded
    ) -> DurableLog.Append {
        var append = DurableLog.Append()
        let choice = Int.random(in: 0..<10, using: &random)
        if choice == 0 {
            state.vote = RecordedVote(term: state.vote.term + 1, vote: 3)
            append.vote = state.vote
        } else if choice == 1, let last = state.entries.last {
            let keep = UInt64.random(in: state.base.index...last.index, using: &random)
            append.truncation = keep
            state.entries.removeAll { $0.index > keep }
        } else if choice == 2, Int.random(in: 0..<6, using: &random) == 0 {
            let index = (state.entries.last?.index ?? state.base.index) + 10
            state.base = LogBase(index: index, term: 1, chain: 5, configuration: [9])
            state.entries = []
            append.reset = state.base
        } else if choice == 3 {
            return append  // A barrier.
        }
        for _ in 0..<Int.random(in: 0..<4, using: &random) {
            let index = (state.entries.last?.index ?? state.base.index) + 1
            let size = Int.random(in: 0..<1_500, using: &random)
            let new = entry(index, term: state.vote.term, size: size)
            state.entries.append(new)
            append.entries.append(new)
        }
        return append
    }

    @Test(
        "keeps everything acknowledged and nothing else than what was decided", arguments: 0..<150)
    func crash(seed: Int) throws {
        var random = Seeded(seed: UInt64(seed))
        var disk = try freshDisk()
        var model = Model()
        for _ in 0..<4 {
            let recovered = try LogRecovery.open(&disk, identity: testIdentity)
            // What survived is the truth from now on.
            model = Model()
            model.states[0].state = Model.State(
                vote: recovered.vote, base: recovered.base, entries: recovered.entries)
            var driver = LogDriver(opening: disk, recovered: recovered)
            driver.disk.failAtCall = driver.disk.callCount + .random(in: 1..<120, using: &random)
            run(&driver, &model, &random)
            let acknowledged = driver.durable.max() ?? 0
            disk = driver.disk
            disk.crash(random: &random)
            let after = try LogRecovery.open(&disk, identity: testIdentity)
            let isFaithful = model.matches(after, atLeast: acknowledged)
            #expect(isFaithful, "seed \(seed), acknowledged \(acknowledged)")
        }
    }

    private func run(_ driver: inout LogDriver, _ model: inout Model, _ random: inout Seeded) {
        var token: UInt64 = 0
        while driver.failure == nil {
            var state = model.current
            let append = Self.randomAppend(&state, random: &random)
            token += 1
            model.record(append, token: token)
            #expect(model.current == state)
            driver.log.append(append, token: token, commitIndex: 0)
            if Int.random(in: 0..<15, using: &random) == 0, state.entries.count > 6 {
                let at = state.entries[state.entries.count - 3]
                state.base = LogBase(index: at.index, term: at.term, chain: 1, configuration: [])
                state.entries.removeFirst(state.entries.count - 2)
                driver.log.compact(to: state.base)
                model.states[model.states.count - 1].state = state
            }
            for _ in 0..<Int.random(in: 0..<3, using: &random) { _ = driver.performOne() }
            if Bool.random(using: &random) { driver.log.writeMarker() }
        }
    }
}

@Suite("Commit index")
struct CommitIndexTests {
    @Test("an older batch never carries a commit that speaks of its replacement")
    func olderBatch() throws {
        var disk = try freshDisk()
        let recovered = try LogRecovery.open(&disk, identity: testIdentity)
        var driver = LogDriver(opening: disk, recovered: recovered)
        driver.settle()
        driver.log.append(.init(entries: [1, 2, 3].map { entry($0) }), token: 1, commitIndex: 0)
        driver.collect()
        // The disk is busy. A batch is filled, then its entries are replaced and committed.
        driver.log.append(
            .init(entries: [4, 5, 6].map { entry($0, size: 900) }), token: 2, commitIndex: 3)
        driver.log.append(
            .init(
                vote: RecordedVote(term: 2, vote: 3), truncation: 3, entries: [entry(4, term: 2)]),
            token: 3, commitIndex: 3)
        driver.log.append(.init(entries: [entry(5, term: 2)]), token: 4, commitIndex: 4)
        while driver.durable.last != 2 {
            let isGoingOn = driver.performOne()
            try #require(isGoingOn)
        }
        // Power is lost before the replacement was written.
        var random = Seeded(seed: 1)
        driver.disk.crash(random: &random)
        var after = driver.disk
        let reopened = try LogRecovery.open(&after, identity: testIdentity)
        #expect(reopened.entries.map(\.term) == [1, 1, 1, 1, 1, 1])
        #expect(reopened.commitIndex == 3)
    }
}

@Suite("Damage")
struct DamageTests {
    /// A log of ten synced batches in one segment; each batch is one sector.
    func tenBatches(marker: Bool) throws -> MemoryDisk {
        var disk = try freshDisk()
        let recovered = try LogRecovery.open(&disk, identity: testIdentity)
        var driver = LogDriver(opening: disk, recovered: recovered)
        driver.settle()
        for index in 1...10 as ClosedRange<UInt64> {
            driver.log.append(.init(entries: [entry(index)]), token: index, commitIndex: index - 1)
            driver.settle()
        }
        #expect(driver.durable == Array(1...10))
        if marker {
            driver.log.writeMarker()
            driver.settle()
        }
        return driver.disk
    }

    let segment = "log-0000000000000001"

    @Test("an undamaged log comes back with its commit index")
    func intact() throws {
        var disk = try tenBatches(marker: true)
        let recovered = try LogRecovery.open(&disk, identity: testIdentity)
        #expect(recovered.entries == (1...10).map { entry($0) })
        #expect(recovered.commitIndex == 9)
        #expect(recovered.tornTail == nil)
    }

    @Test("a flipped bit in any synced batch is corruption, never a tear", arguments: 1...12)
    func rot(sector: Int) throws {
        // Sector 0 is the header; batch 1 initialised the log, batch 2 reopened it.
        var disk = try tenBatches(marker: true)
        disk.flipBit(in: segment, at: sector * 512 + 33)
        #expect(throws: LogError.self) {
            _ = try LogRecovery.open(&disk, identity: testIdentity)
        }
    }

    @Test("a flipped bit in the header is corruption")
    func rottenHeader() throws {
        var disk = try tenBatches(marker: true)
        disk.flipBit(in: segment, at: 20)
        #expect(throws: LogError.self) {
            _ = try LogRecovery.open(&disk, identity: testIdentity)
        }
    }

    @Test("so it is when only the last batch stands behind the header", arguments: [false, true])
    func rottenHeaderOfLastSegment(isZeroed: Bool) throws {
        var disk = try freshDisk()
        let file = "log-0000000000000002"
        var driver = LogDriver(
            opening: disk, recovered: try LogRecovery.open(&disk, identity: testIdentity))
        try driver.fill(untilBatchIn: file)
        disk = driver.disk
        if isZeroed {
            try disk.write(file, offset: 0, bytes: [UInt8](repeating: 0, count: 512))
        } else {
            disk.flipBit(in: file, at: 20)
        }
        #expect(throws: LogError.self) {
            _ = try LogRecovery.open(&disk, identity: testIdentity)
        }
    }

    @Test("a log of another format version is refused by name", arguments: [1, 3] as [UInt32])
    func otherVersion(version: UInt32) throws {
        // Magic, version, seven numbers, then the checksum of all that.
        var disk = try tenBatches(marker: true)
        var header = try disk.read(segment, offset: 0, byteCount: 68)
        header[8] = UInt8(version)
        let checksum = CRC32C.checksum(header)
        header += withUnsafeBytes(of: checksum.littleEndian) { Array($0) }
        try disk.write(segment, offset: 0, bytes: header)
        #expect(
            throws: LogError.unsupportedVersion(file: segment, found: version, supported: 2)
        ) {
            _ = try LogRecovery.open(&disk, identity: testIdentity)
        }
    }

    @Test("damage in a last batch that nothing claims as synced is a tear")
    func tear() throws {
        var disk = try tenBatches(marker: false)
        disk.flipBit(in: segment, at: 12 * 512 + 33)
        let recovered = try LogRecovery.open(&disk, identity: testIdentity)
        #expect(recovered.entries == (1...9).map { entry($0) })
        #expect(recovered.tornTail == "\(segment) at byte \(12 * 512)")
    }

    @Test("a segment that was cut short is corruption, wherever the cut is", arguments: [1, 5, 12])
    func shortSegment(sectors: Int) throws {
        var disk = try tenBatches(marker: true)
        disk.cut(segment, to: sectors * 512)
        #expect(throws: LogError.self) {
            _ = try LogRecovery.open(&disk, identity: testIdentity)
        }
    }

    @Test("a missing segment is named")
    func missingSegment() throws {
        var disk = try tenBatches(marker: true)
        disk.drop(segment)
        #expect(throws: LogError.self) {
            _ = try LogRecovery.open(&disk, identity: testIdentity)
        }
    }

    @Test("another member's segment is refused")
    func foreign() throws {
        var disk = try tenBatches(marker: true)
        let other = DirectoryIdentity(
            clusterID: 7, memberID: 12, directoryID: testIdentity.directoryID)
        do {
            _ = try LogRecovery.open(&disk, identity: other)
            Issue.record("the segment was accepted")
        } catch .foreign(let file, _) {
            #expect(file == segment)
        }
    }

    @Test("after a failed sync nothing completes any more")
    func failStop() throws {
        var disk = try freshDisk()
        let recovered = try LogRecovery.open(&disk, identity: testIdentity)
        var driver = LogDriver(opening: disk, recovered: recovered)
        driver.settle()
        driver.disk.failAtCall = driver.disk.callCount + 1
        driver.log.append(.init(entries: [entry(1)]), token: 1, commitIndex: 0)
        driver.settle()
        #expect(driver.failure != nil)
        driver.disk.failAtCall = .max
        driver.log.append(.init(entries: [entry(2)]), token: 2, commitIndex: 0)
        driver.settle()
        #expect(driver.durable.isEmpty)
    }
}

@Suite("Reading back")
struct ReadBackTests {
    @Test("entries come back across batches, segments and truncations")
    func read() throws {
        var disk = try freshDisk()
        let recovered = try LogRecovery.open(&disk, identity: testIdentity)
        var driver = LogDriver(opening: disk, recovered: recovered)
        for index in 1...40 as ClosedRange<UInt64> {
            driver.log.append(
                .init(entries: [entry(index, size: 900)]), token: index, commitIndex: 0)
            driver.settle()
        }
        driver.log.append(
            .init(truncation: 30, entries: [entry(31, term: 2), entry(32, term: 2)]), token: 41,
            commitIndex: 0)
        driver.settle()
        driver.log.read(5...32, request: 1)
        driver.settle()
        let expected = (5...30).map { entry($0, size: 900) } + [31, 32].map { entry($0, term: 2) }
        #expect(driver.read[1] == expected)
        driver.log.read(32...33, request: 2)
        driver.settle()
        #expect(driver.read[2] == [])
    }

    @Test("compaction removes whole segments and keeps what is behind the base")
    func compaction() throws {
        var disk = try freshDisk()
        let recovered = try LogRecovery.open(&disk, identity: testIdentity)
        var driver = LogDriver(opening: disk, recovered: recovered)
        for index in 1...60 as ClosedRange<UInt64> {
            driver.log.append(
                .init(entries: [entry(index, size: 900)]), token: index, commitIndex: 0)
            driver.settle()
        }
        let before = try driver.disk.list()
        driver.log.compact(to: LogBase(index: 50, term: 1, chain: 3, configuration: [4]))
        driver.settle()
        let kept = try driver.disk.list()
        #expect(kept.filter(before.contains).count < before.count)
        // Some of what isn't needed any more is used again, under a later name.
        #expect(kept.count <= 2 + smallSettings.maxReadySegments)
        var after = driver.disk
        let reopened = try LogRecovery.open(&after, identity: testIdentity)
        #expect(reopened.base == LogBase(index: 50, term: 1, chain: 3, configuration: [4]))
        #expect(reopened.entries == (51...60).map { entry($0, size: 900) })
    }

    @Test(
        "what a queued reset or truncation makes void stays until that is on disk",
        arguments: [
            DurableLog.Append(
                reset: LogBase(index: 90, term: 2, chain: 8, configuration: [9])),
            DurableLog.Append(truncation: 17, entries: [entry(18, term: 2)]),
        ])
    func voidOnlyInTheQueue(_ append: DurableLog.Append) throws {
        var disk = try freshDisk()
        let recovered = try LogRecovery.open(&disk, identity: testIdentity)
        var driver = LogDriver(opening: disk, recovered: recovered)
        for index in 1...45 as ClosedRange<UInt64> {
            driver.log.append(
                .init(entries: [entry(index, size: 900)]), token: index, commitIndex: 0)
            driver.settle()
        }
        driver.log.compact(to: LogBase(index: 17, term: 1, chain: 3, configuration: [4]))
        driver.collect()
        driver.log.append(append, token: 46, commitIndex: 0)
        // The compaction is on disk; the batch behind it isn't when the power fails.
        let isCompacted = driver.performOne()
        #expect(isCompacted)
        var after = driver.disk
        for removal in driver.pending where removal.lane == .background {
            _ = removal.perform(on: &after)
        }
        let reopened = try LogRecovery.open(&after, identity: testIdentity)
        #expect(reopened.entries == (18...45).map { entry($0, size: 900) })
        // Once it is, the segments go.
        let before = try driver.disk.list()
        driver.settle()
        driver.log.compact(to: LogBase(index: 95, term: 2, chain: 9, configuration: [4]))
        driver.settle()
        #expect(try driver.disk.list().filter(before.contains).count < before.count)
    }

    @Test("the last batch may vanish after a restart: the next one says it again")
    func unsyncedBatchShownFromMemory() throws {
        var disk = try freshDisk()
        var driver = LogDriver(
            opening: disk, recovered: try LogRecovery.open(&disk, identity: testIdentity))
        driver.log.append(.init(entries: [entry(1)]), token: 1, commitIndex: 0)
        driver.settle()
        driver.log.append(.init(entries: [entry(2), entry(3)]), token: 2, commitIndex: 0)
        driver.settle()
        // The sync of that batch failed, the process was started again, and the system showed it.
        disk = driver.disk
        let shown = try LogRecovery.open(&disk, identity: testIdentity)
        #expect(shown.provenIndex == 1 && shown.lastIndex == 3)
        var restarted = LogDriver(opening: disk, recovered: shown)
        restarted.log.append(.init(entries: [entry(4)]), token: 1, commitIndex: 0)
        restarted.settle()
        // The power fails: what never reached the platters is garbage now.
        disk = restarted.disk
        let file = "log-0000000000000001"
        let place = try batchOffset(holding: entry(2), in: &disk, file)
        disk.flipBit(in: file, at: place + 30)
        let after = try LogRecovery.open(&disk, identity: testIdentity)
        #expect(after.entries == (1...4).map { entry($0) })
    }

    @Test("also when it began a segment, and those before it are gone")
    func unsyncedBatchThatBeganASegment() throws {
        var disk = try freshDisk()
        let file = "log-0000000000000002"
        var driver = LogDriver(
            opening: disk, recovered: try LogRecovery.open(&disk, identity: testIdentity))
        let last = try driver.fill(untilBatchIn: file)
        // The sync of the batch that began the second segment failed. After a restart it is said
        // again; then a snapshot makes the first segment unnecessary.
        disk = driver.disk
        let shown = try LogRecovery.open(&disk, identity: testIdentity)
        #expect(shown.lastIndex == last)
        var restarted = LogDriver(opening: disk, recovered: shown)
        restarted.log.append(.init(entries: [entry(last + 1)]), token: 1, commitIndex: 0)
        restarted.settle()
        let base = LogBase(index: last, term: 1, chain: 3, configuration: [4])
        restarted.log.compact(to: base)
        restarted.settle()
        disk = restarted.disk
        #expect(try !disk.list().contains("log-0000000000000001"))
        // The power fails: what never reached the platters is garbage now.
        disk.flipBit(in: file, at: 512 + 30)
        let after = try LogRecovery.open(&disk, identity: testIdentity)
        #expect(after.base == base)
        #expect(after.entries == [entry(last + 1)])
    }

    @Test("a segment whose only batch never reached the platters goes with its neighbours")
    func segmentWithoutABatch() throws {
        var disk = try freshDisk()
        let (second, third) = ("log-0000000000000002", "log-0000000000000003")
        var driver = LogDriver(
            opening: disk, recovered: try LogRecovery.open(&disk, identity: testIdentity))
        for index in 1...8 as ClosedRange<UInt64> {
            driver.log.append(
                .init(entries: [entry(index, size: 900)]), token: index, commitIndex: 0)
            driver.settle()
        }
        driver.log.append(.init(entries: [entry(9, size: 9_000)]), token: 9, commitIndex: 0)
        driver.settle()
        // The sync of that batch, which began a segment, failed. It is said again after a restart, and
        // there is no room for that behind it.
        disk = driver.disk
        var restarted = LogDriver(
            opening: disk, recovered: try LogRecovery.open(&disk, identity: testIdentity))
        restarted.settle()
        disk = restarted.disk
        #expect(try !disk.read(third, offset: 512, byteCount: 8).allSatisfy { $0 == 0 })
        // The power fails: what never reached the platters is garbage now.
        disk.flipBit(in: second, at: 512 + 30)
        let recovered = try LogRecovery.open(&disk, identity: testIdentity)
        #expect(recovered.lastIndex == 9)
        var again = LogDriver(opening: disk, recovered: recovered)
        again.log.compact(to: LogBase(index: 8, term: 1, chain: 3, configuration: [4]))
        again.settle()
        disk = again.disk
        #expect(try !disk.list().contains(second))
        let after = try LogRecovery.open(&disk, identity: testIdentity)
        #expect(after.entries == [entry(9, size: 9_000)])
    }

    /// Offset of the first batch that holds an entry's bytes.
    private func batchOffset(
        holding entry: LogEntry, in disk: inout MemoryDisk, _ file: String
    ) throws -> Int {
        let size = try disk.byteCount(of: file)!
        let bytes = try disk.read(file, offset: 0, byteCount: size)
        let offset = stride(from: 512, to: size, by: 512).first { start in
            bytes[start..<start + 512].contains(entry.bytes)
        }
        return try #require(offset)
    }
}
