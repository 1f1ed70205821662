/// What every `culvert cert` command prints as JSON or YAML: one document, `schemaVersion` 1.
///
/// Times are RFC 3339 in UTC, numbers in hexadecimal are lower-case strings.
struct CertificateDocument<Entry: Encodable>: Encodable {
    private struct Problem: Encodable {
        let file: String?
        let message: String
        let hint: String
    }

    private let schemaVersion = 1
    /// Of `inspect --connect` alone.
    private let connection: ConnectionReport?
    /// Only when there are some.
    private let bundles: [JWKSReport]?
    private let entries: [Entry]
    private let notShown: [CertificateCollection.Remainder]
    private let skipped: [CertificateCollection.Skipped]
    private let problems: [Problem]

    init(_ entries: [Entry], of collection: CertificateCollection, connection: ConnectionReport? = nil) {
        self.connection = connection
        bundles = collection.bundles.isEmpty ? nil : collection.bundles
        self.entries = entries
        notShown = collection.remainders
        skipped = collection.skipped
        problems = collection.problems.map { Problem(file: $0.file, message: $0.message, hint: $0.hint) }
    }

    private enum CodingKeys: String, CodingKey {
        case schemaVersion, connection, bundles, entries
        case notShown = "not_shown"
        case skipped, problems
    }
}
