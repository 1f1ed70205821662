import ArgumentParser
import Authority
import PostgreSQL

/// `--store` and `--store-password-file`: a database in place of a file.
struct StoreOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "A PostgreSQL database instead of DIR/authority.sqlite, for several authorities.", valueName: "url"))
    var store: String?

    @Option(help: ArgumentHelp("A file with the database's password, on one line.", valueName: "file"))
    var storePasswordFile: String?

    /// nil without `--store`.
    func address() throws(CommandFailure) -> PostgreSQLAddress? {
        guard let store else {
            guard storePasswordFile == nil else {
                throw CommandFailure("--store-password-file is for --store", hint: "pass --store postgresql://…, too")
            }
            return nil
        }
        let password = try storePasswordFile.map(Self.password)
        do {
            return try PostgreSQLAddress(store, password: password)
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
