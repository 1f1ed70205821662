public import FoundationEssentials
internal import PostgreSQL

extension PostgreSQLAuthorityStore {
    public func node(_ name: NodeName) async throws(StoreError) -> NodeRecord? {
        try await read { try Self.nodes($0, named: name).first }
    }

    public func introduce(_ node: NodeRecord) async throws(StoreError) -> NodeRecord {
        try await write { connection in
            let written = try connection.execute(
                """
                INSERT INTO nodes (name, id, attested_at, serial, expires_at) VALUES ($1, $2, $3, $4, $5)
                ON CONFLICT (name) DO NOTHING
                """,
                [
                    .text(node.name.description), .text(node.id.description), .integer(node.attestedAt.unixSeconds),
                    .text(node.serial), .integer(node.expiresAt.unixSeconds),
                ])
            if written.count > 0 { try Self.notify(node.name, connection) }
            return try Self.nodes(connection, named: node.name).first ?? node
        }
    }

    public func renew(_ renewal: NodeRenewal) async throws(StoreError) -> Bool {
        try await write { connection in
            let renewed = try connection.execute(
                """
                UPDATE nodes SET next_serial = $1, expires_at = $2
                WHERE name = $3 AND banned_at IS NULL AND (serial = $4 OR next_serial = $4)
                """,
                [
                    .text(renewal.issuance.serial), .integer(renewal.issuance.notAfter.unixSeconds),
                    .text(renewal.node.description), .text(renewal.presentedSerial),
                ])
            guard renewed.count == 1 else { return false }
            try Self.write([renewal.issuance], connection)
            try Self.notify(renewal.node, connection)
            return true
        }
    }

    public func promote(_ node: NodeName, serial: String) async throws(StoreError) {
        try await write { connection in
            try connection.execute(
                "UPDATE nodes SET serial = next_serial, next_serial = NULL WHERE name = $1 AND next_serial = $2",
                [.text(node.description), .text(serial)])
            try Self.notify(node, connection)
        }
    }

    public func markCloned(_ node: NodeName, at date: Date) async throws(StoreError) {
        try await write { connection in
            try connection.execute(
                "UPDATE nodes SET clone_seen_at = $1 WHERE name = $2",
                [.integer(date.unixSeconds), .text(node.description)])
            try Self.notify(node, connection)
        }
    }

    public func setBan(_ ban: NodeBan?, of node: NodeName) async throws(StoreError) -> Bool {
        try await write { connection in
            let found = try connection.execute(
                "UPDATE nodes SET banned_at = $1, ban_reason = $2 WHERE name = $3",
                [.integer(ban?.at.unixSeconds), .text(ban?.reason), .text(node.description)])
            guard found.count == 1 else { return false }
            // Signatures that are being recorded come first; those after it find the node banned.
            try Self.holdIssuances(connection)
            try Self.notify(node, connection)
            return true
        }
    }

    public func evict(_ node: NodeName) async throws(StoreError) -> Bool {
        try await write { connection in
            let nodes = try connection.execute("DELETE FROM nodes WHERE name = $1", [.text(node.description)])
            let tokens = try connection.execute(
                "DELETE FROM join_tokens WHERE node = $1 AND used_at IS NULL", [.text(node.description)])
            try Self.holdIssuances(connection)
            try Self.notify(node, connection)
            return nodes.count + tokens.count > 0
        }
    }

    public func issuances(for node: NodeName, limit: Int) async throws(StoreError) -> [IssuanceRecord] {
        try await read { connection in
            try connection.execute(
                """
                SELECT serial, id, pod_uid, node, not_after, authority, issued_at FROM issuances
                WHERE node = $1 ORDER BY position DESC LIMIT $2
                """, [.text(node.description), .integer(Int64(limit))]
            ).rows.map(Self.issuance)
        }
    }
}
