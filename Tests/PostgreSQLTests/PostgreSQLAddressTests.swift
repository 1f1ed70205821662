import DatabaseKit
import Testing

@testable import PostgreSQL

@Suite struct PostgreSQLAddressTests {
    private static let secret = "s3cr%C3%A4t"

    @Test(
        "an address names the database, and never user or password",
        arguments: [
            (
                "postgresql://ca:\(secret)@db.example:5433/culvert?sslmode=require",
                "postgresql://db.example:5433/culvert"
            ),
            ("postgres://ca:\(secret)@db.example/culvert", "postgresql://db.example/culvert"),
            ("postgresql://ca:\(secret)@a:1,b:2/culvert", "postgresql://a,b:1,2/culvert"),
            (
                "postgresql:///culvert?host=/run/postgresql&user=ca&password=\(secret)",
                "postgresql:///culvert?host=/run/postgresql"
            ),
            ("postgresql://ca:\(secret)@[fd00::1]:5432/culvert", "postgresql://fd00::1:5432/culvert"),
        ])
    func description(url: String, text: String) throws {
        let address = try PostgreSQLAddress(url)
        #expect(address.description == text)
        #expect(address.hasPasswordInURL)
        #expect(address.parameters.contains { $0.keyword == "password" && $0.value == "s3crät" })
    }

    @Test(
        "a text that is no address is refused without being repeated",
        arguments: [
            "postgresql://ca:s3cret@[fd00::1", "postgresql://ca:s3cret%zz@host/db",
            "postgresql://ca:s3cret@host/db?passwort=s3cret", "postgresql://ca:s3cret@[::1/db",
            "postgresql://s3cret\0@host/db", "postgresql://" + String(repeating: "s3cret", count: 1000),
        ])
    func malformed(url: String) {
        let flaw = #expect(throws: PostgreSQLAddressFlaw.malformed) { try PostgreSQLAddress(url) }
        #expect(flaw.map { !"\($0)".contains("s3cret") } ?? false)
    }

    @Test(
        "only postgresql:// and postgres:// mean PostgreSQL",
        arguments: ["", "ca", "/var/lib/ca", "mysql://a/b", "host=a"])
    func others(text: String) {
        #expect(!PostgreSQLAddress.isOne(text))
        #expect(throws: PostgreSQLAddressFlaw.notAURL) { try PostgreSQLAddress(text) }
    }

    @Test("a password given apart from the URL is the one that is used")
    func givenPassword() throws {
        let address = try PostgreSQLAddress("postgresql://ca:old@h/db", password: "new")
        #expect(address.parameters.first { $0.keyword == "password" }?.value == "new")
        #expect(try !PostgreSQLAddress("postgresql://ca@h/db", password: "new").hasPasswordInURL)
    }

    @Test("over TCP the server proves its name, or the URL says that it need not")
    func verified() throws {
        let server = try TestDatabaseServer.shared()
        let base = "postgresql://culvert@127.0.0.1:\(server.port)/postgres"
        let password = TestDatabaseServer.password
        func connect(_ url: String, password: String = password) throws(PostgreSQLError) -> PostgreSQLConnection {
            let address: PostgreSQLAddress
            do { address = try PostgreSQLAddress(url, password: password) } catch { throw .unreachable("\(error)") }
            return try PostgreSQLConnection(address, answerTimeout: .seconds(60))
        }
        // There is no root to verify it with, and it is not taken unverified.
        let error = #expect(throws: PostgreSQLError.self) { try connect("\(base)?sslrootcert=/nonexistent") }
        #expect("\(error as Any)".contains("root certificate"))
        let verified = try connect("\(base)?sslrootcert=\(server.directory)/server.pem")
        let tls: StaticString = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        #expect(try verified.execute(tls).rows[0].boolean(0))
        // The right certificate for another name.
        let other = base.replacing("127.0.0.1", with: "localhost") + "?hostaddr=127.0.0.1"
        #expect(throws: PostgreSQLError.self) { try connect("\(other)&sslrootcert=\(server.directory)/server.pem") }
        #expect(try !connect("\(base)?sslmode=disable").execute(tls).rows[0].boolean(0))
        let refusal = #expect(throws: PostgreSQLError.self) {
            try connect("\(base)?sslmode=disable", password: "wrong-s3cret")
        }
        #expect("\(refusal as Any)".contains("password authentication failed"))
        #expect(!"\(refusal as Any)".contains("s3cret"))
    }
}
