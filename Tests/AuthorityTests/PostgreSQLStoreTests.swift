import DatabaseKit
import FoundationEssentials
import GRDB
import PostgreSQL
import Synchronization
import Testing

@testable import Authority

/// What only a database has that several processes use.
@Suite struct PostgreSQLStoreTests {
    @Test("many processes that start at once on an empty database make the tables once")
    func migration() async throws {
        let database = try TestDatabase()
        let stores = try await withThrowingTaskGroup { group in
            for _ in 0..<6 { group.addTask { try await PostgreSQLAuthorityStore.open(database.address) } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        for store in stores { #expect(try await store.authorities().records.isEmpty) }
    }

    @Test("tables that a newer culvert has made are left alone")
    func newerSchema() async throws {
        let database = try TestDatabase()
        _ = try await PostgreSQLAuthorityStore.open(database.address)
        try database.execute("INSERT INTO migrations VALUES ('99 from the future')")
        let error = await #expect(throws: StoreError.self) { try await PostgreSQLAuthorityStore.open(database.address) }
        #expect(error == .newerSchema(path: database.address.description))
        #expect(error?.hint == "run the culvert version that wrote it, or a newer one")
    }

    @Test("both stores have the same tables with the same columns")
    func sameSchema() async throws {
        let directory = TemporaryDirectory()
        let sqlite = try SQLiteAuthorityStore(path: "\(directory.path)/authority.sqlite")
        let expected = try await sqlite.read { db in
            try String.fetchAll(
                db,
                sql: """
                    SELECT m.name || '.' || c.name FROM sqlite_schema m JOIN pragma_table_info(m.name) c
                    WHERE m.type = 'table' AND m.name NOT IN ('grdb_migrations', 'sqlite_sequence')
                    """)
        }
        let database = try TestDatabase()
        let postgresql = try await PostgreSQLAuthorityStore.open(database.address)
        let found = try await postgresql.read { connection in
            try connection.execute(
                """
                SELECT table_name::text || '.' || column_name::text FROM information_schema.columns
                WHERE table_schema = 'culvert' AND table_name <> 'migrations'
                """
            ).rows.map { try $0.text(0) }
        }
        #expect(Set(found) == Set(expected).union(["authorities.position", "issuances.position"]))
        // What a backup does not have would be lost.
        #expect(
            Set(StoreTable.all.flatMap { table in table.columns.map { "\(table.name).\($0.name)" } }) == Set(expected))
    }

    @Test("a user without rights is told what it lacks, in one line")
    func privileges() async throws {
        let database = try TestDatabase()
        let role = "poor_\(database.name)"
        try database.execute("CREATE ROLE \(role) LOGIN")
        defer { try? database.execute("DROP ROLE \(role)") }
        let address = try PostgreSQLAddress(database.url.replacing("culvert@", with: "\(role)@"))
        let error = await #expect(throws: StoreError.self) { try await PostgreSQLAuthorityStore.open(address) }
        #expect(
            error
                == .cannotOpen(
                    path: address.description, reason: "permission denied for database \(database.name)"))
    }

    @Test("a database that is not there is unavailable, with the reason and what to do")
    func missing() async throws {
        let server = try TestDatabaseServer.shared()
        let address = try PostgreSQLAddress(server.url("nowhere"))
        let error = await #expect(throws: StoreError.self) { try await PostgreSQLAuthorityStore.open(address) }
        guard case .unavailable(let path, let reason) = error else {
            Issue.record("\(error as Any)")
            return
        }
        #expect(path == address.description)
        #expect(reason.contains("database \"nowhere\" does not exist"))
        #expect(error?.hint != nil)
    }

    @Test("of each kind one authority is active, whoever else thinks that it may put its own there")
    func oneActive() async throws {
        let fixture = try await StoreFixture(.postgresql)
        let next = try await fixture.replaceSigner()
        // A leader that has not noticed yet that it leads no more: the bundle's sequence is what it expects.
        await #expect(throws: StoreError.conflict) { try await fixture.replaceSigner() }
        let active = try await fixture.store.authorities().records.filter { $0.state == .active }.map(\.id)
        #expect(active == [fixture.root.id, next.id])
    }

    private final class Serials: Sendable {
        let all = Mutex<Set<String>>([])
    }

    @Test("a database whose server dies without a word has all that it said was recorded")
    func crash() async throws {
        let server = try TestDatabaseServer(isDurable: true)
        let fixture = try await StoreFixture(.database(TestDatabase(on: server)))
        try await fixture.join("node-a", serial: 0xff_ffff)
        let recorded = Serials()
        await withTaskGroup { group in
            for worker in 0..<6 {
                group.addTask {
                    for number in 0... {
                        guard let record = try? fixture.issuance(worker << 16 | number) else { return }
                        do { try await fixture.store.record([record]) } catch { return }
                        recorded.all.withLock { _ = $0.insert(record.serial) }
                    }
                }
            }
            group.addTask {
                while recorded.all.withLock({ $0.count }) < 50 { await Task.yield() }
                server.crash()
            }
        }
        try server.start()
        let reopened = try await fixture.place.open()
        let found = Set(try await reopened.issuances(limit: 1_000_000).map(\.serial))
        #expect(recorded.all.withLock { $0 }.subtracting(found).isEmpty)
        #expect(try await reopened.authorities().records == [fixture.root, fixture.signer])
    }

    // MARK: Several processes

    /// A process's view: what it was told, and whether it leads.
    private final class Replica: Sendable {
        let store: PostgreSQLAuthorityStore
        let news = Mutex<[StoreNews]>([])
        private let task: Task<Void, Never>

        init(_ database: TestDatabase) async throws {
            let store = try await PostgreSQLAuthorityStore.open(database.address)
            self.store = store
            let news = AsyncStream.makeStream(of: StoreNews.self)
            task = Task { await store.follow { news.continuation.yield($0) } }
            Task { [weak self] in
                for await item in news.stream { self?.news.withLock { $0.append(item) } }
            }
        }

        func end() async {
            task.cancel()
            await task.value
        }

        func has(_ item: StoreNews) -> Bool { news.withLock { $0.contains(item) } }
    }

    private func until(_ condition: () -> Bool) async {
        while !condition() { try? await Task.sleep(for: .milliseconds(10)) }
    }

    @Test(
        "one of several leads, another takes over when it ends, and who has lost its connection leads no more",
        .timeLimit(.minutes(2)))
    func leadership() async throws {
        let database = try TestDatabase()
        let first = try await Replica(database)
        await until { first.store.leads }
        let second = try await Replica(database)
        await until { second.has(.anything) }
        #expect(!second.store.leads)
        await first.end()
        #expect(!first.store.leads)
        await until { second.store.leads }
        // Its connections are cut, and a third is quicker or is not: one of them leads.
        let third = try await Replica(database)
        await until { third.has(.anything) }
        try database.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")
        await until { !second.store.leads || third.store.leads }
        await until { second.store.leads != third.store.leads }
        await second.end()
        await third.end()
    }

    @Test("what one changes the others are told", .timeLimit(.minutes(2)))
    func news() async throws {
        let fixture = try await StoreFixture(.postgresql)
        guard case .database(let database) = fixture.place else { return }
        let other = try await Replica(database)
        await until { other.has(.anything) }
        try await fixture.join("node-a", serial: 1)
        await until { other.has(.node(nodeName("node-a"))) }
        _ = try await fixture.replaceSigner()
        await until { other.has(.authorities) }
        await other.end()
    }
}
