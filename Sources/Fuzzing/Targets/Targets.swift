/// All targets that the library reaches.
public enum Targets {
    /// By name.
    public static let all: [any FuzzTarget] = [
        RequestTarget(), MessageTarget(), HTTP2ServerTarget(), HTTP2ClientTarget(),
        MessageFramingTarget(), HeaderBlockTarget(), LogTarget(), LogDamageTarget(),
        SnapshotFileTarget(), SnapshotContentTarget(), EntryTarget(), CallTarget(),
        PeerTarget(),
    ]

    /// The target of this name.
    public static func named(_ name: String) -> (any FuzzTarget)? {
        all.first { $0.name == name }
    }
}
