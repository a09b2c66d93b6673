import Foundation
import Testing

/// A program that runs beside a test and writes into files. It counts as ended when what it started
/// has ended, too.
final class BackgroundCommand {
    private let process = Process()
    private let outputFile: URL
    private let errorFile: URL

    init(
        _ program: URL, _ arguments: [String], in folder: URL,
        environment: [String: String] = [:]
    ) throws {
        let name = UUID().uuidString
        outputFile = folder.appendingPathComponent("\(name).out")
        errorFile = folder.appendingPathComponent("\(name).err")
        process.executableURL = program
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = try Self.handle(outputFile)
        process.standardError = try Self.handle(errorFile)
        try process.run()
    }

    deinit {
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
        process.waitUntilExit()
    }

    private static func handle(_ file: URL) throws -> FileHandle {
        try #require(FileManager.default.createFile(atPath: file.path, contents: nil))
        return try FileHandle(forWritingTo: file)
    }

    var output: String { (try? String(contentsOf: outputFile, encoding: .utf8)) ?? "" }
    var errors: String { (try? String(contentsOf: errorFile, encoding: .utf8)) ?? "" }
    var isRunning: Bool { process.isRunning }

    func send(_ signal: Int32) { kill(process.processIdentifier, signal) }

    /// The exit code, once the program has ended by itself.
    func exitCode(limit: Duration = .seconds(15)) async throws -> Int32 {
        try await eventually("the program ends", limit: limit) { !self.process.isRunning }
        return process.terminationReason == .exit
            ? process.terminationStatus : 128 + process.terminationStatus
    }
}

/// Waits until something outside this process has come about; nothing tells when it does.
func eventually(
    _ what: @autoclosure () -> String, limit: Duration = .seconds(15),
    _ condition: () async throws -> Bool
) async throws {
    let deadline = ContinuousClock.now + limit
    while try await !condition() {
        try #require(ContinuousClock.now < deadline, "not in time: \(what())")
        // Nothing tells from outside when it holds: it is looked at again.
        try await Task.sleep(for: .milliseconds(10))
    }
}
