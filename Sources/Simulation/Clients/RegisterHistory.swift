import EtcdMessages
import Foundation
import RaftCore
import Replica
import SwiftProtobuf

/// What clients saw of single keys, as times and values: no revision is believed.
///
/// `OrderSearch` then looks for an order in which one map could have given these answers. That is
/// slow, and there to catch a mistake in the revisions that the quick oracle goes by. It is recorded
/// where clients put, delete and read single keys only.
struct RegisterHistory {
    enum Action: Equatable {
        /// Writes a value; nil deletes.
        case write([UInt8]?)
        /// Saw a value.
        case read([UInt8]?)
    }
    struct Operation: Equatable {
        var action: Action
        var invoked: Microseconds
        /// When it was answered; `.max` when the outcome is unknown, for it may come true later.
        var returned: Microseconds
    }

    private let isRecording: Bool
    private var open: [CallID: Operation] = [:]
    private(set) var operations: [[UInt8]: [Operation]] = [:]

    init(isRecording: Bool) { self.isRecording = isRecording }

    mutating func invoked(_ call: Call) {
        guard isRecording, let action = call.registerAction else { return }
        open[call.id] = Operation(action: action, invoked: call.invokedAt, returned: .max)
    }

    mutating func answered(_ call: Call, _ message: [UInt8], now: Microseconds) {
        guard var operation = open.removeValue(forKey: call.id), let key = call.registerKey else {
            return
        }
        operation.returned = now
        if case .range = call.request {
            let response = try? Etcdserverpb_RangeResponse(serializedBytes: message)
            operation.action = .read(response?.kvs.first.map { Array($0.value) })
        }
        operations[key, default: []].append(operation)
    }

    mutating func failed(_ call: Call, _ failure: RequestFailure) {
        switch failure.error {
        case .noLeader, .tooManyRequests: open[call.id] = nil
        default: abandoned(call)
        }
    }

    /// A write may come true at any time from now on; a read that wasn't answered says nothing.
    mutating func abandoned(_ call: Call) {
        guard let operation = open.removeValue(forKey: call.id), let key = call.registerKey,
            case .write = operation.action
        else { return }
        operations[key, default: []].append(operation)
    }
}

extension Call {
    fileprivate var registerKey: [UInt8]? {
        switch request {
        case .put(let put): Array(put.key)
        case .deleteRange(let deletion): Array(deletion.key)
        case .range(let range): Array(range.key)
        case .txn, .compact, .grant, .keepAlive, .revoke, .timeToLive: nil
        }
    }

    fileprivate var registerAction: RegisterHistory.Action? {
        switch request {
        case .put(let put): .write(Array(put.value))
        case .deleteRange: .write(nil)
        case .range(let range): range.serializable ? nil : .read(nil)
        case .txn, .compact, .grant, .keepAlive, .revoke, .timeToLive: nil
        }
    }
}
