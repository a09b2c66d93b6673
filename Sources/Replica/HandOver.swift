/// Hands a value from the thread that made it to its replica, without leaving a copy behind: a store
/// can't be copied, and a log that was read back would keep its memory.
///
/// `@unchecked Sendable`: the value is put in before the box is handed over and taken out once by
/// the receiver; the hand-over itself orders the two.
final class HandOver<Value: ~Copyable>: @unchecked Sendable {
    private var value: Value?

    init(_ value: consuming Value) { self.value = consume value }

    func take() -> Value {
        guard let value = value.take() else { preconditionFailure("a value is taken once") }
        return value
    }
}

extension HandOver where Value: Copyable {
    /// A copy of what is still to be taken.
    var copy: Value {
        guard let value else { preconditionFailure("the value was taken") }
        return value
    }
}
