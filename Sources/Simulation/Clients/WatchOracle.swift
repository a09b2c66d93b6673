import EtcdMessages
import Foundation
import RaftCore
import SwiftProtobuf

/// What one watch must see: every change in its range from its start on, once, in order, a revision
/// at a time, and nothing else.
struct WatchOracle {
    let key: [UInt8]
    let end: [UInt8]
    let wantsPrevious: Bool
    /// The first revision whose events are still to come; nil until the watch is created.
    private(set) var next: Int64?
    private(set) var isCancelled = false
    private var progress: Int64 = 0
    private let start: Int64

    init(key: [UInt8], end: [UInt8], start: Int64, wantsPrevious: Bool) {
        self.key = key
        self.end = end
        self.start = start
        self.wantsPrevious = wantsPrevious
        if start > 0 { next = start }
    }

    /// The changes the watch is about, in the revisions from `first` to `last`.
    private func expected(_ range: ClosedRange<Int64>, _ model: Model) -> [Model.Change] {
        var found: [Model.Change] = []
        for revision in range where revision < Int64(model.changes.count) && revision >= 0 {
            found += model.changes[Int(revision)].filter {
                Model.contains($0.version.key, from: key, to: end)
            }
        }
        return found
    }

    mutating func received(
        _ response: Etcdserverpb_WatchResponse, model: Model
    ) throws(Violation) {
        let revision = response.header.revision
        if response.created {
            if start == 0 { next = revision + 1 }
            guard !response.canceled else {
                isCancelled = true
                return
            }
            return
        }
        if response.canceled {
            isCancelled = true
            try checkCancellation(response, model)
            return
        }
        guard let first = next else {
            throw Violation("WatchOracle", "events before the watch was created")
        }
        guard !response.events.isEmpty else {
            try noteProgress(revision, model)
            return
        }
        let last = response.events.map(\.kv.modRevision).max()!
        guard first <= last else {
            throw Violation(
                "WatchOracle", "events of revision \(last), those before \(first) were sent already"
            )
        }
        guard last > progress else {
            throw Violation(
                "WatchOracle", "events of revision \(last) after a progress notice of \(progress)")
        }
        try compare(response.events, with: expected(first...last, model), model: model)
        next = last + 1
    }

    private mutating func noteProgress(_ revision: Int64, _ model: Model) throws(Violation) {
        progress = max(progress, revision)
        guard let first = next, first <= revision else { return }
        let missing = expected(first...revision, model)
        guard missing.isEmpty else {
            throw Violation(
                "WatchOracle",
                """
                a progress notice of \(revision) overtook the event of revision \
                \(missing[0].version.mod)
                """)
        }
        next = revision + 1
    }

    private func checkCancellation(
        _ response: Etcdserverpb_WatchResponse, _ model: Model
    ) throws(Violation) {
        guard response.compactRevision > 0 else { return }
        guard let first = next, first <= response.compactRevision,
            response.compactRevision <= model.compacted
        else {
            throw Violation(
                "WatchOracle",
                """
                cancelled for the compaction of \(response.compactRevision), but \
                \(next ?? 0) is next and \(model.compacted) is compacted
                """)
        }
    }

    private func compare(
        _ events: [Mvccpb_Event], with expected: [Model.Change], model: Model
    ) throws(Violation) {
        for (position, event) in events.enumerated() {
            guard position < expected.count else {
                throw Violation("WatchOracle", "an event too many: \(Self.label(event))")
            }
            let change = expected[position]
            let matches =
                event.kv == change.version.message
                && (event.type == .delete) == change.version.isDeletion
            guard matches else {
                throw Violation(
                    "WatchOracle",
                    """
                    got \(Self.label(event)) where revision \(change.version.mod) of \
                    \(String(decoding: change.version.key, as: UTF8.self)) comes next
                    """)
            }
            // What was compacted away may be missing.
            let isCompacted = change.version.mod - 1 <= model.compacted
            if event.hasPrevKv {
                guard wantsPrevious, event.prevKv == change.previous?.message else {
                    throw Violation(
                        "WatchOracle", "a wrong previous value in \(Self.label(event))")
                }
            } else if wantsPrevious, change.previous != nil, !isCompacted {
                throw Violation("WatchOracle", "no previous value in \(Self.label(event))")
            }
        }
        guard events.count == expected.count else {
            throw Violation(
                "WatchOracle",
                "\(events.count) of \(expected.count) events arrived, after \(Self.label(events.last!))"
            )
        }
    }

    /// At the end nothing is owed.
    func checkComplete(_ model: Model) throws(Violation) {
        guard !isCancelled, let first = next, first <= model.revision else { return }
        let missing = expected(first...model.revision, model)
        guard missing.isEmpty else {
            throw Violation(
                "WatchOracle",
                "\(missing.count) events never came, the first of revision \(missing[0].version.mod)"
            )
        }
    }

    private static func label(_ event: Mvccpb_Event) -> String {
        """
        \(event.type == .delete ? "delete" : "put") of \
        \(String(decoding: event.kv.key, as: UTF8.self)) at \(event.kv.modRevision)
        """
    }
}
