import CJemalloc

/// What answers this process's `malloc`; `CJemalloc` holds the settings.
enum Allocator {
    /// For the log: whoever preloads another allocator should see that it took effect.
    static var description: String {
        martlet_jemalloc_version().map { "jemalloc \(String(cString: $0).prefix { $0 != "-" })" }
            ?? "not jemalloc"
    }
}
