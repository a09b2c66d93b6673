/// What this program calls itself.
enum Version {
    /// Martlet's own version.
    static let martlet = "0.1.0"
    /// The version of the etcd API it serves; clients decide by it what they may use.
    static let etcdAPI = "3.6.0"
}
