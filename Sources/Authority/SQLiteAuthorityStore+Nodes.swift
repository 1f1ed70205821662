public import FoundationEssentials
internal import GRDB

extension SQLiteAuthorityStore {
    public func node(_ name: NodeName) async throws(StoreError) -> NodeRecord? {
        try await read { db in
            try Row.fetchOne(db, sql: "SELECT * FROM nodes WHERE name = ?", arguments: [name.description])
                .map(Self.node)
        }
    }

    public func introduce(_ node: NodeRecord) async throws(StoreError) -> NodeRecord {
        try await write { db in
            try db.execute(
                sql: """
                    INSERT INTO nodes (name, id, attested_at, serial, expires_at) VALUES (?, ?, ?, ?, ?)
                    ON CONFLICT (name) DO NOTHING
                    """,
                arguments: [
                    node.name.description, node.id.description, node.attestedAt.unixSeconds, node.serial,
                    node.expiresAt.unixSeconds,
                ])
            let row = try Row.fetchOne(
                db, sql: "SELECT * FROM nodes WHERE name = ?", arguments: [node.name.description])
            return try row.map(Self.node) ?? node
        }
    }

    public func renew(_ renewal: NodeRenewal) async throws(StoreError) -> Bool {
        try await write { db in
            try db.execute(
                sql: """
                    UPDATE nodes SET next_serial = ?, expires_at = ?
                    WHERE name = ? AND banned_at IS NULL AND (serial = ? OR next_serial = ?)
                    """,
                arguments: [
                    renewal.issuance.serial, renewal.issuance.notAfter.unixSeconds, renewal.node.description,
                    renewal.presentedSerial, renewal.presentedSerial,
                ])
            guard db.changesCount == 1 else { return false }
            try Self.write(renewal.issuance, db)
            return true
        }
    }

    public func promote(_ node: NodeName, serial: String) async throws(StoreError) {
        try await write { db in
            try db.execute(
                sql: "UPDATE nodes SET serial = next_serial, next_serial = NULL WHERE name = ? AND next_serial = ?",
                arguments: [node.description, serial])
        }
    }

    public func markCloned(_ node: NodeName, at date: Date) async throws(StoreError) {
        try await write { db in
            try db.execute(
                sql: "UPDATE nodes SET clone_seen_at = ? WHERE name = ?",
                arguments: [date.unixSeconds, node.description])
        }
    }

    public func setBan(_ ban: NodeBan?, of node: NodeName) async throws(StoreError) -> Bool {
        try await write { db in
            try db.execute(
                sql: "UPDATE nodes SET banned_at = ?, ban_reason = ? WHERE name = ?",
                arguments: [ban?.at.unixSeconds, ban?.reason, node.description])
            return db.changesCount == 1
        }
    }

    public func evict(_ node: NodeName) async throws(StoreError) -> Bool {
        try await write { db in
            try db.execute(sql: "DELETE FROM nodes WHERE name = ?", arguments: [node.description])
            let nodes = db.changesCount
            try db.execute(
                sql: "DELETE FROM join_tokens WHERE node = ? AND used_at IS NULL", arguments: [node.description])
            return nodes + db.changesCount > 0
        }
    }

    /// In the order of writing, which is that of time but for a clock that was set: a scan of a million rows by another order would
    /// keep everybody else waiting.
    public func issuances(for node: NodeName, limit: Int) async throws(StoreError) -> [IssuanceRecord] {
        try await read { db in
            try Row.fetchAll(
                db, sql: "SELECT * FROM issuances WHERE node = ? ORDER BY rowid DESC LIMIT ?",
                arguments: [node.description, limit]
            ).map(Self.issuance)
        }
    }
}
