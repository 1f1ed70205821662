import PostgreSQL

/// `--store` and `--store-password-file`.
enum StoreAddress {
    /// nil without `--store`.
    static func parse(_ url: String?, passwordFile: String?) throws(CommandFailure) -> PostgreSQLAddress? {
        guard let url else {
            guard passwordFile == nil else {
                throw CommandFailure("--store-password-file is for --store", hint: "pass --store postgresql://…, too")
            }
            return nil
        }
        let password = try passwordFile.map(password)
        do {
            return try PostgreSQLAddress(url, password: password)
        } catch {
            throw CommandFailure("--store: \(error)")
        }
    }

    /// The file's first line.
    private static func password(in path: String) throws(CommandFailure) -> String {
        let text: String
        do { text = try TextFile.read(path) } catch { throw CommandFailure("--store-password-file: \(error)") }
        guard let line = text.split(separator: "\n", omittingEmptySubsequences: false).first, !line.isEmpty else {
            throw CommandFailure("--store-password-file: \(path) has no password on its first line")
        }
        return String(line)
    }
}
