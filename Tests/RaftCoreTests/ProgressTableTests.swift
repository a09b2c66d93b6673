import Testing

@testable import RaftCore

@Suite("What a leader knows of its peers")
struct ProgressTableTests {
    @Test("peers come and go, and are told in order")
    func members() {
        var table = ProgressTable()
        for member in [9, 2, 5, 7] as [MemberID] {
            table[member] = Progress(next: member, now: 0)
        }
        table[5]!.next = 50
        table[5]?.wantsCommits = true
        table[6]?.next = 60
        #expect(table.members == [2, 5, 7, 9])
        #expect(table[5]?.next == 50 && table[5]!.wantsCommits)
        #expect(table[6] == nil && table[10] == nil)
        table[7] = nil
        table[1] = nil
        #expect(table.members == [2, 5, 9])
        #expect(table[9]?.next == 9)
        table[2] = nil
        table[9] = nil
        table[5] = nil
        #expect(table == ProgressTable())
    }
}
