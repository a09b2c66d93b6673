import Crypto
import KVCore
import NIOCore
import RaftCore
import Replica

/// What the flags mean, once they agree with one another.
struct ServerConfiguration: Sendable {
    var name: String
    var dataDirectory: String
    var listenClients: [Endpoint]
    var advertiseClients: [String]
    var listenPeers: [Endpoint]
    /// Every initial member by name, with its peer URLs.
    var initialCluster: [(name: String, urls: [String])]
    var clusterToken: String
    var isNewCluster: Bool
    var maxRequestBytes: Int
    /// How long the loop looks for work before it sleeps, while work is frequent.
    var idlePoll: TimeAmount
    var replica: ReplicaSettings

    /// An initial member's id: the first 8 bytes of a SHA-1 over its sorted peer URLs and the
    /// cluster's token, never zero.
    static func memberID(urls: [String], token: String) -> UInt64 {
        firstEightBytes(of: urls.sorted().joined() + token)
    }

    private static func firstEightBytes(of text: String) -> UInt64 {
        let digest = Insecure.SHA1.hash(data: Array(text.utf8))
        let value = digest.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        return value == 0 ? 1 : value
    }

    /// The members that the flags name.
    var initialMembership: MembershipRecord {
        MembershipRecord(
            members: initialCluster.map { member in
                MembershipRecord.Item(
                    id: Self.memberID(urls: member.urls, token: clusterToken),
                    peerURLs: member.urls, role: .voter)
            }, removedIDs: [])
    }

    /// The cluster's id: a hash of its sorted initial member ids, computed once, at bootstrap.
    var initialClusterID: UInt64 {
        let ids = initialMembership.members.map { String($0.id, radix: 16) }
        return Self.firstEightBytes(of: ids.joined(separator: ","))
    }

    /// This member's id in a new cluster.
    var initialMemberID: UInt64? {
        initialCluster.first { $0.name == name }
            .map { Self.memberID(urls: $0.urls, token: clusterToken) }
    }
}
