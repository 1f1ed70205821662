internal import PostgreSQL

/// The journal as a table beside the authorities: a step and what it makes of them are one transaction.
extension PostgreSQLAuthorityStore: RotationJournal {
    public func rotation() async throws(StoreError) -> StoredRotation {
        let path = path
        return try await read { connection in
            let records = try connection.execute(
                """
                SELECT position, record, digest FROM rotation_journal
                WHERE position >= (SELECT max(position) FROM rotation_journal WHERE checkpoint) ORDER BY position
                """
            ).rows.map { try Self.rotationRecord($0, path: path) }
            return StoredRotation(records: records, authorities: try Self.authorities(connection))
        }
    }

    public func commit(_ commit: RotationCommit) async throws(StoreError) {
        try await write { connection in
            // Before anything is read: what is read then stays as it is.
            try Self.holdIssuances(connection)
            let position = Int64(commit.record.position)
            let last = try connection.execute("SELECT coalesce(max(position), 0) FROM rotation_journal").rows[0]
                .integer(0)
            guard position == last + 1 else { throw StoreError.conflict }
            let stored = try commit.record.stored()
            try connection.execute(
                "INSERT INTO rotation_journal (position, checkpoint, record, digest) VALUES ($1, $2, $3, $4)",
                [
                    .integer(position), .boolean(commit.record.isCheckpoint), .bytes(stored.bytes),
                    .bytes(stored.digest),
                ])
            if commit.record.isCheckpoint {
                try connection.execute(
                    "DELETE FROM rotation_journal WHERE position < $1", [.integer(position - RotationRecord.history)])
            }
            try Self.write(
                AuthorityChange(
                    trustDomain: commit.trustDomain, upserts: commit.upserts, removals: commit.removals,
                    expectedSequence: commit.expectedSequence, newSequence: commit.record.sequence),
                connection)
        }
    }

    public func history(limit: Int) async throws(StoreError) -> [RotationRecord] {
        let path = path
        return try await read { connection in
            try connection.execute(
                "SELECT position, record, digest FROM rotation_journal ORDER BY position DESC LIMIT $1",
                [.integer(Int64(limit))]
            ).rows.map { try Self.rotationRecord($0, path: path) }
        }
    }

    private static func rotationRecord(_ row: PostgreSQLRow, path: String) throws -> RotationRecord {
        try RotationRecord(
            stored: row.bytes(1), digest: row.bytes(2), position: row.integer(0), path: path)
    }
}
