import Foundation

/// The scripts in the folder Python.
enum PythonScript {
    /// The Python that has etcd's foreign clients.
    static let interpreter =
        ProcessInfo.processInfo.environment["MARTLET_TEST_PYTHON"] ?? "python3"

    static func path(_ name: String) -> String {
        URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("Python/\(name)").path
    }
}
