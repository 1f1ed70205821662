internal import PostgreSQL

/// The tables of `SQLiteAuthoritySchema` under the same names, in a schema of their own, `culvert`. A step that has shipped is never
/// edited.
///
/// Where SQLite orders rows by their id, a column `position` does it here. What one process at a time needs not be told is a rule here: of each
/// kind one authority is active.
enum PostgreSQLAuthoritySchema {
    private static let steps: [(name: String, script: StaticString)] = [
        (
            "1 authorities, tokens, nodes, issuances",
            """
            CREATE TABLE bundle (
                one BIGINT PRIMARY KEY CHECK (one = 1),
                trust_domain TEXT NOT NULL,
                sequence BIGINT NOT NULL
            );
            CREATE TABLE authorities (
                id TEXT COLLATE "C" PRIMARY KEY,
                kind TEXT NOT NULL,
                state TEXT NOT NULL,
                certificate BYTEA NOT NULL,
                sealed_key BYTEA,
                created_at BIGINT NOT NULL,
                position BIGINT GENERATED ALWAYS AS IDENTITY
            );
            CREATE UNIQUE INDEX authorities_one_active ON authorities (kind) WHERE state = 'active';
            CREATE TABLE join_tokens (
                digest BYTEA PRIMARY KEY,
                node TEXT COLLATE "C" NOT NULL,
                created_at BIGINT NOT NULL,
                expires_at BIGINT NOT NULL,
                used_at BIGINT
            );
            CREATE TABLE nodes (
                name TEXT COLLATE "C" PRIMARY KEY,
                id TEXT NOT NULL,
                attested_at BIGINT NOT NULL,
                serial TEXT NOT NULL,
                expires_at BIGINT NOT NULL,
                banned BOOLEAN NOT NULL DEFAULT FALSE,
                acknowledged_sequence BIGINT,
                acknowledged_at BIGINT,
                version TEXT,
                leaves BYTEA
            );
            CREATE TABLE issuances (
                serial TEXT COLLATE "C" NOT NULL UNIQUE,
                id TEXT NOT NULL,
                pod_uid TEXT,
                node TEXT COLLATE "C",
                not_after BIGINT NOT NULL,
                authority TEXT COLLATE "C" NOT NULL,
                issued_at BIGINT NOT NULL,
                position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY
            );
            CREATE INDEX issuances_by_expiry ON issuances (not_after);
            CREATE TABLE rotation_journal (
                position BIGINT PRIMARY KEY,
                checkpoint BOOLEAN NOT NULL,
                record BYTEA NOT NULL,
                digest BYTEA NOT NULL
            );
            """
        ),
        (
            "2 bans, successive SVIDs of nodes",
            """
            ALTER TABLE nodes
                ADD COLUMN next_serial TEXT,
                ADD COLUMN banned_at BIGINT,
                ADD COLUMN ban_reason TEXT,
                ADD COLUMN clone_seen_at BIGINT,
                DROP COLUMN banned;
            CREATE INDEX issuances_by_node ON issuances (node, position);
            """
        ),
    ]

    /// Set on every connection. What names no schema means ours, and nothing that somebody else may have put before it.
    static let settings: [(name: String, value: String)] = [
        ("search_path", "culvert, pg_temp"),
        ("statement_timeout", "5000"),
        ("lock_timeout", "4000"),
        ("idle_in_transaction_session_timeout", "10000"),
        // What we take for recorded survives the server's crash, whatever its default is.
        ("synchronous_commit", "on"),
        // A machine that has vanished does not keep its locks for long.
        ("tcp_keepalives_idle", "5"),
        ("tcp_keepalives_interval", "3"),
        ("tcp_keepalives_count", "3"),
        ("tcp_user_timeout", "15000"),
    ]

    /// How far the tables are that are there.
    enum Standing: Sendable, Equatable {
        case none, older, current
    }

    /// Changes nothing; `newerSchema` if there is a step that we do not know.
    static func standing(_ connection: PostgreSQLConnection, path: String) throws -> Standing {
        guard try hasTables(connection) else { return .none }
        return try applied(connection, path: path).count == steps.count ? .current : .older
    }

    private static func hasTables(_ connection: PostgreSQLConnection) throws(PostgreSQLError) -> Bool {
        try !connection.execute(
            "SELECT 1::bigint FROM pg_tables WHERE schemaname = 'culvert' AND tablename = 'migrations'"
        ).rows.isEmpty
    }

    private static func applied(_ connection: PostgreSQLConnection, path: String) throws -> Set<String> {
        let applied = Set(
            try connection.execute("SELECT identifier FROM culvert.migrations").rows.map { try $0.text(0) })
        guard applied.isSubset(of: steps.map(\.name)) else { throw StoreError.newerSchema(path: path) }
        return applied
    }

    /// Brings the schema to ours, one process at a time; `newerSchema` if it knows a step that we do not.
    static func migrate(_ connection: PostgreSQLConnection, path: String) throws {
        try connection.transaction(.writing) { connection in
            try connection.execute("SELECT pg_advisory_xact_lock(4860704720185098241)")
            // CREATE SCHEMA IF NOT EXISTS asks for the right to create one even if there is nothing to create.
            if try connection.execute("SELECT 1::bigint FROM pg_namespace WHERE nspname = 'culvert'").rows.isEmpty {
                try connection.execute("CREATE SCHEMA culvert")
            }
            if try !hasTables(connection) {
                try connection.execute("CREATE TABLE culvert.migrations (identifier TEXT PRIMARY KEY)")
            }
            let applied = try applied(connection, path: path)
            for step in steps where !applied.contains(step.name) {
                try connection.executeScript(step.script)
                try connection.execute(
                    "INSERT INTO culvert.migrations (identifier) VALUES ($1)", [.text(step.name)])
            }
        }
    }
}
