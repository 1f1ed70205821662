import DatabaseKit
import Testing

@testable import PostgreSQL

private func connect(_ database: TestDatabase) throws -> PostgreSQLConnection {
    try PostgreSQLConnection(database.address, answerTimeout: .seconds(60))
}

@Suite struct PostgreSQLConnectionTests {
    let database: TestDatabase
    let connection: PostgreSQLConnection

    init() throws {
        database = try TestDatabase()
        connection = try connect(database)
    }

    @Test("what is bound comes back as it was, nulls and empty values included")
    func values() throws {
        for number in [Int64.min, -1, 0, 1, 0x0102_0304_0506_0708, .max] { try roundTrip(number) }
    }

    private func roundTrip(_ number: Int64) throws {
        let texts: [String?] = [
            nil, "", "'; DROP TABLE nodes; --", "naïve 🚇 \u{1}\n\\", String(repeating: "x", count: 100_000),
        ]
        let blobs: [[UInt8]?] = [nil, [], [0], Array(0...255)]
        for (text, bytes) in zip(texts, blobs + [nil]) {
            let row = try connection.execute(
                "SELECT $1, $2, $3, $4, $5, $6",
                [.integer(number), .text(text), .bytes(bytes), .boolean(number > 0), .integer(nil), .boolean(nil)]
            ).rows[0]
            #expect(try row.integer(0) == number)
            #expect(try row.optionalText(1) == text)
            #expect(try row.optionalBytes(2) == bytes)
            #expect(try row.boolean(3) == (number > 0))
            #expect(try row.optionalInteger(4) == nil)
            #expect(throws: PostgreSQLError.unreadable("column 5 is null")) { try row.boolean(5) }
        }
    }

    @Test("a column of another type, one that is null, and one that is not there are errors")
    func shapes() throws {
        let row = try connection.execute("SELECT $1, 1::int4", [.text(nil)]).rows[0]
        #expect(throws: PostgreSQLError.unreadable("column 0 is of type 25, not 20")) { try row.integer(0) }
        #expect(throws: PostgreSQLError.unreadable("column 0 is null")) { try row.text(0) }
        #expect(throws: PostgreSQLError.unreadable("column 1 is of type 23, not 20")) { try row.integer(1) }
        #expect(throws: PostgreSQLError.unreadable("there is no column 2")) { try row.text(2) }
    }

    @Test("a refusal has its SQLSTATE and the name of the constraint, and the connection goes on")
    func refusals() throws {
        try connection.execute("CREATE TABLE t (a BIGINT CONSTRAINT only_one UNIQUE)")
        let inserted = try connection.execute("INSERT INTO t VALUES ($1), (2)", [.integer(1)])
        #expect(inserted.count == 2)
        let error = #expect(throws: PostgreSQLError.self) {
            try connection.execute("INSERT INTO t VALUES ($1)", [.integer(2)])
        }
        guard case .refused(.uniqueViolation, _, constraint: "only_one") = error else {
            Issue.record("\(error as Any)")
            return
        }
        #expect(throws: PostgreSQLError.self) { try connection.execute("SELEKT 1") }
        #expect(try connection.execute("DELETE FROM t").count == 2)
    }

    @Test("one statement is one statement: nothing can be put behind it")
    func single() throws {
        #expect(throws: PostgreSQLError.self) { try connection.execute("SELECT 1; SELECT 2") }
    }

    @Test("a transaction whose body throws, or hides a failure, has not happened")
    func undone() throws {
        struct Stop: Error {}
        try connection.execute("CREATE TABLE t (a BIGINT)")
        #expect(throws: Stop.self) {
            try connection.transaction(.writing) { connection in
                try connection.execute("INSERT INTO t VALUES (1)")
                throw Stop()
            }
        }
        #expect(throws: PostgreSQLError.unreadable("a statement failed before COMMIT")) {
            try connection.transaction(.writing) { connection in
                try connection.execute("INSERT INTO t VALUES (1)")
                _ = try? connection.execute("SELECT 1/0")
            }
        }
        #expect(try connection.execute("SELECT count(*) FROM t").rows[0].integer(0) == 0)
    }

    @Test("a reading transaction sees one state throughout, and writes nothing")
    func reading() throws {
        try connection.execute("CREATE TABLE t (a BIGINT)")
        let other = try connect(database)
        try connection.transaction(.reading) { connection in
            #expect(try connection.execute("SELECT a FROM t").rows.isEmpty)
            try other.execute("INSERT INTO t VALUES (1)")
            #expect(try connection.execute("SELECT a FROM t").rows.isEmpty)
        }
        let error = #expect(throws: PostgreSQLError.self) {
            try connection.transaction(.reading) { try $0.execute("DELETE FROM t") }
        }
        guard case .refused(.readOnlyTransaction, _, _) = error else {
            Issue.record("\(error as Any)")
            return
        }
    }

    @Test("a server that does not answer in time is given up, and nobody can say what it has done")
    func timeout() throws {
        let hasty = try PostgreSQLConnection(database.address, answerTimeout: .milliseconds(200))
        let error = #expect(throws: PostgreSQLError.self) { try hasty.execute("SELECT pg_sleep(60)::text") }
        #expect(error == .lost("no answer within 0s", outcomeUnknown: true))
        #expect(throws: PostgreSQLError.lost("it was lost before", outcomeUnknown: false)) {
            try hasty.execute("SELECT 1")
        }
    }

    @Test("a connection that the server ends in the middle of a transaction says that nothing was done")
    func ended() throws {
        try connection.execute("CREATE TABLE t (a BIGINT)")
        let error = #expect(throws: PostgreSQLError.self) {
            try connection.transaction(.writing) { connection in
                try connection.execute("INSERT INTO t VALUES (1)")
                try connection.execute("SELECT pg_terminate_backend(pg_backend_pid())::text")
            }
        }
        guard case .lost(let reason, outcomeUnknown: false) = error else {
            Issue.record("\(error as Any)")
            return
        }
        #expect(reason.contains("terminating connection"))
        #expect(try connect(database).execute("SELECT count(*) FROM t").rows[0].integer(0) == 0)
    }

    @Test("who listens gets what is said, and waits no longer than told when nothing is")
    func notifications() throws {
        try connection.execute("LISTEN culvert_test")
        #expect(try connection.notifications(within: .milliseconds(1)).isEmpty)
        let other = try connect(database)
        try other.transaction(.writing) { other in
            try other.execute("SELECT pg_notify('culvert_test', $1)::text", [.text("node-a")])
            #expect(try connection.notifications(within: .milliseconds(1)).isEmpty)
        }
        #expect(
            try connection.notifications(within: .seconds(60)) == [.init(channel: "culvert_test", payload: "node-a")])
    }
}
