public import FoundationEssentials
internal import GRDB
internal import Glibc
public import SPIFFE
internal import X509

/// Looks whether an authority could start, and changes nothing: no file is made, no schema migrated, no lock taken.
public enum AuthorityPreflight {
    /// Something that would keep it from starting, and what to do where that is known.
    public struct Problem: Sendable, Equatable, CustomStringConvertible {
        public let description: String
        public let hint: String?

        public init(_ description: String, hint: String? = nil) {
            self.description = description
            self.hint = hint
        }
    }

    /// Everything that is wrong with the directory of an authority of `trustDomain`, which may be running. One that is not there yet can
    /// be made if its parent is.
    public static func problems(inDirectory path: String, of trustDomain: TrustDomain, now: Date) -> [Problem] {
        if let problems = directory(path) { return problems }
        let (storePath, keyPath) = ("\(path)/authority.sqlite", "\(path)/authority.key")
        guard PrivateFile.exists(keyPath) || PrivateFile.exists(storePath) else { return [] }
        var (seal, problems) = key(keyPath)
        if PrivateFile.exists(storePath) {
            problems += store(storePath, trustDomain, seal: seal, now: now)
        }
        return problems
    }

    /// nil if it is there and can be used; else what is wrong with it, if anything is: it may be made.
    static func directory(_ path: String) -> [Problem]? {
        var status = stat()
        guard stat(path, &status) == 0 else { return missing(path, errno) }
        guard status.st_mode & S_IFMT == S_IFDIR else { return [Problem("\(path) is no directory")] }
        guard access(path, R_OK | W_OK | X_OK) == 0 else {
            return [Problem("\(path) may not be used by this user", hint: "run as the user that it belongs to")]
        }
        return nil
    }

    static func key(_ path: String) -> (KeySeal?, [Problem]) {
        do throws(SealingKeyFileError) {
            return (try SealingKeyFile.read(path), [])
        } catch {
            return (nil, [Problem("\(error)", hint: error.hint)])
        }
    }

    private static func missing(_ path: String, _ code: Int32) -> [Problem] {
        guard code == ENOENT else { return [Problem("\(path): \(String(cString: strerror(code)))")] }
        var parts = path.split(separator: "/", omittingEmptySubsequences: false)
        while parts.count > 1, parts.last?.isEmpty == true { parts.removeLast() }
        let parent = parts.dropLast().joined(separator: "/")
        guard access(parent.isEmpty ? (path.hasPrefix("/") ? "/" : ".") : parent, W_OK | X_OK) == 0 else {
            return [Problem("\(path) is not there and cannot be made", hint: "make \(parent) first")]
        }
        return []
    }

    private static func store(_ path: String, _ trustDomain: TrustDomain, seal: KeySeal?, now: Date) -> [Problem] {
        var status = stat()
        if lstat(path, &status) != 0 || status.st_mode & S_IFMT != S_IFREG {
            return [Problem("\(path) is no regular file")]
        }
        var problems: [Problem] = []
        if status.st_mode & 0o077 != 0 {
            problems.append(Problem("\(path) can be read by others than its owner", hint: "chmod 600 \(path)"))
        }
        do {
            var configuration = Configuration()
            configuration.readonly = true
            configuration.busyMode = .timeout(5)
            let stored = try DatabaseQueue(path: path, configuration: configuration).read { db in
                let verdict = try String.fetchAll(db, sql: "PRAGMA quick_check(3)")
                guard verdict == ["ok"] else {
                    throw StoreError.corrupted(path: path, reason: verdict.joined(separator: "; "))
                }
                let migrator = SQLiteAuthoritySchema.migrator
                guard try !migrator.hasBeenSuperseded(db) else { throw StoreError.newerSchema(path: path) }
                // One that an older culvert wrote is migrated at the start; what is in it can be read then.
                return try migrator.hasCompletedMigrations(db) ? try SQLiteAuthorityStore.authorities(db) : nil
            }
            if let stored { problems += authorities(stored, trustDomain, seal: seal, now: now) }
        } catch {
            let error = SQLiteAuthorityStore.storeError(error, path: path)
            problems.append(Problem("\(error)", hint: error.hint))
        }
        return problems
    }

    static func authorities(
        _ stored: StoredAuthorities, _ trustDomain: TrustDomain, seal: KeySeal?, now: Date
    ) -> [Problem] {
        var errors: [AuthorityError] = []
        if let name = stored.trustDomain, !name.utf8.elementsEqual(trustDomain.name.utf8) {
            errors.append(.otherTrustDomain(stored: name, wanted: trustDomain.name))
        }
        let roots = stored.records.filter { $0.kind == .root && $0.state == .active }
        if !stored.records.isEmpty && roots.isEmpty { errors.append(.noRoot) }
        for root in roots {
            if now >= root.certificate.notValidAfter { errors.append(.rootExpired(root.certificate.notValidAfter)) }
            if now < root.certificate.notValidBefore {
                errors.append(.clockBeforeRoot(now: now, notBefore: root.certificate.notValidBefore))
            }
        }
        if let seal {
            for record in stored.records where record.sealedKey != nil {
                do throws(AuthorityError) {
                    _ = try SigningAuthority(record, seal: seal)
                } catch  where !errors.contains(error) {
                    errors.append(error)
                } catch {
                    // Said already.
                }
            }
        }
        return errors.map { Problem("\($0)", hint: $0.hint) }
    }
}
