extension Store {
    /// The empty store of a new cluster with these members.
    ///
    /// They come from the bootstrap configuration, which every initial member computes alike, so no
    /// log entry is needed for them.
    public init(limits: StoreLimits, membership record: MembershipRecord) {
        self.init(limits: limits)
        membership.apply(record)
    }
}
