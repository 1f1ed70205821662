internal import FoundationEssentials
internal import GRDB
internal import SPIFFE
internal import SwiftASN1
internal import X509

extension SQLiteAuthorityStore {
    static func write(_ node: NodeRecord, _ db: Database) throws {
        try db.execute(
            sql: """
                INSERT INTO nodes (name, id, attested_at, serial, expires_at, banned) VALUES (?, ?, ?, ?, ?, ?)
                ON CONFLICT (name) DO UPDATE SET
                    id = excluded.id, attested_at = excluded.attested_at, serial = excluded.serial, expires_at = excluded.expires_at,
                    banned = excluded.banned
                """,
            arguments: [
                node.name.description, node.id.description, node.attestedAt.unixSeconds, node.serial,
                node.expiresAt.unixSeconds, node.banned,
            ])
    }

    static func write(_ issuance: IssuanceRecord, _ db: Database) throws {
        let statement = try db.cachedStatement(
            sql: """
                INSERT INTO issuances (serial, id, pod_uid, node, not_after, authority, issued_at) VALUES (?, ?, ?, ?, ?, ?, ?)
                """)
        try statement.execute(arguments: [
            issuance.serial, issuance.id.description, issuance.podUID, issuance.node?.description,
            issuance.notAfter.unixSeconds, issuance.authority.description, issuance.issuedAt.unixSeconds,
        ])
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
            expiresAt: Date(unixSeconds: row["expires_at"]),
            banned: row["banned"]
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

private struct UnreadableRow: Error, CustomStringConvertible {
    let table: String
    var description: String { "a row of “\(table)” cannot be read" }
}
