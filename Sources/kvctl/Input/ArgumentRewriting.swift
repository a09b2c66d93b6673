/// Brings arguments that etcdctl takes into the form our parser takes: global flags may stand
/// before the command, and flags may be given as `--prefix=true`.
enum ArgumentRewriting {
    private static let globalsWithValue: Set<String> = [
        "--endpoints", "--dial-timeout", "--command-timeout", "--write-out", "-w",
    ]
    private static let globalFlags: Set<String> = ["--hex"]

    static func rewrite(_ arguments: [String]) -> [String] {
        let end = arguments.firstIndex(of: "--") ?? arguments.endIndex
        let own = plainFlags(Array(arguments[..<end]))
        var moved: [String] = []
        var position = 0
        while position < own.count {
            let argument = own[position]
            let name = String(argument.prefix { $0 != "=" })
            if globalFlags.contains(argument) || globalsWithValue.contains(name) && name != argument
            {
                moved.append(argument)
                position += 1
            } else if globalsWithValue.contains(argument), position + 1 < own.count {
                moved += own[position...position + 1]
                position += 2
            } else {
                break
            }
        }
        return own[position...] + moved + arguments[end...]
    }

    /// `--flag=true` becomes `--flag`, `--flag=false` vanishes, `-w=json` and `-wjson` become
    /// `-w json`.
    private static func plainFlags(_ arguments: [String]) -> [String] {
        var plain: [String] = []
        for argument in arguments {
            if argument.hasPrefix("--"), argument.hasSuffix("=true") {
                plain.append(String(argument.dropLast("=true".count)))
            } else if argument.hasPrefix("--"), argument.hasSuffix("=false") {
                continue
            } else if argument.hasPrefix("-w"), argument.count > 2 {
                let value = argument.dropFirst(2)
                plain += ["-w", String(value.hasPrefix("=") ? value.dropFirst() : value)]
            } else {
                plain.append(argument)
            }
        }
        return plain
    }
}
