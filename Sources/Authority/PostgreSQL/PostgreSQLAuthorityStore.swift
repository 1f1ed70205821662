public import FoundationEssentials
public import PostgreSQL
internal import Synchronization

/// The store as a PostgreSQL database that several authorities of one trust domain share.
///
/// All of them sign. A signature is recorded, and so released, only while the authority that made it is active and its node is neither
/// banned nor forgotten, and that is looked at in the transaction that records it: changes of authorities and bans first wait for the
/// records that are being written, and hold up those that come after. Once `commit`, `apply`, `setBan` or `evict` has returned, no
/// process on earth gets a signature recorded against it.
///
/// One of them leads (see `follow`). That is a matter of who does the work: two that both think so can break nothing, since every change names
/// the state that it starts from.
public final class PostgreSQLAuthorityStore: AuthorityStore {
    /// The database as messages name it: without user and password.
    public let path: String
    let pool: PostgreSQLPool
    let standing = Mutex(Standing())

    /// Connects and brings the schema up to date. `changed` is told when the database cannot be reached, and when it can be again.
    public static func open(
        _ address: PostgreSQLAddress,
        changed: @escaping @Sendable (PostgreSQLPool.Availability) -> Void = { _ in }
    ) async throws(StoreError) -> PostgreSQLAuthorityStore {
        let store = PostgreSQLAuthorityStore(address, changed: changed)
        let path = store.path
        try await store.mapped {
            try await store.pool.withConnection { try PostgreSQLAuthoritySchema.migrate($0, path: path) }
        }
        return store
    }

    init(
        _ address: PostgreSQLAddress, changed: @escaping @Sendable (PostgreSQLPool.Availability) -> Void
    ) {
        path = address.description
        pool = PostgreSQLPool(address, settings: PostgreSQLAuthoritySchema.settings, changed: changed)
    }

    // MARK: Authorities

    public func authorities() async throws(StoreError) -> StoredAuthorities {
        try await read(Self.authorities)
    }

    public func apply(_ change: AuthorityChange) async throws(StoreError) {
        try await write { try Self.write(change, $0) }
    }

    // MARK: Tokens and nodes

    public func add(_ token: JoinTokenRecord) async throws(StoreError) {
        try await write { connection in
            try connection.execute(
                "INSERT INTO join_tokens (digest, node, created_at, expires_at) VALUES ($1, $2, $3, $4)",
                [
                    .bytes(token.digest), .text(token.node.description), .integer(token.createdAt.unixSeconds),
                    .integer(token.expiresAt.unixSeconds),
                ])
        }
    }

    public func joinToken(digest: [UInt8]) async throws(StoreError) -> JoinTokenRecord? {
        try await read { connection in
            try connection.execute(
                "SELECT node, created_at, expires_at, used_at FROM join_tokens WHERE digest = $1", [.bytes(digest)]
            ).rows.first.map { row in
                JoinTokenRecord(
                    digest: digest, node: try NodeName(row.text(0)), createdAt: Date(unixSeconds: try row.integer(1)),
                    expiresAt: Date(unixSeconds: try row.integer(2)),
                    usedAt: try row.optionalInteger(3).map { Date(unixSeconds: $0) })
            }
        }
    }

    public func admit(_ admission: NodeAdmission) async throws(StoreError) -> NodeAdmission.Outcome {
        try await write { connection in
            let banned = try connection.execute(
                "SELECT 1::bigint FROM nodes WHERE name = $1 AND banned_at IS NOT NULL",
                [.text(admission.node.name.description)])
            guard banned.rows.isEmpty else { return .banned }
            // Of two at once the second waits here, and then finds the token used.
            if let digest = admission.tokenDigest {
                let used = try connection.execute(
                    "UPDATE join_tokens SET used_at = $1 WHERE digest = $2 AND used_at IS NULL",
                    [.integer(admission.node.attestedAt.unixSeconds), .bytes(digest)])
                guard used.count == 1 else { return .alreadyUsed }
            }
            try Self.write(attested: admission.node, connection)
            try Self.write([admission.issuance], connection)
            return .admitted
        }
    }

    public func nodes() async throws(StoreError) -> [NodeRecord] {
        try await read { try Self.nodes($0) }
    }

