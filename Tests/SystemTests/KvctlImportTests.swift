import Foundation
import Testing

@Suite("kvctl import", .serialized)
struct KvctlImportTests {
    @Test("its summary counts what was really written")
    func summary() async throws {
        // So small that one of the files doesn't fit into a request.
        let cluster = try ProcessCluster(
            size: 1, extraArguments: ["--max-request-bytes", "100000"])
        try cluster.startAll()
        try await cluster.waitUntilServing()
        let folder = cluster.folder.appendingPathComponent("files")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        func write(_ name: String, _ byteCount: Int) throws {
            try Data(repeating: 7, count: byteCount)
                .write(to: folder.appendingPathComponent(name))
        }
        func imported(_ options: String...) throws -> (errors: String, code: Int32) {
            let result = try run(
                ProcessCluster.program("kvctl").path,
                [
                    "--endpoints", cluster.endpoints, "import", folder.path, "--prefix", "f/",
                ] + options)
            return (result.errors, result.code)
        }
        try write("a", 1)
        try write("b", 2)
        try write("large", 200_000)
        let planned = try imported("--dry-run")
        #expect(planned.code == 0)
        #expect(planned.errors.contains("would import: 3 new, 0 changed, 0 unchanged"))
        let first = try imported()
        #expect(first.code == 1)
        #expect(first.errors.contains("f/large: "))
        #expect(first.errors.contains("imported: 2 new, 0 changed, 0 unchanged"))
        #expect(first.errors.contains("1 failed"))
        try write("b", 3)
        try write("large", 5)
        let second = try imported()
        #expect(second.code == 0)
        #expect(second.errors.contains("imported: 1 new, 1 changed, 1 unchanged"))
        #expect(second.errors.contains("0 failed"))
    }
}
