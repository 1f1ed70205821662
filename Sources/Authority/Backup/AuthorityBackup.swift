public import FoundationEssentials
internal import GRDB
internal import Glibc
internal import SPIFFE

/// A copy of an authority: its store and the key that its keys are sealed with.
///
/// What lies in the files of a plug-in CA is not in it.
public struct AuthorityBackup: Sendable, Equatable {
    /// What can be said of a backup without using it.
    public struct Summary: Sendable, Equatable, Codable {
        public let trustDomain: String
        public let bundleSequence: UInt64
        public let authorities: Int
        public let nodes: Int
        /// Whole seconds since 1970.
        public let madeAt: Int64
    }

    public let summary: Summary
    let sealingKey: [UInt8]
    let store: [UInt8]

    // MARK: Export

    /// Copies the authority in `directory` as it is at this moment, or the one in `database`, of which the directory has the sealing key;
    /// one that runs goes on.
    public static func copy(
        of directory: String, in database: PostgreSQLAuthorityStore? = nil, now: Date
    ) async throws(BackupError) -> AuthorityBackup {
        let storePath = "\(directory)/authority.sqlite"
        if database == nil, access(storePath, F_OK) != 0 {
            throw errno == ENOENT ? .noStore(directory) : .unreadable(storePath, String(cString: strerror(errno)))
        }
        let sealingKey: [UInt8]
        do { sealingKey = try SealingKeyFile.bytes("\(directory)/authority.key") } catch { throw .sealingKey(error) }
        let draft = "\(directory)/.export-\(hexadecimal(systemRandomBytes(8)))"
        defer { for suffix in SQLiteFiles.suffixes { SQLiteFiles.remove(draft + suffix) } }
        if let database {
            do { try await database.copy(toFile: draft) } catch { throw .store(error) }
        } else {
            try snapshot(of: storePath, to: draft)
        }
        let store = try PrivateFile.contents(draft)
        let summary = try await Self.summary(of: draft, sealingKey: sealingKey, now: now)
        guard !summary.trustDomain.isEmpty else { throw .noStore(database?.path ?? directory) }
        return AuthorityBackup(summary: summary, sealingKey: sealingKey, store: store)
    }

    private static func snapshot(of storePath: String, to draft: String) throws(BackupError) {
        do {
            try PrivateFile.createIfMissing(draft)
            var configuration = Configuration()
            configuration.readonly = true
            configuration.busyMode = .timeout(5)
            let present = try DatabaseQueue(path: storePath, configuration: configuration)
            let copy = try DatabaseQueue(path: draft)
            try present.backup(to: copy)
            try copy.writeWithoutTransaction { try $0.execute(sql: "PRAGMA journal_mode = DELETE") }
            try copy.close()
            try present.close()
        } catch {
            throw .store(SQLiteAuthorityStore.storeError(error, path: storePath))
        }
    }

    /// Opens the copy as an authority would: what cannot be used is no backup.
    private static func summary(
        of path: String, sealingKey: [UInt8], now: Date
    ) async throws(BackupError) -> Summary {
        do {
            let store = try SQLiteAuthorityStore(path: path)
            let stored = try await store.authorities()
            let seal = KeySeal(key: sealingKey)
            for record in stored.records where record.sealedKey != nil {
                do { _ = try SigningAuthority(record, seal: seal) } catch { throw BackupError.keyMismatch }
            }
            return Summary(
                trustDomain: stored.trustDomain ?? "", bundleSequence: stored.sequence,
                authorities: stored.records.count, nodes: try await store.nodes().count, madeAt: now.unixSeconds)
        } catch let error as BackupError {
            throw error
        } catch let error as StoreError {
            throw .store(error)
        } catch {
            throw .malformedContent("\(error)")
        }
    }

    // MARK: Content

