public import FoundationEssentials
public import PostgreSQL
public import SPIFFE

extension AuthorityPreflight {
    /// The same where `database` is the store, and the directory has the sealing key only. Connects, and reads.
    public static func problems(
        inDirectory path: String, sharing database: PostgreSQLAddress, of trustDomain: TrustDomain, now: Date
    ) async -> [Problem] {
        let keyPath = "\(path)/authority.key"
        var (seal, problems): (KeySeal?, [Problem]) = (nil, directory(path) ?? [])
        if PrivateFile.exists(keyPath) {
            let (found, flaws) = key(keyPath)
            (seal, problems) = (found, problems + flaws)
        }
        let store = PostgreSQLAuthorityStore(database) { _ in }
        do throws(StoreError) {
            switch try await store.standing() {
            case .none: problems += try await store.canMakeTables() ? [] : [cannotMakeTables(store.path)]
            // They are brought up to date at the start; what is in them can be read then.
            case .older: break
            case .current:
                let stored = try await store.authorities()
                problems += authorities(stored, trustDomain, seal: seal, now: now)
                if stored.trustDomain != nil, !PrivateFile.exists(keyPath) {
                    let error = SealingKeyFileError.missingForSharedStore(keyPath, store: store.path)
                    problems.append(Problem("\(error)", hint: error.hint))
                }
            }
        } catch {
            problems.append(Problem("--store: \(error)", hint: hint(error)))
        }
        return problems
    }

    private static func cannotMakeTables(_ path: String) -> Problem {
        Problem(
            "--store: \(path) has no tables of culvert, and this user may not make them",
            hint: "GRANT CREATE ON DATABASE to the user, or let the user own the database")
    }

    private static func hint(_ error: StoreError) -> String? {
        guard case .unavailable = error else { return error.hint }
        return "see that the database runs, that it is reached from here, and that it takes this user and password"
    }
}

extension PostgreSQLAuthorityStore {
    fileprivate func canMakeTables() async throws(StoreError) -> Bool {
        try await read { connection in
            try connection.execute("SELECT has_database_privilege(current_database(), 'CREATE')").rows.first?.boolean(0)
                ?? false
        }
    }
}
