internal import FoundationEssentials
internal import GRDB
internal import Glibc
public import PostgreSQL

extension PostgreSQLAuthorityStore {
    private static let rowsAtOnce = 5000

    /// Connects to a store as it is, to be read: its tables have to be of this culvert.
    public static func existing(_ address: PostgreSQLAddress) async throws(StoreError) -> PostgreSQLAuthorityStore {
        let store = PostgreSQLAuthorityStore(address) { _ in }
        switch try await store.standing() {
        case .current: return store
        case .none: throw .cannotOpen(path: store.path, reason: "it has no tables of culvert")
        case .older:
            throw .cannotOpen(
                path: store.path,
                reason: "its tables are of an older culvert; “culvert ca serve” brings them up to date")
        }
    }

    func standing() async throws(StoreError) -> PostgreSQLAuthoritySchema.Standing {
        let path = path
        return try await read { try PostgreSQLAuthoritySchema.standing($0, path: path) }
    }

    /// Writes everything, as it is at one moment, to a new SQLite store at `path`.
    func copy(toFile path: String) async throws(StoreError) {
        try await read { connection in
            // Where the connection was lost before the end it begins anew.
            for suffix in SQLiteFiles.suffixes { SQLiteFiles.remove(path + suffix) }
            let queue = try SQLiteFiles.made(path)
            try queue.write { db in
                for table in StoreTable.all {
                    try connection.execute(table.cursor)
                    while true {
                        let rows = try connection.execute("FETCH FORWARD 5000 FROM copying").rows
                        guard !rows.isEmpty else { break }
                        for row in rows {
                            let values = try table.columns.enumerated().map { try StoredValue(row, $0, $1.kind) }
                            try SQLiteFiles.insert(values, table, db)
                        }
                    }
                    try connection.execute("CLOSE copying")
                }
            }
            try queue.close()
        }
    }

    /// Takes everything from the SQLite store at `path`, in one transaction; this one has to be empty.
    func fill(fromFile path: String) async throws(BackupError) {
        let refusal: BackupError?
        let target = self.path
        do throws(StoreError) {
            refusal = try await write { connection in
                // Nobody begins an authority meanwhile.
                try Self.holdIssuances(connection)
                guard try connection.execute("SELECT sequence FROM bundle").rows.isEmpty,
                    try connection.execute("SELECT id FROM authorities LIMIT 1").rows.isEmpty
                else { return .storeNotEmpty(target) }
                var configuration = Configuration()
                configuration.readonly = true
                let queue = try DatabaseQueue(path: path, configuration: configuration)
                let refusal: BackupError? = try queue.read { db in
                    guard try !SQLiteAuthorityStore.authorities(db).isPluggedIn else { return .pluggedIn }
                    for table in StoreTable.all { try Self.copy(table, from: db, to: connection) }
                    return nil
                }
                try queue.close()
                try connection.execute("NOTIFY culvert_authorities")
                return refusal
            }
        } catch {
            throw .store(error)
        }
        if let refusal { throw refusal }
    }

    private static func copy(_ table: StoreTable, from db: Database, to connection: PostgreSQLConnection) throws {
        let names = table.columns.map(\.name)
        let rows = try Row.fetchCursor(
            db, sql: "SELECT \(names.joined(separator: ", ")) FROM \(table.name) ORDER BY \(table.order)")
        var batch: [[String: StoredValue]] = []
        func write() throws {
            guard !batch.isEmpty else { return }
            let json = String(decoding: try JSONEncoder().encode(batch), as: UTF8.self)
            try connection.execute(table.insertion, [.text(json)])
            batch = []
        }
        while let row = try rows.next() {
            var values: [String: StoredValue] = [:]
            for name in names {
                guard let value = StoredValue(row[name] as DatabaseValue) else {
                    throw UnreadableRow(table: table.name)
                }
                values[name] = value
            }
            batch.append(values)
            if batch.count == rowsAtOnce { try write() }
        }
        try write()
    }
}

/// SQLite stores that are files to be handed on, not worked on.
enum SQLiteFiles {
    /// Of what SQLite and the store put beside the file itself.
    static let suffixes = ["", "-wal", "-shm", "-journal", ".lock"]

    static func remove(_ path: String) { unlink(path) }

    /// Made, private, with all tables and no rows; one file.
    static func made(_ path: String) throws -> DatabaseQueue {
        try PrivateFile.createIfMissing(path)
        let queue = try DatabaseQueue(path: path)
        try SQLiteAuthoritySchema.migrator.migrate(queue)
        return queue
    }

    static func insert(_ values: [StoredValue], _ table: StoreTable, _ db: Database) throws {
        let names = table.columns.map(\.name).joined(separator: ", ")
        let places = table.columns.map { _ in "?" }.joined(separator: ", ")
        let statement = try db.cachedStatement(sql: "INSERT INTO \(table.name) (\(names)) VALUES (\(places))")
        try statement.execute(arguments: StatementArguments(values.map(\.databaseValue)))
    }
}
