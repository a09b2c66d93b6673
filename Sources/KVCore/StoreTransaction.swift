import EtcdWire

extension Store {
    /// Applies a transaction: compares, checks, then operations, all in one revision.
    mutating func applyTxn(_ request: TxnRequest) throws(EtcdError) -> TxnOutcome {
        try Validation.checkApplied(request)
        var path: [Bool] = []
        chooseBranches(request, &path)
        var check = path[...]
        var bytes: UInt64 = 0
        try checkBranch(request, &check, &bytes)
        if bytes > 0 { try checkQuota(adding: bytes) }
        var run = path[...]
        let outcome = run.isEmpty ? nil : execute(request, &run)
        finishRevision()
        guard let outcome else { preconditionFailure("a path has a step for its transaction") }
        return outcome
    }

    /// Answers a transaction that only reads, from the present state. The caller has made sure with
    /// `isReadOnly` that nothing in it writes.
    public func read(
        _ request: TxnRequest, maximumOperations: Int
    ) throws(EtcdError) -> TxnOutcome {
        try Validation.check(request, maximumOperations: maximumOperations)
        let succeeded = allHold(request.compare)
        var responses: [OperationOutcome] = []
        for operation in succeeded ? request.success : request.failure {
            switch operation {
            case .range(let range):
                try checkTxnRange(range)
                responses.append(.range(try reader.range(range)))
            case .empty, .put, .deleteRange, .txn:
                preconditionFailure("only ranges are read without a log entry")
            }
        }
        return TxnOutcome(succeeded: succeeded, responses: responses)
    }

    // MARK: Compares

    /// Decides every branch before anything runs: a step for this transaction, then those of the
    /// transactions inside the branch taken.
    private func chooseBranches(_ request: TxnRequest, _ path: inout [Bool]) {
        let succeeded = allHold(request.compare)
        path.append(succeeded)
        for operation in succeeded ? request.success : request.failure {
            if case .txn(let nested) = operation { chooseBranches(nested, &path) }
        }
    }

    private func allHold(_ compares: [Compare]) -> Bool {
        for compare in compares where !holds(compare) { return false }
        return true
    }

    /// Whether a compare holds for its key, or for every key of its range.
    private func holds(_ compare: Compare) -> Bool {
        let range = KeyRange(key: compare.key, rangeEnd: compare.rangeEnd)
        var found = false
        var result = true
        reader.visit(range, at: .max) { version in
            found = true
            result = Store.holds(compare, version)
            return result
        }
        if found { return result }
        // Nothing there: no value compares, every number is 0.
        return compare.target == .value ? false : Store.holds(compare, nil)
    }

    private static func holds(_ compare: Compare, _ version: VersionStorage?) -> Bool {
        let order: Int
        switch compare.target {
        case .version: order = sign(version?.version, compare.number(.version))
        case .create: order = sign(version?.createRevision, compare.number(.create))
        case .mod: order = sign(version?.modRevision, compare.number(.mod))
        case .lease: order = sign(version?.lease, compare.number(.lease))
        case .value:
            var operand: ArraySlice<UInt8> = []
            if case .value(let bytes) = compare.operand { operand = bytes }
            order = operand.withUnsafeBytes { operand in
                version?.withValue { compareBytes($0, operand) } ?? 0
            }
        case .unrecognized: order = 0
        }
        switch compare.result {
        case .equal: return order == 0
        case .notEqual: return order != 0
        case .greater: return order > 0
        case .less: return order < 0
        case .unrecognized: return true
        }
    }

    private static func sign(_ left: Int64?, _ right: Int64) -> Int {
        let left = left ?? 0
        return left == right ? 0 : (left < right ? -1 : 1)
    }

    // MARK: Checks

    /// Checks the operations that will run against the state before the transaction, and adds up
    /// what the puts will store.
    private func checkBranch(
        _ request: TxnRequest, _ path: inout ArraySlice<Bool>, _ bytes: inout UInt64
    ) throws(EtcdError) {
        let succeeded = path.removeFirst()
        for operation in succeeded ? request.success : request.failure {
            switch operation {
            case .range(let range): try checkTxnRange(range)
            case .put(let put):
                let old = try versionKept(by: put)
                if put.lease != 0 && leases[put.lease] == nil { throw .leaseNotFound }
                bytes += cost(of: put, keeping: old)
            case .deleteRange, .empty: break
            case .txn(let nested): try checkBranch(nested, &path, &bytes)
            }
        }
    }

    private func checkTxnRange(_ request: RangeRequest) throws(EtcdError) {
        guard request.revision != 0 else { return }
        guard request.revision <= revision else { throw .futureRevision }
        guard request.revision >= compactedRevision else { throw .compacted }
    }

    // MARK: Execution

    private mutating func execute(
        _ request: TxnRequest, _ path: inout ArraySlice<Bool>
    ) -> TxnOutcome {
        let succeeded = path.removeFirst()
        let operations = succeeded ? request.success : request.failure
        var responses: [OperationOutcome] = []
        responses.reserveCapacity(operations.count)
        for operation in operations {
            switch operation {
            case .range(let range): responses.append(.range(rangeInside(range)))
            case .put(let request): responses.append(.put(put(request)))
            case .deleteRange(let request):
                responses.append(.deleteRange(deleteRange(request)))
            case .txn(let nested): responses.append(.txn(execute(nested, &path)))
            case .empty: preconditionFailure("validation refuses empty operations")
            }
        }
        return TxnOutcome(succeeded: succeeded, responses: responses)
    }

    /// A range that sees what the transaction has written so far.
    private func rangeInside(_ request: RangeRequest) -> RangeOutcome {
        let reader = RangeReader(
            tree: tree.reader, revision: visibleRevision, compactedRevision: compactedRevision)
        do throws(EtcdError) {
            return try reader.range(request)
        } catch {
            preconditionFailure("the range was checked before the transaction began: \(error)")
        }
    }
}

extension TxnRequest {
    /// Whether the transaction can be answered without a log entry: it holds ranges only.
    public var isReadOnly: Bool {
        success.allSatisfy(\.isRange) && failure.allSatisfy(\.isRange)
    }
}

extension RequestOperation {
    fileprivate var isRange: Bool {
        if case .range = self { return true }
        return false
    }
}

extension Compare {
    /// The number to compare with; 0 where the operand doesn't fit the target, as in etcd.
    fileprivate func number(_ target: Target) -> Int64 {
        switch (target, operand) {
        case (.version, .version(let number)), (.create, .createRevision(let number)),
            (.mod, .modRevision(let number)), (.lease, .lease(let number)):
            return number
        case (_, _): return 0
        }
    }
}
