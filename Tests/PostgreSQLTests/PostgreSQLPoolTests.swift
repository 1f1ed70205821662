import DatabaseKit
import Glibc
import Synchronization
import Testing

@testable import PostgreSQL

@Suite struct PostgreSQLPoolTests {
    private static func options(_ change: (inout PostgreSQLPool.Options) -> Void = { _ in }) -> PostgreSQLPool.Options {
        var options = PostgreSQLPool.Options()
        options.answerTimeout = .seconds(60)
        change(&options)
        return options
    }

    @Test("many tasks share a few connections, and each gets its turn")
    func sharing() async throws {
        let database = try TestDatabase()
        try database.execute("CREATE TABLE t (a BIGINT)")
        let pool = PostgreSQLPool(database.address, options: Self.options { $0.connectionsMax = 3 })
        let backends = try await withThrowingTaskGroup { group in
            for number in 0..<200 {
                group.addTask {
                    try await pool.transaction(.writing) { connection in
                        try connection.execute("INSERT INTO t VALUES ($1)", [.integer(Int64(number))])
                        return try connection.execute("SELECT pg_backend_pid()::bigint").rows[0].integer(0)
                    }
                }
            }
            return try await group.reduce(into: Set<Int64>()) { $0.insert($1) }
        }
        #expect((1...3).contains(backends.count))
        #expect(try await pool.execute("SELECT count(DISTINCT a) FROM t", []).rows[0].integer(0) == 200)
    }

    @Test("more waiting calls than the bound are turned away")
    func crowded() async throws {
        let database = try TestDatabase()
        let pool = PostgreSQLPool(
            database.address,
            options: Self.options {
                $0.connectionsMax = 1
                $0.waitingMax = 2
            })
        // Takes the only connection until it is told to let go.
        let holder = try PostgreSQLConnection(database.address, answerTimeout: .seconds(60))
        try holder.execute("SELECT pg_advisory_lock(7)")
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for _ in 0..<10 {
                group.addTask {
                    do {
                        _ = try await pool.execute("SELECT pg_advisory_lock_shared(7)::text", [])
                        return true
                    } catch PostgreSQLError.crowded {
                        return false
                    }
                }
            }
            // One holds the connection and two wait: the other seven come back by themselves.
            var refused = 0
            while refused < 7, let served = try await group.next() {
                #expect(!served)
                refused += 1
            }
            try holder.execute("SELECT pg_advisory_unlock(7)")
            #expect(try await group.reduce(0) { $0 + ($1 ? 1 : 0) } == 3)
        }
    }

    @Test("a connection that the server ended while it was idle is replaced, and nobody notices")
    func idle() async throws {
        let database = try TestDatabase()
        let pool = PostgreSQLPool(database.address, options: Self.options { $0.connectionsMax = 1 })
        let first = try await pool.execute("SELECT pg_backend_pid()::bigint", []).rows[0].integer(0)
        try database.execute("SELECT pg_terminate_backend(\(first), 60000)")
        let second = try await pool.execute("SELECT pg_backend_pid()::bigint", []).rows[0].integer(0)
        #expect(first != second)
    }

    @Test("a transaction that was cut off before its end is run again, and happens once")
    func again() async throws {
        let database = try TestDatabase()
        try database.execute("CREATE TABLE t (a BIGINT)")
        let pool = PostgreSQLPool(database.address, options: Self.options())
        let runs = Mutex(0)
        let counted: @Sendable () -> Int = {
            runs.withLock { runs in
                runs += 1
                return runs
            }
        }
        try await pool.transaction(.writing) { connection in
            try connection.execute("INSERT INTO t VALUES (1)")
            if counted() == 1 { try connection.execute("SELECT pg_terminate_backend(pg_backend_pid())::text") }
        }
        #expect(runs.withLock { $0 } == 2)
        #expect(try await pool.execute("SELECT count(*) FROM t", []).rows[0].integer(0) == 1)
        // It never ends well, so it is not run for ever.
        await #expect(throws: PostgreSQLError.self) {
            try await pool.transaction(.writing) { connection in
                _ = counted()
                try connection.execute("SELECT pg_terminate_backend(pg_backend_pid())::text")
            }
        }
        #expect(runs.withLock { $0 } == 6)
    }

    @Test("of two transactions that wait for each other one is undone, and run again")
    func deadlock() async throws {
        let database = try TestDatabase()
        try database.execute("CREATE TABLE t (a BIGINT, n BIGINT); INSERT INTO t VALUES (1, 0), (2, 0)")
        let pool = PostgreSQLPool(database.address, options: Self.options())
        try await withThrowingTaskGroup { group in
            for (first, second) in [(1, 2), (2, 1)] as [(Int64, Int64)] {
                group.addTask {
                    try await pool.transaction(.writing) { connection in
                        try connection.execute("UPDATE t SET n = n + 1 WHERE a = $1", [.integer(first)])
                        try connection.execute("SELECT pg_sleep(0.05)::text")
                        try connection.execute("UPDATE t SET n = n + 1 WHERE a = $1", [.integer(second)])
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(try await pool.execute("SELECT sum(n)::bigint FROM t", []).rows[0].integer(0) == 4)
    }

    @Test("an outage is reported once, calls fail at once meanwhile, and its end is reported once")
    func outage() async throws {
        let server = try TestDatabaseServer()
        let database = try TestDatabase(on: server)
        let reports = Mutex<[PostgreSQLPool.Availability]>([])
        let pool = PostgreSQLPool(
            database.address, options: Self.options { $0.pauses = .milliseconds(10) ... .milliseconds(50) },
            changed: { report in reports.withLock { $0.append(report) } })
        _ = try await pool.execute("SELECT 1", [])
        #expect(reports.withLock { $0 }.isEmpty)
        server.crash()
        for _ in 0..<20 {
            await #expect(throws: PostgreSQLError.self) { try await pool.execute("SELECT 1", []) }
        }
        #expect(reports.withLock { $0 }.count == 1)
        try server.start()
        // The pause before the next attempt may not be over yet.
        while (try? await pool.execute("SELECT 1", [])) == nil { usleep(5000) }
        let all = reports.withLock { $0 }
        #expect(all.count == 2)
        guard case .unavailable(let reason) = all.first else {
            Issue.record("\(all)")
            return
        }
        #expect(reason.contains("connection to server on socket"))
        #expect(all.last == .available)
    }
}