    /// Three parts, each behind its length in eight bytes: the summary in JSON, the sealing key, the store.
    public func content() throws(BackupError) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        guard let summary = try? encoder.encode(summary) else { throw .sealing }
        return [Array(summary), sealingKey, store].flatMap { part -> [UInt8] in
            withUnsafeBytes(of: UInt64(part.count).bigEndian) { Array($0) } + part
        }
    }

    // MARK: Import

    /// Makes `directory`, which holds no authority, the home of this one. Complete or absent: what is written is tried out under other
    /// names first.
    public func restore(to directory: String) async throws(BackupError) {
        let names = ["authority.sqlite", "authority.key"]
        for name in names where PrivateFile.exists("\(directory)/\(name)") {
            throw .notEmpty(directory: directory, file: name)
        }
        let draft = try await tried(in: directory)
        defer { draft.remove() }
        // The store first: one without its key is refused at start, a key alone would begin a new authority.
        for (from, name) in zip([draft.store, draft.key], names) { try Self.place(from, in: directory, as: name) }
        PrivateFile.syncDirectory(of: "\(directory)/authority.key")
    }

    /// Fills `database`, which holds no authority, with this one, and puts the sealing key in `directory`, where it may be already. In one
    /// transaction; what fails can be tried again.
    public func restore(to directory: String, filling database: PostgreSQLAuthorityStore) async throws(BackupError) {
        let keyPath = "\(directory)/authority.key"
        let hasKey = PrivateFile.exists(keyPath)
        if hasKey {
            let present: [UInt8]
            do { present = try SealingKeyFile.bytes(keyPath) } catch { throw .sealingKey(error) }
            guard present == sealingKey else { throw .otherKey(keyPath) }
        }
        let draft = try await tried(in: directory)
        defer { draft.remove() }
        // The key first: what is in the database then is of no use without it, and a key of this authority does no harm alone.
        if !hasKey { try Self.place(draft.key, in: directory, as: "authority.key") }
        do throws(BackupError) {
            try await database.fill(fromFile: draft.store)
        } catch {
            // What failed otherwise may have been done all the same.
            if !hasKey, error == .storeNotEmpty(database.path) || error == .pluggedIn { unlink(keyPath) }
            throw error
        }
        PrivateFile.syncDirectory(of: keyPath)
    }

    /// Files that were found to be what the backup says.
    private struct Draft {
        let store: String
        let key: String

        func remove() {
            unlink(key)
            for suffix in SQLiteFiles.suffixes { SQLiteFiles.remove(store + suffix) }
        }
    }

    private func tried(in directory: String) async throws(BackupError) -> Draft {
        let name = "\(directory)/.import-\(hexadecimal(systemRandomBytes(8)))"
        let draft = Draft(store: "\(name).sqlite", key: "\(name).key")
        do throws(BackupError) {
            try PrivateFile.create(draft.store, store)
            try PrivateFile.create(draft.key, sealingKey)
            let found = try await Self.summary(
                of: draft.store, sealingKey: sealingKey, now: Date(unixSeconds: summary.madeAt))
            guard found == summary else { throw .malformedContent("the store is not the one that the backup says") }
        } catch {
            draft.remove()
            throw error
        }
        return draft
    }

    private static func place(_ draft: String, in directory: String, as name: String) throws(BackupError) {
        guard link(draft, "\(directory)/\(name)") == 0 else {
            let reason = String(cString: strerror(errno))
            throw errno == EEXIST
                ? .notEmpty(directory: directory, file: name) : .unwritable("\(directory)/\(name)", reason)
        }
    }
}

extension AuthorityBackup {
    /// Reads what `content` wrote.
    public init(content: [UInt8]) throws(BackupError) {
        var rest = content[...]
        var parts: [[UInt8]] = []
        while !rest.isEmpty {
            let length = rest.prefix(8)
            let size = length.reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            guard length.count == 8, parts.count < 3, size <= UInt64(rest.count - 8) else {
                throw .malformedContent("its parts are not what they should be")
            }
            parts.append(Array(rest.dropFirst(8).prefix(Int(size))))
            rest = rest.dropFirst(8 + Int(size))
        }
        guard parts.count == 3, let summary = try? JSONDecoder().decode(Summary.self, from: Data(parts[0])),
            parts[1].count == KeySeal.keySize
        else { throw .malformedContent("its parts are not what they should be") }
        self.summary = summary
        sealingKey = parts[1]
        store = parts[2]
    }
}