    public func acknowledge(
        _ acknowledgement: NodeAcknowledgement, by node: NodeName
    ) async throws(StoreError) {
        try await write { connection in
            try connection.execute(
                """
                UPDATE nodes SET acknowledged_sequence = $1, acknowledged_at = $2, version = $3, leaves = $4 WHERE name = $5
                """,
                [
                    .integer(Int64(clamping: acknowledgement.sequence)), .integer(acknowledgement.at.unixSeconds),
                    .text(acknowledgement.version),
                    .bytes([UInt8](try JSONEncoder().encode(acknowledgement.leaves))), .text(node.description),
                ])
        }
    }

    // MARK: Signatures

    public func issuances(limit: Int) async throws(StoreError) -> [IssuanceRecord] {
        try await read { connection in
            try connection.execute(
                """
                SELECT serial, id, pod_uid, node, not_after, authority, issued_at FROM issuances
                ORDER BY issued_at DESC, position DESC LIMIT $1
                """, [.integer(Int64(limit))]
            ).rows.map(Self.issuance)
        }
    }

    /// In pieces, each a transaction: nobody waits for a million rows to go.
    public func prune(expiredBefore date: Date, issuancesMax: Int) async throws(StoreError) {
        try await write { connection in
            try connection.execute("DELETE FROM join_tokens WHERE expires_at < $1", [.integer(date.unixSeconds)])
        }
        try await deleteIssuances(
            """
            DELETE FROM issuances WHERE position IN (SELECT position FROM issuances WHERE not_after < $1 LIMIT 10000)
            """, .integer(date.unixSeconds))
        try await deleteIssuances(
            """
            DELETE FROM issuances WHERE position IN (
                SELECT position FROM issuances
                WHERE position <= (SELECT position FROM issuances ORDER BY position DESC OFFSET $1 LIMIT 1)
                LIMIT 10000)
            """, .integer(Int64(issuancesMax)))
    }

    private func deleteIssuances(_ statement: StaticString, _ value: PostgreSQLValue) async throws(StoreError) {
        var deleted = 1
        while deleted > 0 {
            deleted = try await mapped { try await self.pool.execute(statement, [value]).count }
        }
    }

    // MARK: Access

    func read<Value: Sendable>(
        _ body: @escaping @Sendable (PostgreSQLConnection) throws -> Value
    ) async throws(StoreError) -> Value {
        try await mapped { try await self.pool.transaction(.reading, body) }
    }

    /// The body may run again where its first run came to nothing.
    @discardableResult
    func write<Value: Sendable>(
        _ body: @escaping @Sendable (PostgreSQLConnection) throws -> Value
    ) async throws(StoreError) -> Value {
        try await mapped { try await self.pool.transaction(.writing, body) }
    }

    func mapped<Value: Sendable>(_ body: () async throws -> Value) async throws(StoreError) -> Value {
        do {
            return try await body()
        } catch let error as StoreError {
            throw error
        } catch let error as PostgreSQLError {
            throw Self.storeError(error, path: path)
        } catch {
            throw .other(path: path, reason: "\(error)")
        }
    }

    private static func storeError(_ error: PostgreSQLError, path: String) -> StoreError {
        switch error {
        case .unreachable(let reason): return .unavailable(path: path, reason: reason)
        case .lost(_, false), .crowded: return .unavailable(path: path, reason: error.description)
        case .lost(let reason, true): return .uncertain(path: path, reason: reason)
        case .unreadable(let reason): return .corrupted(path: path, reason: reason)
        case .refused(let state, let message, let constraint):
            switch state {
            case .diskFull: return .full(path: path)
            case .readOnlyTransaction: return .readOnly(path: path)
            case .dataCorrupted, .indexCorrupted: return .corrupted(path: path, reason: message)
            case .insufficientPrivilege: return .cannotOpen(path: path, reason: message)
            case .lockNotAvailable, .queryCanceled, .serializationFailure, .deadlock:
                return .unavailable(path: path, reason: error.description)
            case .uniqueViolation where constraint == "authorities_one_active": return .conflict
            default: return .other(path: path, reason: error.description)
            }
        }
    }
}
