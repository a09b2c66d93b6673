/// One watcher's share of a round of catching up.
struct CatchUpTurn {
    let watcher: Watcher
    /// The last revision to replay.
    let through: Int64
    let byteLimit: Int
    let scanLimit: Int

    /// The first revision not replayed.
    private(set) var nextRevision: Int64
    private(set) var events: [[UInt8]] = []
    private(set) var bytes = 0
    var scanned = 0

    init(watcher: Watcher, through: Int64, byteLimit: Int, scanLimit: Int) {
        self.watcher = watcher
        self.through = through
        self.byteLimit = byteLimit
        self.scanLimit = scanLimit
        nextRevision = watcher.nextRevision
    }

    /// Whether the turn ends before the change: at a revision's first change only, so that no
    /// revision is split.
    mutating func stops(before version: VersionStorage) -> Bool {
        guard version.modRevision >= nextRevision else { return false }
        if bytes >= byteLimit || scanned >= scanLimit {
            nextRevision = version.modRevision
            return true
        }
        nextRevision = version.modRevision + 1
        return false
    }

    /// Takes a change that matches the watcher's keys.
    mutating func take(_ version: VersionStorage, compactedRevision: Int64) {
        guard watcher.wants(version) else { return }
        var encoder = EventEncoder(version, compactedRevision: compactedRevision)
        let event = encoder.event(prevKV: watcher.prevKV)
        bytes += event.count
        events.append(event)
    }

    /// Notes that everything was replayed.
    mutating func finish() {
        nextRevision = through + 1
    }
}

extension Store {
    /// Below this many changes a look at each is cheaper than collecting those that match.
    private static let scanThreshold = 1_024
    /// Keys and versions looked at to find what matches a narrow range.
    private static let collectLimit = 4_096

    /// Replays what a watcher has missed, as far as the turn's limits allow.
    func replay(_ turn: inout CatchUpTurn) {
        let first = history.firstNumber(atOrAfter: turn.nextRevision)
        if history.end - first > Store.scanThreshold,
            let matches = collectChanges(
                turn.watcher.range, from: turn.nextRevision, through: turn.through)
        {
            turn.scanned += Store.scanThreshold
            for version in matches {
                if turn.stops(before: version) { return }
                turn.take(version, compactedRevision: compactedRevision)
            }
        } else {
            var number = first
            while number < history.end {
                let version = history[number].version
                guard version.modRevision <= turn.through else { break }
                if turn.stops(before: version) { return }
                turn.scanned += 1
                if version.withKey({ turn.watcher.range.contains($0) }) {
                    turn.take(version, compactedRevision: compactedRevision)
                }
                number += 1
            }
        }
        turn.finish()
    }

    /// The changes of a range between two revisions in order, found by its keys instead of the
    /// whole history; nil if the range is too wide for that.
    private func collectChanges(
        _ range: KeyRange, from: Int64, through: Int64
    ) -> [VersionStorage]? {
        var matches: [VersionStorage] = []
        var looks = 0
        tree.reader.scan(range) { head in
            looks += 1
            var candidate: VersionStorage? = head
            while let version = candidate, version.modRevision >= from,
                looks <= Store.collectLimit
            {
                looks += 1
                if version.modRevision <= through { matches.append(version) }
                candidate = version.previous
            }
            return looks <= Store.collectLimit
        }
        guard looks <= Store.collectLimit else { return nil }
        matches.sort {
            ($0.modRevision, $0.subRevision) < ($1.modRevision, $1.subRevision)
        }
        return matches
    }
}
