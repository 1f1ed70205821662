import DatabaseKit
import FoundationEssentials
import PostgreSQL
import Testing

@testable import Authority

#if canImport(Glibc)
    import Glibc
#endif

/// An authority whose database fails in the middle of what it was asked to write.
@Suite("A PostgreSQL store that fails", .timeLimit(.minutes(3)))
struct PostgreSQLFaultTests {
    /// Somebody else's transaction that keeps everybody from recording signatures and from changing authorities.
    private struct Obstacle {
        let connection: PostgreSQLConnection

        init(_ database: TestDatabase) throws {
            connection = try PostgreSQLConnection(
                database.address, settings: [("search_path", "culvert")], answerTimeout: .seconds(60))
            try connection.executeText("BEGIN; LOCK TABLE issuances IN SHARE ROW EXCLUSIVE MODE")
        }

        /// Returns when so many are in the middle of their transactions, waiting.
        func holds(_ count: Int64) async throws {
            for _ in 0..<2000 {
                let waiting = try connection.execute(
                    """
                    SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
                    WHERE NOT granted AND datname = current_database()
                    """
                ).rows[0].integer(0)
                if waiting >= count { return }
                try await Task.sleep(for: .milliseconds(5))
            }
            Issue.record("\(count) transactions should be waiting")
        }

        func cutConnections() throws {
            try connection.execute(
                """
                SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database d ON d.oid = database
                WHERE NOT granted AND datname = current_database()
                """)
        }

        func goAway() throws { try connection.executeText("COMMIT") }
    }

    /// Why it was refused; nil if it was not.
    private static func refusal<Value>(_ body: () async throws -> Value) async -> (any Error)? {
        do {
            _ = try await body()
            return nil
        } catch {
            return error
        }
    }

    /// The pool asks again at growing intervals.
    private static func untilDone<Value>(_ body: () async throws -> Value) async throws -> Value {
        for _ in 0..<600 {
            do { return try await body() } catch { try await Task.sleep(for: .milliseconds(50)) }
        }
        return try await body()
    }

    @Test(
        "whose server is killed in the middle of its writes has issued nothing, forgotten nothing, and goes on by itself"
    )
    func killed() async throws {
        let server = try TestDatabaseServer()
        let fixture = try ReplicaFixture(on: server)
        let authority = try await fixture.replica()
        let node = try await fixture.join(authority)
        let token = try await authority.createJoinToken(node: NodeName("node-b")).token
        let (logged, bundle) = (try await authority.store.issuances(limit: 100), authority.bundle.current)
        let obstacle = try Obstacle(fixture.database)
        async let issued = Self.refusal { try await fixture.issue(authority, node) }
        async let attested = Self.refusal {
            try await authority.attestNode(token: token.text, csr: try request(), source: "test")
        }
        async let rotated = Self.refusal { try await authority.rotate(.prepare) }
        try await obstacle.holds(3)
        server.crash()
        for refusal in [await issued, await attested] {
            guard case .notReady(let reason)? = refusal as? Denial else {
                Issue.record("\(refusal as Any)")
                continue
            }
            #expect(reason.hasPrefix(fixture.database.address.description), "\(reason)")
        }
        #expect(await rotated is AuthorityError)
        #expect(authority.bundle.current == bundle)
        #expect(authority.status().nodes.map(\.name.description) == ["node-a"])
        // While it is away, too.
        #expect(await Self.refusal { try await fixture.issue(authority, node) } is Denial)
        try server.start()
        let svid = try await Self.untilDone { try await fixture.issue(authority, node) }
        #expect(try await authority.store.issuances(limit: 100).dropLast(logged.count) == [svid.record])
        _ = try await authority.attestNode(token: token.text, csr: request(), source: "test")
        #expect(try await authority.rotate(.prepare).taken.count == 1)
        #expect(authority.status().rotation.authorities.map(\.state) == [.active, .prepared])
    }

    @Test("whose connections are cut in the middle of a write makes new ones, and does what was asked once")
    func cut() async throws {
        let fixture = try ReplicaFixture()
        let authority = try await fixture.replica()
        let node = try await fixture.join(authority)
        let token = try await authority.createJoinToken(node: NodeName("node-b")).token
        let logged = try await authority.store.issuances(limit: 100)
        let obstacle = try Obstacle(fixture.database)
        async let issued = fixture.issue(authority, node)
        async let attested = authority.attestNode(token: token.text, csr: try request(), source: "test")
        async let rotated = authority.rotate(.prepare)
        for _ in 0..<2 {
            try await obstacle.holds(3)
            try obstacle.cutConnections()
        }
        try await obstacle.holds(3)
        try obstacle.goAway()
        let serials = Set([try await issued.record.serial, try await attested.record.serial])
        #expect(try await rotated.taken.count == 1)
        let records = try await authority.store.issuances(limit: 100).dropLast(logged.count)
        #expect(Set(records.map(\.serial)) == serials && records.count == 2)
        #expect(try await authority.store.authorities().sequence == 2)
    }

    @Test(
        "whose disk is full issues nothing, says so, and goes on by itself when there is space again",
        .enabled(if: geteuid() == 0, "needs root: mounts a small disk"))
    func full() async throws {
        let server = try TestDatabaseServer(smallDisk: 256)
        let fixture = try ReplicaFixture(on: server)
        let authority = try await fixture.replica()
        let node = try await fixture.join(authority)
        let token = try await authority.createJoinToken(node: NodeName("node-b")).token
        let logged = try await authority.store.issuances(limit: 10)
        try fixture.database.execute("CREATE TABLESPACE small LOCATION '\(server.directory)/small'")
        try fixture.database.execute("ALTER TABLE issuances SET TABLESPACE small")
        // To the last row that fits.
        for count in [1000, 100, 10, 1] {
            let fill = """
                INSERT INTO issuances (serial, id, not_after, authority, issued_at)
                SELECT gen_random_uuid(), '', 0, '', 0 FROM generate_series(1, \(count))
                """
            while await Self.refusal({ try fixture.database.execute(fill) }) == nil {}
        }
        let refusal = await Self.refusal { try await fixture.issue(authority, node) }
        #expect(refusal as? Denial == .notReady("no space left for \(fixture.database.address)"))
        let attested = await Self.refusal {
            try await authority.attestNode(token: token.text, csr: try request(), source: "test")
        }
        #expect(attested as? Denial == .notReady("no space left for \(fixture.database.address)"))
        #expect(authority.status().nodes.count == 1)
        try fixture.database.execute("DELETE FROM issuances WHERE id = ''")
        try fixture.database.execute("ALTER TABLE issuances SET TABLESPACE pg_default")
        #expect(try await authority.store.issuances(limit: 10) == logged)
        _ = try await fixture.issue(authority, node)
        // The failed attempt has not used the token up.
        _ = try await authority.attestNode(token: token.text, csr: request(), source: "test")
    }
}
