import EtcdWire
import KVCore
import RaftCore
import Replica

/// Large ranges, read as a shell reads them: step by step, while the world goes on.
extension World {
    func beginRange(
        _ request: RequestID, _ range: LargeRange, _ view: StoreView, of member: Member
    ) {
        tell("n\(member.id) begins to read a large range at \(range.revision) (call \(request))")
        member.process?.ranges.start(request, range, on: view)
        member.process?.rangeBytes[request] = []
        scheduleStep(request, member)
    }

    private func scheduleStep(_ request: RequestID, _ member: Member) {
        // Now and then a client is slow.
        let longest: UInt64 = rangeRandom.chance(50) ? 300_000 : 2_000
        schedule(
            .range(member: member.position, boot: member.boot, request),
            in: rangeRandom.draw(10...longest))
    }

    func rangeGoesOn(_ request: RequestID, _ member: Member, boot: UInt64, _ event: Event) {
        guard member.boot == boot, let process = member.process else { return }
        if isPutOff(event, member) { return }
        if rangeRandom.chance(30) { process.ranges.sweep(isIdle: rangeRandom.chance(300)) }
        if rangeRandom.chance(300) { process.ranges.use(process.replica.view()) }
        do throws(EtcdError) {
            let step = try process.ranges.step(
                request, visits: rangeRandom.draw(1...6), bytes: rangeRandom.draw(1...400))
            switch step {
            case nil: return
            case .measuring, .measured: break
            case .bytes(let bytes, let isLast):
                process.rangeBytes[request]? += bytes
                if isLast { return rangeEnded(request, member, process) }
            }
            scheduleStep(request, member)
        } catch {
            process.endRange(request)
            tell("n\(member.id) can't go on with call \(request): \(error.message)")
            // To the client it is a stream that was cut off.
            guard let call = clients.calls.removeValue(forKey: request) else { return }
            clients.sessions[call.session].call = nil
            clients.oracle.abandoned(call)
            clients.history.abandoned(call)
        }
    }

    private func rangeEnded(_ request: RequestID, _ member: Member, _ process: Member.Process) {
        guard let message = process.rangeBytes.removeValue(forKey: request) else { return }
        noteInTrace(message)
        answered(request, .success(message), by: member)
    }
}

extension Member.Process {
    /// The client gave a range up.
    func endRange(_ request: RequestID) {
        ranges.end(request)
        rangeBytes[request] = nil
    }
}
