internal import FoundationEssentials
internal import PostgreSQL

extension PostgreSQLAuthorityStore {
    /// One round trip and one transaction for all of them; `superseded` if one may not be recorded any more.
    public func record(_ issuances: [IssuanceRecord]) async throws(StoreError) {
        let parameters: [PostgreSQLValue]
        do { parameters = [try Self.parameter(issuances)] } catch { throw .other(path: path, reason: "\(error)") }
        let count = try await mapped { try await self.pool.execute(Self.insertion, parameters).count }
        guard count == issuances.count else { throw .superseded }
    }

    /// Within a transaction that has touched rows of nodes already, if it does at all: who bans does it in this order, too.
    static func write(_ issuances: [IssuanceRecord], _ connection: PostgreSQLConnection) throws {
        let count = try connection.execute(insertion, [parameter(issuances)]).count
        guard count == issuances.count else { throw StoreError.superseded }
    }

    /// All or none: nothing is recorded for an authority that signs no more, nor for a node without standing. Looks at the database after
    /// it has its lock on the table, see `holdIssuances`.
    private static let insertion: StaticString = """
        WITH wanted AS MATERIALIZED (
            SELECT * FROM json_to_recordset($1::json) AS r (
                serial TEXT, id TEXT, pod TEXT, node TEXT, expiry BIGINT, authority TEXT, issued BIGINT)
        ), refused AS MATERIALIZED (
            SELECT FROM wanted
            WHERE NOT EXISTS (SELECT FROM authorities WHERE authorities.id = wanted.authority AND state = 'active')
                OR node IS NOT NULL
                    AND NOT EXISTS (SELECT FROM nodes WHERE nodes.name = wanted.node AND banned_at IS NULL)
        )
        INSERT INTO issuances (serial, id, pod_uid, node, not_after, authority, issued_at)
        SELECT serial, id, pod, node, expiry, authority, issued FROM wanted
        WHERE NOT EXISTS (SELECT FROM refused)
        """

    private static func parameter(_ issuances: [IssuanceRecord]) throws -> PostgreSQLValue {
        let rows = issuances.map { issuance in
            Row(
                serial: issuance.serial, id: issuance.id.description, pod: issuance.podUID,
                node: issuance.node?.description, expiry: issuance.notAfter.unixSeconds,
                authority: issuance.authority.description, issued: issuance.issuedAt.unixSeconds)
        }
        return .text(String(decoding: try JSONEncoder().encode(rows), as: UTF8.self))
    }

    /// By its columns' names.
    private struct Row: Encodable {
        let serial: String
        let id: String
        let pod: String?
        let node: String?
        let expiry: Int64
        let authority: String
        let issued: Int64
    }
}
