// swift-tools-version:6.2
import PackageDescription

/// A module imports only modules that stand above it in this list; `docs/architecture.md` has the
/// picture and the reasons.
let package = Package(
    name: "martlet",
    platforms: [.macOS(.v15)],
    products: [
        .executable(name: "kvserver", targets: ["KVServer"]),
        .executable(name: "kvctl", targets: ["kvctl"]),
        .executable(name: "kvsim", targets: ["kvsim"]),
        .library(name: "KVClient", targets: ["KVClient"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-http2", from: "1.46.0"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
    ],
    targets: [
        .systemLibrary(name: "CLZ4", providers: [.apt(["liblz4-dev"])]),
        .systemLibrary(name: "CEpoll"),
        .systemLibrary(name: "CPrefetch"),
        .target(name: "CCRC32C"),
        .target(name: "CAsyncIO"),
        .target(name: "CJemalloc", linkerSettings: [.linkedLibrary("jemalloc")]),
        .target(name: "RaftCore"),
        .target(
            name: "EtcdMessages",
            dependencies: [.product(name: "SwiftProtobuf", package: "swift-protobuf")],
            exclude: ["proto"]),
        .target(name: "EtcdWire"),
        .target(name: "KVCore", dependencies: ["CPrefetch", "RaftCore", "EtcdWire"]),
        .target(name: "DurableLog", dependencies: ["CLZ4", "CCRC32C"]),
        .target(name: "Replica", dependencies: ["RaftCore", "EtcdWire", "KVCore", "DurableLog"]),
        .target(
            name: "SocketTransport",
            dependencies: [
                "CEpoll",
                .product(name: "HeapModule", package: "swift-collections"),
                .product(name: "NIOCore", package: "swift-nio"),
            ]),
        .target(
            name: "HTTP2",
            dependencies: [
                "EtcdWire",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOHPACK", package: "swift-nio-http2"),
            ]),
        .target(
            name: "Simulation",
            dependencies: [
                "RaftCore", "EtcdMessages", "EtcdWire", "KVCore", "DurableLog", "Replica",
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
            ]),
        .executableTarget(
            name: "kvsim",
            dependencies: [
                "Simulation", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]),
        .executableTarget(
            name: "KVServer",
            dependencies: [
                "CAsyncIO", "CJemalloc", "EtcdWire", "KVCore", "DurableLog", "Replica", "HTTP2",
                "SocketTransport",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ]),
        .target(
            name: "KVClient",
            dependencies: [
                "EtcdMessages", "EtcdWire", "HTTP2",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ]),
        .executableTarget(
            name: "kvctl",
            dependencies: [
                "EtcdMessages", "EtcdWire", "KVClient", "KVCore", "DurableLog",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ]),

        .target(name: "TestSupport", dependencies: ["DurableLog"], path: "Tests/TestSupport"),
        .target(
            name: "Fuzzing",
            dependencies: [
                "RaftCore", "EtcdMessages", "EtcdWire", "KVCore", "DurableLog", "Replica", "HTTP2",
                "TestSupport",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHPACK", package: "swift-nio-http2"),
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
            ]),
        .executableTarget(
            name: "kvfuzz",
            dependencies: [
                "Fuzzing", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]),

        .executableTarget(
            name: "kvload",
            dependencies: [
                "EtcdMessages", "EtcdWire", "HTTP2",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
            ], path: "Benchmarks/Load"),
        .target(name: "CAllocations", path: "Benchmarks/CAllocations"),
        .executableTarget(
            name: "kvmicro",
            dependencies: [
                "RaftCore", "EtcdWire", "KVCore", "DurableLog", "Replica", "HTTP2", "TestSupport",
                "CAllocations",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "NIOCore", package: "swift-nio"),
            ], path: "Benchmarks/Micro", exclude: ["thresholds.txt"]),

        .testTarget(
            name: "RaftCoreTests", dependencies: ["RaftCore"], exclude: ["Scripts"]),
        .testTarget(
            name: "EtcdWireTests", dependencies: ["EtcdMessages", "EtcdWire", "TestSupport"]),
        .testTarget(name: "KVCoreTests", dependencies: ["KVCore", "TestSupport"]),
        .testTarget(name: "DurableLogTests", dependencies: ["DurableLog", "TestSupport"]),
        .testTarget(
            name: "ReplicaTests", dependencies: ["EtcdMessages", "Replica", "TestSupport"]),
        .testTarget(
            name: "SimulationTests",
            dependencies: ["EtcdMessages", "Simulation", "Replica", "TestSupport"]),
        .testTarget(
            name: "SystemTests",
            dependencies: [
                "KVServer", "kvctl", "DurableLog", "EtcdMessages", "EtcdWire", "HTTP2", "KVCore",
                "RaftCore", "SocketTransport", "TestSupport",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOEmbedded", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ], exclude: ["Python"]),
        .testTarget(
            name: "HTTP2Tests",
            dependencies: [
                "HTTP2", "EtcdWire", "TestSupport",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOEmbedded", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHPACK", package: "swift-nio-http2"),
            ]),
        .testTarget(
            name: "SocketTransportTests",
            dependencies: [
                "SocketTransport",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ]),
        .testTarget(
            name: "KVClientTests",
            dependencies: [
                "KVClient", "EtcdMessages", "EtcdWire", "HTTP2",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ]),
        .testTarget(
            name: "FuzzingTests",
            dependencies: [
                "Fuzzing", "KVServer", "kvctl", "EtcdMessages",
                .product(name: "NIOCore", package: "swift-nio"),
            ], exclude: ["Corpus"]),
        .testTarget(name: "kvctlTests", dependencies: ["kvctl", "KVClient"]),
    ],
    swiftLanguageModes: [.v6]
)
