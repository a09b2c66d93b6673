import KVCore
import RaftCore

/// What members send one another over the main link, one frame each.
///
/// The layout is little-endian and belongs to the peer protocol version in the hello: a tag byte,
/// then the fields in the order of the cases below.
package enum PeerMessage: Equatable, Sendable {
    /// A message of the consensus; an append's entries travel with their bytes.
    case raft(Message, entryBytes: [[UInt8]])
    /// Writes for the leader of this term to propose; it must not lead another one.
    case forward(term: Term, envelopes: [[UInt8]])
    /// Forwarded writes that were not proposed, by sequence: they may be sent elsewhere.
    case forwardRefused(sequences: [UInt64])
    /// Renew or look at leases.
    case leaseCall(LeaseCall)
    /// The answer to a lease call.
    case leaseAnswer(LeaseAnswer)

    package struct LeaseCall: Equatable, Sendable {
        package enum Purpose: UInt8, Sendable {
            case renew = 0
            case query = 1
        }
        package var context: UInt64
        package var purpose: Purpose
        package var lease: Int64
    }

    package struct LeaseAnswer: Equatable, Sendable {
        package enum Outcome: Equatable, Sendable {
            /// Seconds left, out of the seconds granted; true once `index` is applied.
            case alive(secondsLeft: Int64, granted: Int64, index: LogIndex)
            /// There is no such lease once `index` is applied.
            case gone(index: LogIndex)
            /// The member asked doesn't lead.
            case notLeader
        }
        package var context: UInt64
        package var outcome: Outcome
    }
}

/// Why a frame is none of ours. The link it came over is closed.
public struct PeerFault: Error, Equatable, Sendable {
    /// What is wrong with it.
    public var reason: String
}

extension EntryMetadata {
    /// What consensus knows of an entry.
    package init(term: Term, bytes: [UInt8]) {
        self.init(term: term, digest: entryDigest(bytes), byteCount: UInt32(bytes.count))
    }
}

/// Digest of an entry's bytes for the hash chain.
package func entryDigest(_ bytes: [UInt8]) -> UInt64 {
    var hasher = RollingHash()
    bytes.withUnsafeBytes { hasher.combine($0) }
    return hasher.value
}
