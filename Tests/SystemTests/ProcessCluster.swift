import Foundation
import Testing

/// Real kvserver processes on loopback, with free ports and a folder that is removed at the end.
final class ProcessCluster {
    let folder: URL
    let clientPorts: [Int]
    let peerPorts: [Int]
    private var processes: [Process?]
    let extraArguments: [String]

    /// The programs that were built together with these tests stand beside the test bundle; those of
    /// another build in the folder that `MARTLET_TEST_PROGRAMS` names.
    static func program(_ name: String) -> URL {
        if let folder = ProcessInfo.processInfo.environment["MARTLET_TEST_PROGRAMS"] {
            return URL(fileURLWithPath: folder).appendingPathComponent(name)
        }
        return Bundle.allBundles.map { $0.bundleURL.deletingLastPathComponent() }
            .map { $0.appendingPathComponent(name) }
            .first { FileManager.default.isExecutableFile(atPath: $0.path) }
            ?? URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
            .appendingPathComponent(name)
    }

    /// - Parameter parent: where the folder is made; the system's place for temporary files if nil.
    init(size: Int, in parent: URL? = nil, extraArguments: [String] = []) throws {
        folder = (parent ?? FileManager.default.temporaryDirectory)
            .appendingPathComponent("martlet-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let ports = try Self.freePorts(2 * size)
        clientPorts = Array(ports[..<size])
        peerPorts = Array(ports[size...])
        processes = Array(repeating: nil, count: size)
        self.extraArguments = extraArguments
    }

    deinit {
        for process in processes {
            if let process, process.isRunning { kill(process.processIdentifier, SIGKILL) }
        }
        for process in processes { process?.waitUntilExit() }
        try? FileManager.default.removeItem(at: folder)
    }

    /// Ports that nobody listened on a moment ago.
    static func freePorts(_ count: Int) throws -> [Int] {
        var sockets: [Int32] = []
        var ports: [Int] = []
        defer { for socket in sockets { close(socket) } }
        for _ in 0..<count {
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            sockets.append(descriptor)
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = UInt32(INADDR_LOOPBACK).bigEndian
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let result = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                    bind(descriptor, generic, length) == 0
                        && getsockname(descriptor, generic, &length) == 0
                }
            }
            try #require(result)
            ports.append(Int(UInt16(bigEndian: address.sin_port)))
        }
        return ports
    }

    func dataDirectory(_ position: Int) -> String {
        folder.appendingPathComponent("n\(position)").path
    }

    func log(_ position: Int) -> String {
        let file = folder.appendingPathComponent("n\(position).log")
        return (try? String(contentsOf: file, encoding: .utf8)) ?? ""
    }

    var endpoints: String {
        clientPorts.map { "127.0.0.1:\($0)" }.joined(separator: ",")
    }

    func arguments(_ position: Int) -> [String] {
        let members = peerPorts.enumerated()
            .map { "n\($0.offset)=http://127.0.0.1:\($0.element)" }.joined(separator: ",")
        return [
            "--name", "n\(position)", "--data-dir", dataDirectory(position),
            "--listen-client-urls", "http://127.0.0.1:\(clientPorts[position])",
            "--listen-peer-urls", "http://127.0.0.1:\(peerPorts[position])",
            "--initial-cluster", members,
        ] + extraArguments
    }

    func start(_ position: Int) throws {
        let process = Process()
        process.executableURL = Self.program("kvserver")
        process.arguments = arguments(position)
        let file = folder.appendingPathComponent("n\(position).log")
        if !FileManager.default.fileExists(atPath: file.path) {
            try #require(FileManager.default.createFile(atPath: file.path, contents: nil))
        }
        let handle = try FileHandle(forWritingTo: file)
        handle.seekToEndOfFile()
        process.standardError = handle
        process.standardOutput = handle
        try process.run()
        processes[position] = process
    }

    func startAll() throws { for position in processes.indices { try start(position) } }

    /// Waits until every member answers a linearizable read and knows where all others serve.
    func waitUntilServing(limit: Duration = .seconds(20)) async throws {
        for (position, port) in clientPorts.enumerated() {
            let deadline = ContinuousClock.now + limit
            while true {
                if let client = try? await RawClient.connect(port: port) {
                    let answer = try? await client.all(prefix: "no such key")
                    let announced = try? await client.announcedMembers()
                    await client.connection.close()
                    if answer != nil, announced == clientPorts.count { break }
                }
                try #require(
                    ContinuousClock.now < deadline, "n\(position) doesn't serve: \(log(position))")
                // Nothing tells from outside when a process begins to listen.
                try await Task.sleep(for: .milliseconds(20))
            }
        }
    }

    func isRunning(_ position: Int) -> Bool { processes[position]?.isRunning ?? false }

    /// Bytes of a member's memory that are in RAM, as the kernel counts them.
    func residentBytes(_ position: Int) throws -> Int {
        try Self.residentBytes(of: processIdentifier(position))
    }

    func processIdentifier(_ position: Int) throws -> Int32 {
        try #require(processes[position]).processIdentifier
    }

    static func residentBytes(of process: Int32) throws -> Int {
        let status = try String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8)
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") })
        let kibibytes = try #require(line.split(whereSeparator: \.isWhitespace).dropFirst().first)
        return try #require(Int(kibibytes)) * 1_024
    }

    /// Waits until a member has ended by itself; returns its exit code, or nil if it goes on.
    func exitCode(_ position: Int, limit: Duration) async throws -> Int32? {
        guard let process = processes[position] else { return nil }
        let deadline = ContinuousClock.now + limit
        while process.isRunning {
            if ContinuousClock.now > deadline { return nil }
            // Another process ends when it likes.
            try await Task.sleep(for: .milliseconds(20))
        }
        processes[position] = nil
        return process.terminationStatus
    }

    /// SIGKILL.
    func kill9(_ position: Int) {
        guard let process = processes[position] else { return }
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        processes[position] = nil
    }

    /// SIGTERM; returns the exit code.
    func terminate(_ position: Int) -> Int32? {
        guard let process = processes[position] else { return nil }
        process.terminate()
        process.waitUntilExit()
        processes[position] = nil
        return process.terminationStatus
    }
}

/// Runs a program to its end, which comes by force after a minute: a test fails, it never hangs.
func run(
    _ program: String, _ arguments: [String], environment: [String: String] = [:],
    input: String? = nil
) throws -> (output: String, errors: String, code: Int32) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [program] + arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    let output = Pipe()
    let errors = Pipe()
    process.standardOutput = output
    process.standardError = errors
    if let input {
        let pipe = Pipe()
        process.standardInput = pipe
        try process.run()
        pipe.fileHandleForWriting.write(Data(input.utf8))
        try pipe.fileHandleForWriting.close()
    } else {
        process.standardInput = FileHandle.nullDevice
        try process.run()
    }
    let identifier = process.processIdentifier
    let reaper = DispatchWorkItem { kill(identifier, SIGKILL) }
    DispatchQueue.global().asyncAfter(deadline: .now() + 60, execute: reaper)
    defer { reaper.cancel() }
    let outputData = output.fileHandleForReading.readDataToEndOfFile()
    let errorData = errors.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return (
        String(decoding: outputData, as: UTF8.self), String(decoding: errorData, as: UTF8.self),
        process.terminationStatus
    )
}
