/// A leader's view of its peers. They are few: to look along a row of them takes a tenth of what a
/// hash does, and each answer of a peer looks fifteen times.
struct ProgressTable: Equatable, Sendable {
    private struct Item: Equatable, Sendable {
        let member: MemberID
        /// Nil only while it is being set.
        var progress: Progress?

        var isEmpty: Bool { if case .none = progress { true } else { false } }
    }
    /// By member, ascending.
    private var items: [Item] = []

    /// The peers, ascending.
    var members: [MemberID] { items.map(\.member) }

    private func position(of member: MemberID) -> Int {
        var position = 0
        while position < items.count, items[position].member < member { position += 1 }
        return position
    }

    private func holds(_ member: MemberID, at position: Int) -> Bool {
        position < items.count && items[position].member == member
    }

    /// What is known of a peer; nil for a member that is none. It is looked at and changed in place,
    /// for it holds a list.
    subscript(member: MemberID) -> Progress? {
        // Inlined: those who look at one field copy no list then.
        @inline(__always) get {
            let position = position(of: member)
            return holds(member, at: position) ? items[position].progress : nil
        }
        _modify {
            let position = position(of: member)
            if !holds(member, at: position) {
                items.insert(Item(member: member, progress: nil), at: position)
            }
            defer { if items[position].isEmpty { items.remove(at: position) } }
            yield &items[position].progress
        }
    }
}
