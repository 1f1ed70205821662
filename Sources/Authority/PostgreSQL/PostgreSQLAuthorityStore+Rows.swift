internal import FoundationEssentials
internal import PostgreSQL
internal import SPIFFE
internal import SwiftASN1
internal import X509

extension PostgreSQLAuthorityStore {
    /// Waits for the signatures that are being recorded, and holds up those to come until the transaction's end: each INSERT takes a lock
    /// on its table that excludes this one, and looks at the database after it has it. Changes of authorities follow one another in this
    /// way, too.
    static func holdIssuances(_ connection: PostgreSQLConnection) throws(PostgreSQLError) {
        try connection.execute("LOCK TABLE issuances IN SHARE ROW EXCLUSIVE MODE")
    }

    // MARK: Authorities

    static func authorities(_ connection: PostgreSQLConnection) throws -> StoredAuthorities {
        let records = try connection.execute(
            """
            SELECT id, kind, state, certificate, sealed_key, created_at FROM authorities ORDER BY created_at, position
            """
        ).rows.map(authority)
        let bundle = try connection.execute("SELECT trust_domain, sequence FROM bundle").rows.first
        return StoredAuthorities(
            trustDomain: try bundle?.text(0), records: records, sequence: UInt64(clamping: try bundle?.integer(1) ?? 0))
    }

    static func write(_ change: AuthorityChange, _ connection: PostgreSQLConnection) throws {
        try holdIssuances(connection)
        let sequence = try connection.execute("SELECT sequence FROM bundle").rows.first?.integer(0) ?? 0
        guard sequence == Int64(change.expectedSequence) else { throw StoreError.conflict }
        // Whoever retires comes before whoever takes its place: one at a time is active.
        let ordered = change.upserts.filter { $0.state != .active } + change.upserts.filter { $0.state == .active }
        for record in ordered {
            try connection.execute(
                """
                INSERT INTO authorities (id, kind, state, certificate, sealed_key, created_at) VALUES ($1, $2, $3, $4, $5, $6)
                ON CONFLICT (id) DO UPDATE SET state = excluded.state, sealed_key = excluded.sealed_key, certificate = excluded.certificate
                """,
                [
                    .text(record.id.description), .text(record.kind.rawValue), .text(record.state.rawValue),
                    .bytes(record.certificate.der()), .bytes(record.sealedKey), .integer(record.createdAt.unixSeconds),
                ])
        }
        for id in change.removals {
            try connection.execute("DELETE FROM authorities WHERE id = $1", [.text(id.description)])
        }
        try connection.execute(
            """
            INSERT INTO bundle (one, trust_domain, sequence) VALUES (1, $1, $2)
            ON CONFLICT (one) DO UPDATE SET sequence = excluded.sequence
            """,
            [.text(change.trustDomain), .integer(Int64(change.newSequence))])
        try connection.execute("NOTIFY culvert_authorities")
    }

    private static func authority(_ row: PostgreSQLRow) throws -> AuthorityRecord {
        guard let id = AuthorityID(try row.text(0)), let kind = AuthorityRecord.Kind(rawValue: try row.text(1)),
            let state = AuthorityRecord.State(rawValue: try row.text(2))
        else { throw UnreadableRow(table: "authorities") }
        let certificate = try Certificate(derEncoded: try row.bytes(3))
        guard AuthorityID(publicKey: certificate.publicKey) == id else { throw UnreadableRow(table: "authorities") }
        return AuthorityRecord(
            id: id, kind: kind, state: state, certificate: certificate, sealedKey: try row.optionalBytes(4),
            createdAt: Date(unixSeconds: try row.integer(5)))
    }

    // MARK: Nodes

    /// A node that has just attested: whatever its earlier SVIDs were, they are void.
    static func write(attested node: NodeRecord, _ connection: PostgreSQLConnection) throws(PostgreSQLError) {
        try connection.execute(
            """
            INSERT INTO nodes (name, id, attested_at, serial, expires_at) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (name) DO UPDATE SET
                id = excluded.id, attested_at = excluded.attested_at, serial = excluded.serial, next_serial = NULL,
                expires_at = excluded.expires_at, clone_seen_at = NULL
            """,
            [
                .text(node.name.description), .text(node.id.description), .integer(node.attestedAt.unixSeconds),
                .text(node.serial), .integer(node.expiresAt.unixSeconds),
            ])
        try notify(node.name, connection)
    }

    /// Tells the other replicas to look at this node again.
    static func notify(_ node: NodeName, _ connection: PostgreSQLConnection) throws(PostgreSQLError) {
        try connection.execute("SELECT pg_notify('culvert_nodes', $1)::text", [.text(node.description)])
    }

    static func nodes(
        _ connection: PostgreSQLConnection, named name: NodeName? = nil
    ) throws -> [NodeRecord] {
        try connection.execute(
            """
            SELECT name, id, attested_at, serial, expires_at, next_serial, acknowledged_sequence, acknowledged_at, version,
                leaves, banned_at, ban_reason, clone_seen_at
            FROM nodes WHERE $1 IS NULL OR name = $1 ORDER BY name
            """, [.text(name?.description)]
        ).rows.map(node)
    }

    private static func node(_ row: PostgreSQLRow) throws -> NodeRecord {
        var node = NodeRecord(
            name: try NodeName(row.text(0)), id: try SPIFFEID(row.text(1)),
            attestedAt: Date(unixSeconds: try row.integer(2)), serial: try row.text(3),
            nextSerial: try row.optionalText(5), expiresAt: Date(unixSeconds: try row.integer(4)),
            ban: try row.optionalInteger(10).map {
                NodeBan(at: Date(unixSeconds: $0), reason: try row.optionalText(11) ?? "")
            },
            cloneSeenAt: try row.optionalInteger(12).map { Date(unixSeconds: $0) })
        guard let sequence = try row.optionalInteger(6) else { return node }
        let leaves = try row.optionalBytes(9).map { bytes in
            try JSONDecoder().decode([NodeAcknowledgement.Leaves].self, from: Data(bytes))
        }
        node.acknowledgement = NodeAcknowledgement(
            sequence: UInt64(clamping: sequence), version: try row.optionalText(8) ?? "", leaves: leaves ?? [],
            at: Date(unixSeconds: try row.optionalInteger(7) ?? 0))
        return node
    }

    // MARK: Signatures

    static func issuance(_ row: PostgreSQLRow) throws -> IssuanceRecord {
        guard let authority = AuthorityID(try row.text(5)) else { throw UnreadableRow(table: "issuances") }
        return IssuanceRecord(
            serial: try row.text(0), id: try SPIFFEID(row.text(1)), podUID: try row.optionalText(2),
            node: try row.optionalText(3).map { try NodeName($0) }, notAfter: Date(unixSeconds: try row.integer(4)),
            authority: authority, issuedAt: Date(unixSeconds: try row.integer(6)))
    }
}
