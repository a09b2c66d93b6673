import EtcdMessages
import Testing

@testable import KVClient

@Suite("Where a watch goes on")
struct WatchResumptionTests {
    private func response(
        revision: Int64, _ change: (inout Etcdserverpb_WatchResponse) -> Void = { _ in }
    ) -> Etcdserverpb_WatchResponse {
        var response = Etcdserverpb_WatchResponse()
        response.header.revision = revision
        change(&response)
        return response
    }

    private func event(_ modRevision: Int64) -> Etcd.Event {
        var event = Etcd.Event()
        event.kv.modRevision = modRevision
        return event
    }

    @Test("a watch from now on remembers when that was, before the first change")
    func fromNow() {
        var resumption = WatchResumption(startRevision: 0)
        #expect(
            resumption.take(response(revision: 7) { $0.created = true })
                == .established(revision: 7))
        #expect(resumption.nextRevision == 8)
    }

    @Test("it goes on behind the last change it told, not behind the server's revision")
    func behindEvents() {
        var resumption = WatchResumption(startRevision: 3)
        let step = resumption.take(response(revision: 90) { $0.events = [event(3), event(5)] })
        #expect(step == .tell(.events([event(3), event(5)], revision: 90)))
        #expect(resumption.nextRevision == 6)
    }

    @Test("standing again after an interruption changes nothing about the place")
    func reestablished() {
        var resumption = WatchResumption(startRevision: 6)
        _ = resumption.take(response(revision: 90) { $0.created = true })
        #expect(resumption.nextRevision == 6)
    }

    @Test("progress moves the place forward and never back")
    func progress() {
        var resumption = WatchResumption(startRevision: 6)
        #expect(resumption.take(response(revision: 9)) == .tell(.progress(revision: 9)))
        #expect(resumption.take(response(revision: 4)) == .nothing)
        #expect(resumption.nextRevision == 10)
    }

    @Test("compaction is told as such, any other end as a refusal with its reason")
    func ends() {
        var resumption = WatchResumption(startRevision: 2)
        let compacted = response(revision: 9) {
            $0.canceled = true
            $0.compactRevision = 5
        }
        #expect(resumption.take(compacted) == .ended(.compacted(revision: 5)))
        let refused = response(revision: 9) {
            $0.created = true
            $0.canceled = true
            $0.cancelReason = "no"
        }
        #expect(resumption.take(refused) == .refused("no"))
    }
}
