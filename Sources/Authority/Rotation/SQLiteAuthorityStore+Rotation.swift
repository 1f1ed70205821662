internal import FoundationEssentials
internal import GRDB

/// The journal as a table beside the authorities: a step and what it makes of them are one transaction with `synchronous=FULL`.
extension SQLiteAuthorityStore: RotationJournal {
    public func rotation() async throws(StoreError) -> StoredRotation {
        let path = path
        return try await read { db in
            let rows = try Row.fetchAll(
                db,
                sql: """
                    SELECT * FROM rotation_journal
                    WHERE position >= (SELECT max(position) FROM rotation_journal WHERE checkpoint = 1) ORDER BY position
                    """)
            return StoredRotation(
                records: try rows.map { try Self.rotationRecord($0, path: path) },
                authorities: try Self.authorities(db))
        }
    }

    public func commit(_ commit: RotationCommit) async throws(StoreError) {
        try await write { db in
            let position = Int64(commit.record.position)
            let last = try Int64.fetchOne(db, sql: "SELECT max(position) FROM rotation_journal") ?? 0
            guard position == last + 1 else { throw StoreError.conflict }
            let stored = try commit.record.stored()
            let isCheckpoint = commit.record.isCheckpoint
            try db.execute(
                sql: "INSERT INTO rotation_journal (position, checkpoint, record, digest) VALUES (?, ?, ?, ?)",
                arguments: [position, isCheckpoint, Data(stored.bytes), Data(stored.digest)])
            if isCheckpoint {
                try db.execute(
                    sql: "DELETE FROM rotation_journal WHERE position < ?",
                    arguments: [position - RotationRecord.history]
                )
            }
            try Self.write(
                AuthorityChange(
                    trustDomain: commit.trustDomain, upserts: commit.upserts, removals: commit.removals,
                    expectedSequence: commit.expectedSequence, newSequence: commit.record.sequence),
                db)
        }
    }

    public func history(limit: Int) async throws(StoreError) -> [RotationRecord] {
        let path = path
        return try await read { db in
            try Row.fetchAll(
                db, sql: "SELECT * FROM rotation_journal ORDER BY position DESC LIMIT ?", arguments: [limit]
            ).map { try Self.rotationRecord($0, path: path) }
        }
    }

    private static func rotationRecord(_ row: Row, path: String) throws -> RotationRecord {
        try RotationRecord(
            stored: [UInt8](row["record"] as Data), digest: [UInt8](row["digest"] as Data), position: row["position"],
            path: path)
    }
}
