import EtcdWire
import HTTP2
import Replica

/// How a method is served; methods that aren't here answer UNIMPLEMENTED.
enum ServedCall {
    /// By the replica, one answer per request.
    case replica(ClientRequest.Kind)
    case keepAlive
    case watch
    case status
    case defragment
    case snapshot

    init?(_ method: RPCMethod) {
        switch method {
        case .range: self = .replica(.range)
        case .put: self = .replica(.put)
        case .deleteRange: self = .replica(.deleteRange)
        case .txn: self = .replica(.txn)
        case .compact: self = .replica(.compact)
        case .leaseGrant: self = .replica(.leaseGrant)
        case .leaseRevoke: self = .replica(.leaseRevoke)
        case .leaseTimeToLive: self = .replica(.leaseTimeToLive)
        case .leaseLeases: self = .replica(.leaseLeases)
        case .leaseKeepAlive: self = .keepAlive
        case .memberList: self = .replica(.memberList)
        case .hashKV: self = .replica(.hashKV)
        case .watch: self = .watch
        case .status: self = .status
        case .defragment: self = .defragment
        case .snapshot: self = .snapshot
        default: return nil
        }
    }
}

extension GRPCStatus {
    /// What a gRPC server says about a path it doesn't know.
    static func unknownMethod(path: String) -> GRPCStatus {
        let parts = path.split(separator: "/").map(String.init)
        guard parts.count == 2 else {
            return GRPCStatus(.unimplemented, "malformed method name: \"\(path)\"")
        }
        let isKnownService = RPCMethod.allCases.contains { $0.path.hasPrefix("/\(parts[0])/") }
        return GRPCStatus(
            .unimplemented,
            isKnownService
                ? "unknown method \(parts[1]) for service \(parts[0])"
                : "unknown service \(parts[0])")
    }

    /// A method of the API that this version doesn't serve.
    static func unimplemented(_ method: RPCMethod) -> GRPCStatus {
        let name = method.path.split(separator: "/").last.map(String.init) ?? ""
        return GRPCStatus(.unimplemented, "method \(name) not implemented")
    }
}

extension MemberStatus {
    /// A message with the header alone.
    func header() -> [UInt8] {
        var message: [UInt8] = []
        responseHeader.appendField(to: &message)
        return message
    }

    /// The answer to Maintenance.Status.
    func response() -> [UInt8] {
        var message = header()
        WireWriter.appendString(2, Version.etcdAPI, to: &message)
        WireWriter.appendInt64(3, Int64(logicalBytes), to: &message)
        WireWriter.appendUInt64(4, leader ?? 0, to: &message)
        WireWriter.appendUInt64(5, commitIndex, to: &message)
        WireWriter.appendUInt64(6, term, to: &message)
        WireWriter.appendUInt64(7, appliedIndex, to: &message)
        if leader == nil { WireWriter.appendString(8, EtcdError.noLeader.message, to: &message) }
        WireWriter.appendInt64(9, Int64(logicalBytes), to: &message)
        WireWriter.appendBool(10, isLearner, to: &message)
        WireWriter.appendString(11, Version.etcdAPI, to: &message)
        WireWriter.appendInt64(12, Int64(clamping: quotaBytes), to: &message)
        return message
    }
}
