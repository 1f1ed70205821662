internal import FoundationEssentials
internal import GRDB
internal import SPIFFE
internal import SwiftASN1
internal import X509

extension SQLiteAuthorityStore {
    static func authorities(_ db: Database) throws -> StoredAuthorities {
        let records = try Row.fetchAll(db, sql: "SELECT * FROM authorities ORDER BY created_at, rowid").map(authority)
        let bundle = try Row.fetchOne(db, sql: "SELECT trust_domain, sequence FROM bundle")
        return StoredAuthorities(
            trustDomain: bundle?["trust_domain"],
            records: records,
            sequence: UInt64(clamping: bundle?["sequence"] as Int64? ?? 0)
        )
    }

    static func write(_ change: AuthorityChange, _ db: Database) throws {
        let sequence = try Int64.fetchOne(db, sql: "SELECT sequence FROM bundle") ?? 0
        guard sequence == Int64(change.expectedSequence) else { throw StoreError.conflict }
        for record in change.upserts {
            try db.execute(
                sql: """
                    INSERT INTO authorities (id, kind, state, certificate, sealed_key, created_at) VALUES (?, ?, ?, ?, ?, ?)
                    ON CONFLICT (id) DO UPDATE SET state = excluded.state, sealed_key = excluded.sealed_key, certificate = excluded.certificate
                    """,
                arguments: [
                    record.id.description, record.kind.rawValue, record.state.rawValue,
                    Data(record.certificate.der()), record.sealedKey.map { Data($0) },
                    record.createdAt.unixSeconds,
                ])
        }
        for id in change.removals {
            try db.execute(sql: "DELETE FROM authorities WHERE id = ?", arguments: [id.description])
        }
        try db.execute(
            sql: """
                INSERT INTO bundle (one, trust_domain, sequence) VALUES (1, ?, ?)
                ON CONFLICT (one) DO UPDATE SET sequence = excluded.sequence
                """,
            arguments: [change.trustDomain, Int64(change.newSequence)])
    }

    /// A node that has just attested: whatever its earlier SVIDs were, they are void.
    static func write(attested node: NodeRecord, _ db: Database) throws {
        try db.execute(
            sql: """
                INSERT INTO nodes (name, id, attested_at, serial, expires_at) VALUES (?, ?, ?, ?, ?)
                ON CONFLICT (name) DO UPDATE SET
                    id = excluded.id, attested_at = excluded.attested_at, serial = excluded.serial, next_serial = NULL,
                    expires_at = excluded.expires_at, clone_seen_at = NULL
                """,
            arguments: [
                node.name.description, node.id.description, node.attestedAt.unixSeconds, node.serial,
                node.expiresAt.unixSeconds,
            ])
    }

    static func isBanned(_ node: NodeName, _ db: Database) throws -> Bool {
        try Int.fetchOne(
            db, sql: "SELECT 1 FROM nodes WHERE name = ? AND banned_at IS NOT NULL", arguments: [node.description])
            != nil
    }

    static func write(_ issuance: IssuanceRecord, _ db: Database) throws { try write([issuance], db) }

    /// Nothing is recorded for an authority that signs no more, nor for a node without standing: whoever changes that has the last word.
    /// It is looked at in the transaction that writes, once for all that go together.
    static func write(_ issuances: [IssuanceRecord], _ db: Database) throws {
        for authority in Set(issuances.map(\.authority)) {
            let sql = "SELECT EXISTS (SELECT 1 FROM authorities WHERE id = ? AND state = 'active')"
            guard try holds(sql, authority.description, db) else { throw StoreError.superseded }
        }
        for node in Set(issuances.compactMap(\.node)) {
            let sql = "SELECT EXISTS (SELECT 1 FROM nodes WHERE name = ? AND banned_at IS NULL)"
            guard try holds(sql, node.description, db) else { throw StoreError.superseded }
        }
        let insertion = try db.cachedStatement(
            sql: """
                INSERT INTO issuances (serial, id, pod_uid, node, not_after, authority, issued_at) VALUES (?, ?, ?, ?, ?, ?, ?)
                """)
        for issuance in issuances {
            try insertion.execute(arguments: [
                issuance.serial, issuance.id.description, issuance.podUID, issuance.node?.description,
                issuance.notAfter.unixSeconds, issuance.authority.description, issuance.issuedAt.unixSeconds,
            ])
        }
    }

    private static func holds(_ sql: String, _ name: String, _ db: Database) throws -> Bool {
        try Bool.fetchOne(db.cachedStatement(sql: sql), arguments: [name]) ?? false
    }

    static func authority(_ row: Row) throws -> AuthorityRecord {
        guard let id = AuthorityID(row["id"]),
            let kind = AuthorityRecord.Kind(rawValue: row["kind"]),
            let state = AuthorityRecord.State(rawValue: row["state"])
        else { throw UnreadableRow(table: "authorities") }
        let certificate = try Certificate(derEncoded: [UInt8](row["certificate"] as Data))
        guard AuthorityID(publicKey: certificate.publicKey) == id else { throw UnreadableRow(table: "authorities") }
        return AuthorityRecord(
            id: id,
            kind: kind,
            state: state,
            certificate: certificate,
            sealedKey: (row["sealed_key"] as Data?).map { [UInt8]($0) },
            createdAt: Date(unixSeconds: row["created_at"])
        )
    }

    static func node(_ row: Row) throws -> NodeRecord {
        var node = NodeRecord(
            name: try NodeName(row["name"]),
            id: try SPIFFEID(row["id"]),
            attestedAt: Date(unixSeconds: row["attested_at"]),
            serial: row["serial"],
            nextSerial: row["next_serial"],
            expiresAt: Date(unixSeconds: row["expires_at"]),
            ban: (row["banned_at"] as Int64?).map {
                NodeBan(at: Date(unixSeconds: $0), reason: row["ban_reason"] ?? "")
            },
            cloneSeenAt: (row["clone_seen_at"] as Int64?).map { Date(unixSeconds: $0) }
        )
        guard let sequence = row["acknowledged_sequence"] as Int64? else { return node }
        let leaves = try (row["leaves"] as Data?).map { data in
            try JSONDecoder().decode([NodeAcknowledgement.Leaves].self, from: data)
        }
        node.acknowledgement = NodeAcknowledgement(
            sequence: UInt64(clamping: sequence),
            version: row["version"] ?? "",
            leaves: leaves ?? [],
            at: Date(unixSeconds: row["acknowledged_at"] ?? 0)
        )
        return node
    }

    static func issuance(_ row: Row) throws -> IssuanceRecord {
        guard let authority = AuthorityID(row["authority"]) else { throw UnreadableRow(table: "issuances") }
        return IssuanceRecord(
            serial: row["serial"],
            id: try SPIFFEID(row["id"]),
            podUID: row["pod_uid"],
            node: try (row["node"] as String?).map { name in try NodeName(name) },
            notAfter: Date(unixSeconds: row["not_after"]),
            authority: authority,
            issuedAt: Date(unixSeconds: row["issued_at"])
        )
    }
}

struct UnreadableRow: Error, CustomStringConvertible {
    let table: String
    var description: String { "a row of “\(table)” cannot be read" }
}
