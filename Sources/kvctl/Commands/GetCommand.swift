import ArgumentParser
import FoundationEssentials
import KVClient

/// Which keys a command means.
struct RangeArguments: ParsableArguments {
    @Argument(help: "The key, or the prefix, or the first key.")
    var key = ""

    @Argument(help: "The first key that isn't meant any more.")
    var rangeEnd: String?

    @Flag(help: "All keys that begin with KEY.")
    var prefix = false

    @Flag(help: "All keys from KEY on.")
    var fromKey = false

    func validate() throws {
        if prefix && fromKey {
            throw ValidationError("--prefix and --from-key exclude each other")
        }
        if rangeEnd != nil, prefix || fromKey {
            throw ValidationError("give a range end, or --prefix, or --from-key")
        }
        if key.isEmpty && !prefix && !fromKey {
            throw ValidationError("which key? An empty one needs --prefix or --from-key")
        }
    }

    var range: KeyRange {
        let start = Array(key.utf8)
        if prefix { return .prefix(start) }
        if fromKey { return .from(start) }
        if let rangeEnd { return .range(start, Array(rangeEnd.utf8)) }
        return .key(start)
    }

    var isSingleKey: Bool {
        if case .key = range { return true }
        return false
    }
}

/// `kvctl get`.
struct GetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "get", abstract: "Read a key or a range of keys.",
        discussion: "Exits with 1 if a single key is missing; nothing in a range is fine.")

    @OptionGroup var range: RangeArguments

    @Option(help: "At most this many keys; 0 for all.")
    var limit: Int64 = 0

    @Option(help: "Read the past, at this revision.")
    var rev: Int64 = 0

    @Option(help: "Sort by create, key, modify, value or version.")
    var sortBy: SortKey?

    @Option(help: "Sort ascend or descend.")
    var order: SortDirection?

    @Flag(help: "Print keys only.")
    var keysOnly = false

    @Flag(help: "Print the number of keys only.")
    var countOnly = false

    @Flag(help: "Print values only.")
    var printValueOnly = false

    @Option(help: "l: the newest state; s: what this server knows, which may be old.")
    var consistency = Consistency.linearizable

    @OptionGroup var globals: GlobalOptions

    func validate() throws {
        if keysOnly && printValueOnly {
            throw ValidationError("--keys-only and --print-value-only exclude each other")
        }
    }

    var request: Etcd.RangeRequest {
        var request = Etcd.RangeRequest.keys(range.range)
        request.limit = limit
        request.revision = rev
        request.keysOnly = keysOnly
        request.countOnly = countOnly
        request.serializable = consistency == .serializable
        request.sortTarget = sortBy?.target ?? .key
        switch order {
        case .ascend: request.sortOrder = .ascend
        case .descend: request.sortOrder = .descend
        // Named explicitly, because without an order the limit is applied before sorting.
        case nil: request.sortOrder = sortBy == nil ? .none : .ascend
        }
        return request
    }

    func run() async throws {
        let response = try await globals.makeClient().range(request)
        let content: KeyContent =
            keysOnly ? .keys : printValueOnly ? .values : .keysAndValues
        Output.write(globals.printer.get(response, content: content, isCountOnly: countOnly))
        if range.isSingleKey, response.count == 0, !countOnly {
            throw CommandFailure("there is no key \"\(range.key)\"")
        }
    }
}

/// What `get` sorts by.
enum SortKey: String, CaseIterable {
    case create, key, modify, value, version

    var target: Etcd.RangeRequest.SortTarget {
        switch self {
        case .create: .create
        case .key: .key
        case .modify: .mod
        case .value: .value
        case .version: .version
        }
    }
}

/// How `get` sorts.
enum SortDirection: String, CaseIterable {
    case ascend, descend
}

/// Which state `get` reads.
enum Consistency: String, CaseIterable {
    case linearizable = "l"
    case serializable = "s"
}

// etcdctl takes these in either case.

extension SortKey: ExpressibleByArgument {
    init?(argument: String) { self.init(rawValue: argument.lowercased()) }
}

extension SortDirection: ExpressibleByArgument {
    init?(argument: String) { self.init(rawValue: argument.lowercased()) }
}

extension Consistency: ExpressibleByArgument {}
