internal import CPostgreSQL
internal import Glibc

/// Where a database is and how to get in: a connection URL, as libpq knows it.
///
/// Unless the URL or libpq's environment say otherwise: TLS with the server's certificate verified against its name on anything but a
/// Unix socket, only servers that take writes, and connections that are given up when the other side is silent. The password may be in the
/// URL, in PGPASSWORD, or in PGPASSFILE; no text that comes from here has it. Who has an address has libpq.
public struct PostgreSQLAddress: Sendable, CustomStringConvertible {
    /// The URL without user, password and options.
    public let description: String
    /// The URL itself has the password, which other processes can read in our arguments.
    public let hasPasswordInURL: Bool
    let parameters: [(keyword: String, value: String)]

    static let urlSizeMax = 4096

    /// `password`, if given, is used instead of any other.
    public init(_ url: String, password: String? = nil) throws(PostgreSQLAddressFlaw) {
        guard Self.isOne(url) else { throw .notAURL }
        guard url.utf8.count <= Self.urlSizeMax, !url.utf8.contains(0) else { throw .malformed }
        if let reason = libpq_open() { throw .noLibrary(String(cString: reason)) }
        // libpq's words for what is wrong would have the URL in them, and the URL may have the password.
        guard let options = libpq_conninfoParse(url, nil) else { throw .malformed }
        defer { libpq_conninfoFree(options) }
        var given: [String: String] = [:]
        var entry = options
        while let keyword = entry.pointee.keyword {
            if let value = entry.pointee.val { given[String(cString: keyword)] = String(cString: value) }
            entry += 1
        }
        hasPasswordInURL = given["password"] != nil
        if let password { given["password"] = password }
        for (keyword, environment, value) in Self.defaults where given[keyword] == nil {
            if environment.isEmpty || getenv(environment) == nil { given[keyword] = value }
        }
        // Not for the URL to say: names and identities are UTF-8 here.
        given["client_encoding"] = "UTF8"
        parameters = given.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        let host = given["host"] ?? given["hostaddr"] ?? Self.environment("PGHOST") ?? "localhost"
        let name = given["dbname"] ?? Self.environment("PGDATABASE") ?? given["user"] ?? ""
        if host.hasPrefix("/") {
            description = "postgresql:///\(name)?host=\(host)"
        } else {
            let port = (given["port"] ?? Self.environment("PGPORT")).map { ":\($0)" } ?? ""
            description = "postgresql://\(host)\(port)/\(name)"
        }
    }

    /// Whether `text` means a PostgreSQL database rather than something else.
    public static func isOne(_ text: String) -> Bool {
        text.hasPrefix("postgresql://") || text.hasPrefix("postgres://")
    }

    private static let defaults: [(keyword: String, environment: String, value: String)] = [
        ("application_name", "PGAPPNAME", "culvert"),
        ("connect_timeout", "PGCONNECT_TIMEOUT", "5"),
        ("sslmode", "PGSSLMODE", "verify-full"),
        ("gssencmode", "PGGSSENCMODE", "disable"),
        ("target_session_attrs", "PGTARGETSESSIONATTRS", "read-write"),
        ("keepalives_idle", "", "10"),
        ("keepalives_interval", "", "3"),
        ("keepalives_count", "", "3"),
        ("tcp_user_timeout", "", "15000"),
    ]

    private static func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
}

/// Why a text is no address of a database. Says nothing of what is in it.
public enum PostgreSQLAddressFlaw: Error, Sendable, Equatable, CustomStringConvertible {
    case notAURL
    case malformed
    /// libpq, which no other part of Culvert needs, could not be opened.
    case noLibrary(String)

    public var description: String {
        switch self {
        case .notAURL: "a database's URL begins with postgresql://"
        case .malformed:
            "the database's URL cannot be read: it is postgresql://user@host:port/database?sslmode=verify-full, "
                + "with special characters as %XX"
        case .noLibrary(let reason): "a store in PostgreSQL needs libpq, Debian's package libpq5: \(reason)"
        }
    }
}
