public import FoundationEssentials
internal import GRDB
internal import SPIFFE
internal import SwiftASN1
internal import Synchronization
internal import X509

/// The store as one SQLite file of mode 0600, in WAL mode.
///
/// Authorities, nodes and tokens are written with `synchronous=FULL`: they survive a power failure. The log of leaf signatures and what
/// nodes acknowledge is written through a second connection with `synchronous=NORMAL`: it survives the process, and a power failure may
/// cost its last entries, never the file's integrity. Nodes acknowledge again when they come back, and what waits for them waits until
/// then. One process at a time: a lock file says so.
public final class SQLiteAuthorityStore: AuthorityStore {
    public let path: String
    private let state: DatabaseQueue
    private let log: DatabaseQueue
    private let lock: FileLock

    /// Opens or creates the file, checks it and migrates its schema.
    public init(path: String) throws(StoreError) {
        self.path = path
        lock = try FileLock(path: path + ".lock", store: path)
        try PrivateFile.createIfMissing(path)
        do {
            state = try Self.open(path, synchronous: "FULL")
            try state.read { db in
                let verdict = try String.fetchAll(db, sql: "PRAGMA quick_check(3)")
                guard verdict == ["ok"] else {
                    throw StoreError.corrupted(path: path, reason: verdict.joined(separator: "; "))
                }
            }
            let migrator = SQLiteAuthoritySchema.migrator
            guard try state.read({ try !migrator.hasBeenSuperseded($0) }) else {
                throw StoreError.newerSchema(path: path)
            }
            try migrator.migrate(state)
            log = try Self.open(path, synchronous: "NORMAL")
        } catch {
            throw Self.storeError(error, path: path)
        }
    }

    private static func open(_ path: String, synchronous: String) throws -> DatabaseQueue {
        var configuration = Configuration()
        configuration.journalMode = .wal
        configuration.busyMode = .timeout(5)
        let queue = try DatabaseQueue(path: path, configuration: configuration)
        // The connection lives as long as the queue, so this stays set.
        try queue.writeWithoutTransaction { try $0.execute(sql: "PRAGMA synchronous = \(synchronous)") }
        return queue
    }

    // MARK: Authorities

    public func authorities() async throws(StoreError) -> StoredAuthorities {
        try await read(Self.authorities)
    }

    public func apply(_ change: AuthorityChange) async throws(StoreError) {
        try await write { db in
            try Self.write(change, db)
        }
    }

    // MARK: Tokens and nodes

    public func add(_ token: JoinTokenRecord) async throws(StoreError) {
        try await write { db in
            try db.execute(
                sql: "INSERT INTO join_tokens (digest, node, created_at, expires_at) VALUES (?, ?, ?, ?)",
                arguments: [
                    Data(token.digest), token.node.description, token.createdAt.unixSeconds,
                    token.expiresAt.unixSeconds,
                ])
        }
    }

    public func joinToken(digest: [UInt8]) async throws(StoreError) -> JoinTokenRecord? {
        try await read { db in
            guard
                let row = try Row.fetchOne(
                    db, sql: "SELECT * FROM join_tokens WHERE digest = ?", arguments: [Data(digest)])
            else { return nil }
            return JoinTokenRecord(
                digest: digest,
                node: try NodeName(row["node"]),
                createdAt: Date(unixSeconds: row["created_at"]),
                expiresAt: Date(unixSeconds: row["expires_at"]),
                usedAt: (row["used_at"] as Int64?).map { Date(unixSeconds: $0) }
            )
        }
    }

    public func admit(_ admission: NodeAdmission) async throws(StoreError) -> NodeAdmission.Outcome {
        try await write { db in
            guard try !Self.isBanned(admission.node.name, db) else { return .banned }
            if let digest = admission.tokenDigest {
                try db.execute(
                    sql: "UPDATE join_tokens SET used_at = ? WHERE digest = ? AND used_at IS NULL",
                    arguments: [admission.node.attestedAt.unixSeconds, Data(digest)])
                guard db.changesCount == 1 else { return .alreadyUsed }
            }
            try Self.write(attested: admission.node, db)
            try Self.write(admission.issuance, db)
            return .admitted
        }
    }

    public func nodes() async throws(StoreError) -> [NodeRecord] {
        try await read { db in
            try Row.fetchAll(db, sql: "SELECT * FROM nodes ORDER BY name").map(Self.node)
        }
    }

    public func acknowledge(
        _ acknowledgement: NodeAcknowledgement, by node: NodeName
    ) async throws(StoreError) {
        try await write(log) { db in
            try db.execute(
                sql: """
                    UPDATE nodes SET acknowledged_sequence = ?, acknowledged_at = ?, version = ?, leaves = ? WHERE name = ?
                    """,
                arguments: [
                    Int64(clamping: acknowledgement.sequence), acknowledgement.at.unixSeconds,
                    acknowledgement.version, try JSONEncoder().encode(acknowledgement.leaves), node.description,
                ])
        }
    }

    // MARK: Signatures

    public func record(_ issuances: [IssuanceRecord]) async throws(StoreError) {
        try await write(log) { db in
            try Self.write(issuances, db)
        }
    }

    public func issuances(limit: Int) async throws(StoreError) -> [IssuanceRecord] {
        try await read { db in
            try Row.fetchAll(
                db, sql: "SELECT * FROM issuances ORDER BY issued_at DESC, rowid DESC LIMIT ?", arguments: [limit]
            ).map(Self.issuance)
        }
    }

    public func prune(expiredBefore date: Date, issuancesMax: Int) async throws(StoreError) {
        try await write { db in
            try db.execute(sql: "DELETE FROM issuances WHERE not_after < ?", arguments: [date.unixSeconds])
            try db.execute(sql: "DELETE FROM join_tokens WHERE expires_at < ?", arguments: [date.unixSeconds])
            try db.execute(
                sql: "DELETE FROM issuances WHERE rowid <= (SELECT max(rowid) FROM issuances) - ?",
                arguments: [issuancesMax])
        }
    }

    // MARK: Access

    func read<Value: Sendable>(
        _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws(StoreError) -> Value {
        do {
            return try await state.read(body)
        } catch {
            throw Self.storeError(error, path: path)
        }
    }

    func write<Value: Sendable>(
        _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws(StoreError) -> Value {
        try await write(state, body)
    }

    private func write<Value: Sendable>(
        _ queue: DatabaseQueue, _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws(StoreError) -> Value {
        do {
            return try await queue.write(body)
        } catch {
            throw Self.storeError(error, path: path)
        }
    }

    /// For tests of faults that cannot be had otherwise, such as a full disk.
    func execute(onEveryConnection sql: String) throws {
        for queue in [state, log] {
            try queue.writeWithoutTransaction { try $0.execute(sql: sql) }
        }
    }

    static func storeError(_ error: any Error, path: String) -> StoreError {
        if let error = error as? StoreError { return error }
        guard let error = error as? DatabaseError else { return .other(path: path, reason: "\(error)") }
        switch error.resultCode {
        case .SQLITE_FULL: return .full(path: path)
        case .SQLITE_READONLY, .SQLITE_PERM: return .readOnly(path: path)
        case .SQLITE_CORRUPT, .SQLITE_NOTADB: return .corrupted(path: path, reason: error.message ?? "not a database")
        case .SQLITE_BUSY, .SQLITE_LOCKED: return .busy(path: path)
        case .SQLITE_CANTOPEN: return .cannotOpen(path: path, reason: error.message ?? "unknown reason")
        default: return .other(path: path, reason: error.message ?? "SQLite error \(error.resultCode.rawValue)")
        }
    }
}
