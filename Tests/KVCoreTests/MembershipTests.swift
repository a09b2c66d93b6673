import Testing

@testable import KVCore

@Suite("Members")
struct MembershipTests {
    private let record = MembershipRecord(
        members: [
            .init(id: 9, peerURLs: ["http://c:2380"], role: .staging),
            .init(id: 1, peerURLs: ["http://a:2380", "http://a2:2380"], role: .voter),
            .init(id: 5, peerURLs: ["http://b:2380"], role: .learner),
        ], removedIDs: [8, 3])

    @Test("a configuration replaces the members and keeps what they announced")
    func configuration() {
        let member = Member()
        member.apply(.configuration, record.encode())
        #expect(member.store.members.map(\.id) == [1, 5, 9])
        #expect(member.store.members.map(\.role) == [.voter, .learner, .staging])
        let attributes = MemberAttributes(
            id: 5, name: "b", clientURLs: ["http://b:2379"],
            directoryID: [UInt8](repeating: 7, count: 16))
        member.apply(.memberAttributes, attributes.encode())
        var next = record
        next.members[1].role = .voter
        next.members.removeLast()
        next.removedIDs = [9]
        member.apply(.configuration, next.encode())
        #expect(member.store.members.map(\.id) == [1, 5])
        let five = member.store.members[1]
        #expect(five.role == .voter && five.name == "b" && five.clientURLs == ["http://b:2379"])
        #expect(five.directoryID == attributes.directoryID)
        #expect(member.store.removedMemberIDs == [3, 8, 9], "removed ids are kept for ever")
    }

    @Test("attributes of somebody who is no member are refused")
    func stranger() {
        let attributes = MemberAttributes(
            id: 5, name: "b", clientURLs: [], directoryID: [UInt8](repeating: 7, count: 16))
        #expect(Member().apply(.memberAttributes, attributes.encode()).error == .memberNotFound)
    }

    @Test("records survive a round trip; truncated and repetitive ones are refused")
    func bodies() {
        #expect(MembershipRecord.decode(record.encode()[...]) == record)
        for count in 0..<record.encode().count {
            #expect(MembershipRecord.decode(record.encode()[..<count]) == nil)
        }
        let twice = MembershipRecord(
            members: [record.members[0], record.members[0]], removedIDs: [])
        #expect(MembershipRecord.decode(twice.encode()[...]) == nil)
        let attributes = MemberAttributes(
            id: 5, name: "ü", clientURLs: ["x"], directoryID: [UInt8](repeating: 7, count: 16))
        #expect(MemberAttributes.decode(attributes.encode()[...]) == attributes)
        for count in 0..<attributes.encode().count {
            #expect(MemberAttributes.decode(attributes.encode()[..<count]) == nil)
        }
    }
}
