internal import GRDB

/// The tables, as the steps by which they came to be. A step that has shipped is never edited.
enum SQLiteAuthoritySchema {
    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1 authorities, tokens, nodes, issuances") { db in
            try db.execute(
                sql: """
                    CREATE TABLE bundle (
                        one INTEGER PRIMARY KEY CHECK (one = 1),
                        trust_domain TEXT NOT NULL,
                        sequence INTEGER NOT NULL
                    ) STRICT;
                    CREATE TABLE authorities (
                        id TEXT PRIMARY KEY,
                        kind TEXT NOT NULL,
                        state TEXT NOT NULL,
                        certificate BLOB NOT NULL,
                        sealed_key BLOB,
                        created_at INTEGER NOT NULL
                    ) STRICT;
                    CREATE TABLE join_tokens (
                        digest BLOB PRIMARY KEY,
                        node TEXT NOT NULL,
                        created_at INTEGER NOT NULL,
                        expires_at INTEGER NOT NULL,
                        used_at INTEGER
                    ) STRICT;
                    CREATE TABLE nodes (
                        name TEXT PRIMARY KEY,
                        id TEXT NOT NULL,
                        attested_at INTEGER NOT NULL,
                        serial TEXT NOT NULL,
                        expires_at INTEGER NOT NULL,
                        banned INTEGER NOT NULL DEFAULT 0,
                        acknowledged_sequence INTEGER,
                        acknowledged_at INTEGER,
                        version TEXT,
                        leaves BLOB
                    ) STRICT;
                    CREATE TABLE issuances (
                        serial TEXT NOT NULL UNIQUE,
                        id TEXT NOT NULL,
                        pod_uid TEXT,
                        node TEXT,
                        not_after INTEGER NOT NULL,
                        authority TEXT NOT NULL,
                        issued_at INTEGER NOT NULL
                    ) STRICT;
                    CREATE INDEX issuances_by_expiry ON issuances (not_after);
                    """)
        }
        migrator.registerMigration("2 rotations") { db in
            try db.execute(
                sql: """
                    CREATE TABLE rotation_journal (
                        position INTEGER PRIMARY KEY,
                        checkpoint INTEGER NOT NULL,
                        record BLOB NOT NULL,
                        digest BLOB NOT NULL
                    ) STRICT;
                    """)
        }
        migrator.registerMigration("3 bans, successive SVIDs of nodes") { db in
            try db.execute(
                sql: """
                    ALTER TABLE nodes ADD COLUMN next_serial TEXT;
                    ALTER TABLE nodes ADD COLUMN banned_at INTEGER;
                    ALTER TABLE nodes ADD COLUMN ban_reason TEXT;
                    ALTER TABLE nodes ADD COLUMN clone_seen_at INTEGER;
                    ALTER TABLE nodes DROP COLUMN banned;
                    CREATE INDEX issuances_by_node ON issuances (node);
                    """)
        }
        return migrator
    }
}
