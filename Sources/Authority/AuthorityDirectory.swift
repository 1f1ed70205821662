/// The authority's home: `authority.sqlite` and the key that seals what is in it, `authority.key`.
public struct AuthorityDirectory: Sendable {
    public let store: SQLiteAuthorityStore
    public let seal: KeySeal

    /// Opens the directory, which exists. At the first start the key is made before the store: a store without its key is a loss,
    /// never a beginning.
    public init(path: String, random: RandomBytes = systemRandomBytes) throws {
        let storePath = "\(path)/authority.sqlite"
        let keyPath = "\(path)/authority.key"
        if PrivateFile.exists(keyPath) || PrivateFile.exists(storePath) {
            seal = try SealingKeyFile.read(keyPath)
        } else {
            seal = try SealingKeyFile.create(keyPath, random: random)
        }
        store = try SQLiteAuthorityStore(path: storePath)
    }
}
