internal import Crypto
internal import FoundationEssentials
internal import GRDB

/// The journal as a table beside the authorities: a step and what it makes of them are one transaction with `synchronous=FULL`.
extension SQLiteAuthorityStore: RotationJournal {
    /// How many records before the last checkpoint are kept for the operator to read.
    static let rotationHistory: Int64 = 1000

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
            let record = try Self.encode(commit.record)
            var isCheckpoint = false
            if case .checkpoint = commit.record.step { isCheckpoint = true }
            try db.execute(
                sql: "INSERT INTO rotation_journal (position, checkpoint, record, digest) VALUES (?, ?, ?, ?)",
                arguments: [position, isCheckpoint, record, Data(SHA256.hash(data: record))])
            if isCheckpoint {
                try db.execute(
                    sql: "DELETE FROM rotation_journal WHERE position < ?", arguments: [position - Self.rotationHistory]
                )
            }
            try Self.write(
                AuthorityChange(
                    trustDomain: commit.trustDomain, upserts: commit.upserts, removals: commit.removals,
                    expectedSequence: commit.expectedSequence, newSequence: commit.record.sequence),
                db)
        }
    }

    /// Whole seconds are exact in a `Double`, and every date in a record is one.
    private static func encode(_ record: RotationRecord) throws -> Data {
        let encoder = JSONEncoder()
        encoder.dateEncodingStrategy = .secondsSince1970
        encoder.outputFormatting = .sortedKeys
        return try encoder.encode(record)
    }

    private static func rotationRecord(_ row: Row, path: String) throws -> RotationRecord {
        let data: Data = row["record"]
        let position: Int64 = row["position"]
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .secondsSince1970
        guard row["digest"] as Data == Data(SHA256.hash(data: data)),
            let record = try? decoder.decode(RotationRecord.self, from: data), Int64(record.position) == position
        else { throw StoreError.corrupted(path: path, reason: "rotation record \(position) cannot be read") }
        return record
    }
}
