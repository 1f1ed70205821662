internal import FoundationEssentials
internal import GRDB
internal import PostgreSQL
internal import SPIFFE

/// A table that both kinds of stores have, and how its rows get from one into the other as they are.
struct StoreTable: Sendable {
    enum Kind: Sendable {
        case integer, text, bytes
    }

    let name: String
    let columns: [(name: String, kind: Kind)]
    /// Of SQLite's rows: those that come first were made first.
    let order: String
    /// Opens the cursor `copying` over all rows in PostgreSQL, columns as above.
    let cursor: StaticString
    /// Writes rows to PostgreSQL: a JSON array of objects by the columns' names, bytes in hexadecimal.
    let insertion: StaticString

    /// In the order in which they can be written.
    static let all = [bundle, authorities, journal, tokens, nodes, issuances]

    private static let bundle = StoreTable(
        name: "bundle", columns: [("one", .integer), ("trust_domain", .text), ("sequence", .integer)], order: "one",
        cursor: "DECLARE copying CURSOR FOR SELECT one, trust_domain, sequence FROM bundle",
        insertion: """
            INSERT INTO bundle (one, trust_domain, sequence)
            SELECT * FROM json_to_recordset($1::json) AS r (one BIGINT, trust_domain TEXT, sequence BIGINT)
            """)

    private static let authorities = StoreTable(
        name: "authorities",
        columns: [
            ("id", .text), ("kind", .text), ("state", .text), ("certificate", .bytes), ("sealed_key", .bytes),
            ("created_at", .integer),
        ], order: "created_at, rowid",
        cursor: """
            DECLARE copying CURSOR FOR
            SELECT id, kind, state, certificate, sealed_key, created_at FROM authorities ORDER BY created_at, position
            """,
        insertion: """
            INSERT INTO authorities (id, kind, state, certificate, sealed_key, created_at)
            SELECT id, kind, state, decode(certificate, 'hex'), decode(sealed_key, 'hex'), created_at
            FROM json_to_recordset($1::json) AS r (
                id TEXT, kind TEXT, state TEXT, certificate TEXT, sealed_key TEXT, created_at BIGINT)
            """)

    private static let journal = StoreTable(
        name: "rotation_journal",
        columns: [("position", .integer), ("checkpoint", .integer), ("record", .bytes), ("digest", .bytes)],
        order: "position",
        cursor: """
            DECLARE copying CURSOR FOR
            SELECT position, CASE WHEN checkpoint THEN 1::bigint ELSE 0::bigint END, record, digest
            FROM rotation_journal ORDER BY position
            """,
        insertion: """
            INSERT INTO rotation_journal (position, checkpoint, record, digest)
            SELECT position, checkpoint = 1, decode(record, 'hex'), decode(digest, 'hex')
            FROM json_to_recordset($1::json) AS r (position BIGINT, checkpoint BIGINT, record TEXT, digest TEXT)
            """)

    private static let tokens = StoreTable(
        name: "join_tokens",
        columns: [
            ("digest", .bytes), ("node", .text), ("created_at", .integer), ("expires_at", .integer),
            ("used_at", .integer),
        ], order: "rowid",
        cursor: """
            DECLARE copying CURSOR FOR
            SELECT digest, node, created_at, expires_at, used_at FROM join_tokens ORDER BY created_at, digest
            """,
        insertion: """
            INSERT INTO join_tokens (digest, node, created_at, expires_at, used_at)
            SELECT decode(digest, 'hex'), node, created_at, expires_at, used_at FROM json_to_recordset($1::json) AS r (
                digest TEXT, node TEXT, created_at BIGINT, expires_at BIGINT, used_at BIGINT)
            """)

    private static let nodes = StoreTable(
        name: "nodes",
        columns: [
            ("name", .text), ("id", .text), ("attested_at", .integer), ("serial", .text), ("expires_at", .integer),
            ("acknowledged_sequence", .integer), ("acknowledged_at", .integer), ("version", .text),
            ("leaves", .bytes), ("next_serial", .text), ("banned_at", .integer), ("ban_reason", .text),
            ("clone_seen_at", .integer),
        ], order: "name",
        cursor: """
            DECLARE copying CURSOR FOR
            SELECT name, id, attested_at, serial, expires_at, acknowledged_sequence, acknowledged_at, version, leaves, next_serial,
                banned_at, ban_reason, clone_seen_at
            FROM nodes ORDER BY name
            """,
        insertion: """
            INSERT INTO nodes (name, id, attested_at, serial, expires_at, acknowledged_sequence, acknowledged_at, version, leaves,
                next_serial, banned_at, ban_reason, clone_seen_at)
            SELECT name, id, attested_at, serial, expires_at, acknowledged_sequence, acknowledged_at, version,
                decode(leaves, 'hex'), next_serial, banned_at, ban_reason, clone_seen_at
            FROM json_to_recordset($1::json) AS r (
                name TEXT, id TEXT, attested_at BIGINT, serial TEXT, expires_at BIGINT, acknowledged_sequence BIGINT,
                acknowledged_at BIGINT, version TEXT, leaves TEXT, next_serial TEXT, banned_at BIGINT, ban_reason TEXT,
                clone_seen_at BIGINT)
            """)

    private static let issuances = StoreTable(
        name: "issuances",
        columns: [
            ("serial", .text), ("id", .text), ("pod_uid", .text), ("node", .text), ("not_after", .integer),
            ("authority", .text), ("issued_at", .integer),
        ], order: "rowid",
        cursor: """
            DECLARE copying CURSOR FOR
            SELECT serial, id, pod_uid, node, not_after, authority, issued_at FROM issuances ORDER BY position
            """,
        insertion: """
            INSERT INTO issuances (serial, id, pod_uid, node, not_after, authority, issued_at)
            SELECT * FROM json_to_recordset($1::json) AS r (
                serial TEXT, id TEXT, pod_uid TEXT, node TEXT, not_after BIGINT, authority TEXT, issued_at BIGINT)
            """)
}

/// What a column of a store has in one row.
enum StoredValue: Sendable, Equatable {
    case null
    case integer(Int64)
    case text(String)
    case bytes([UInt8])

    init(_ row: PostgreSQLRow, _ column: Int, _ kind: StoreTable.Kind) throws(PostgreSQLError) {
        self =
            switch kind {
            case .integer: try row.optionalInteger(column).map { .integer($0) } ?? .null
            case .text: try row.optionalText(column).map { .text($0) } ?? .null
            case .bytes: try row.optionalBytes(column).map { .bytes($0) } ?? .null
            }
    }

    /// nil for a type that no column has.
    init?(_ value: DatabaseValue) {
        switch value.storage {
        case .null: self = .null
        case .int64(let value): self = .integer(value)
        case .string(let value): self = .text(value)
        case .blob(let value): self = .bytes([UInt8](value))
        case .double: return nil
        }
    }

    var databaseValue: DatabaseValue {
        switch self {
        case .null: .null
        case .integer(let value): value.databaseValue
        case .text(let value): value.databaseValue
        case .bytes(let value): Data(value).databaseValue
        }
    }
}

/// In the JSON that `StoreTable.insertion` reads.
extension StoredValue: Encodable {
    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .integer(let value): try container.encode(value)
        case .text(let value): try container.encode(value)
        case .bytes(let value): try container.encode(hexadecimal(value))
        }
    }
}
