/// Makes request header blocks. What all calls of a connection share is made once; like everything
/// we encode it stays out of the dynamic table, so equal calls have equal bytes.
package struct RequestBlocks {
    private let authority: String
    private let isSecure: Bool
    private let userAgent: String
    /// Blocks without metadata and timeout, by path.
    private var plain: [String: [UInt8]] = [:]
    private static let rememberedPaths = 128

    package init(authority: String, isSecure: Bool, userAgent: String) {
        self.authority = authority
        self.isSecure = isSecure
        self.userAgent = userAgent
    }

    /// The header block of a call.
    package mutating func block(
        path: String, metadata: [(name: String, value: String)], timeoutNanoseconds: Int64?
    ) -> [UInt8] {
        let base = plainBlock(path)
        guard !metadata.isEmpty || timeoutNanoseconds != nil else { return base }
        var builder = HeaderBlockBuilder(block: base)
        if let timeoutNanoseconds {
            builder.append("grpc-timeout", GRPCTimeout.format(nanoseconds: timeoutNanoseconds))
        }
        for field in metadata {
            precondition(
                FieldRules.isValid(name: field.name) && FieldRules.isValid(value: field.value),
                "metadata that HTTP/2 cannot carry")
            builder.append(field.name, field.value)
        }
        return builder.block
    }

    private mutating func plainBlock(_ path: String) -> [UInt8] {
        if let block = plain[path] { return block }
        var builder = HeaderBlockBuilder()
        builder.appendIndexed(StaticTable.methodPOST)
        builder.appendIndexed(isSecure ? StaticTable.schemeHTTPS : StaticTable.schemeHTTP)
        builder.append(nameIndex: StaticTable.path, path.utf8)
        builder.append(nameIndex: StaticTable.authority, authority.utf8)
        builder.append(nameIndex: StaticTable.contentType, "application/grpc".utf8)
        builder.append("te", "trailers")
        builder.append(nameIndex: StaticTable.userAgent, userAgent.utf8)
        if plain.count < Self.rememberedPaths { plain[path] = builder.block }
        return builder.block
    }
}
