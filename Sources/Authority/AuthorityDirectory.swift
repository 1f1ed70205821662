/// The authority's home: `authority.key`, which seals its keys, and beside it the store, `authority.sqlite`, unless that is elsewhere.
public struct AuthorityDirectory: Sendable {
    public let store: any AuthorityStore & RotationJournal
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

    /// With a store that several authorities share, and the key that all of them have to have. Only where the store has never had an
    /// authority is the key made.
    public init(
        path: String, sharing store: PostgreSQLAuthorityStore, random: RandomBytes = systemRandomBytes
    ) async throws {
        let keyPath = "\(path)/authority.key"
        if PrivateFile.exists(keyPath) {
            seal = try SealingKeyFile.read(keyPath)
        } else {
            guard try await store.authorities().trustDomain == nil else {
                throw SealingKeyFileError.missingForSharedStore(keyPath, store: store.path)
            }
            seal = try SealingKeyFile.create(keyPath, random: random)
        }
        self.store = store
    }
}
