internal import Glibc

/// The file with the key that seals the authorities' private keys: 32 random bytes, mode 0600.
public enum SealingKeyFile {
    public static func read(_ path: String) throws(SealingKeyFileError) -> KeySeal { KeySeal(key: try bytes(path)) }

    static func bytes(_ path: String) throws(SealingKeyFileError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else {
            throw errno == ENOENT ? .missing(path) : .unreadable(path, String(cString: strerror(errno)))
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw .unreadable(path, "not a regular file")
        }
        guard isPrivate(mode: status.st_mode, owner: status.st_uid, reader: geteuid()) else {
            throw .readableByOthers(path)
        }
        guard status.st_uid == geteuid() || status.st_uid == 0 else {
            throw .unreadable(path, "it belongs to another user")
        }
        guard status.st_size == KeySeal.keySize else { throw .wrongLength(path, Int(status.st_size)) }
        var key = [UInt8](repeating: 0, count: KeySeal.keySize)
        let count = key.withUnsafeMutableBytes { readBytes(descriptor, $0.baseAddress, $0.count) }
        guard count == KeySeal.keySize else { throw .wrongLength(path, count) }
        return key
    }

    /// Nobody else reads it; but root may have given it to a group, as Kubernetes does where it mounts a secret.
    static func isPrivate(mode: mode_t, owner: uid_t, reader: uid_t) -> Bool {
        mode & 0o077 == 0 || (owner == 0 && reader != 0 && mode & 0o037 == 0)
    }

    /// Makes the file with a new key. Complete or absent after a crash, never in part; never overwrites.
    public static func create(_ path: String, random: RandomBytes) throws(SealingKeyFileError) -> KeySeal {
        let key = random(KeySeal.keySize)
        let draft = "\(path).new"
        unlink(draft)
        let descriptor = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw .unwritable(path, String(cString: strerror(errno))) }
        defer {
            close(descriptor)
            unlink(draft)
        }
        let written = key.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        guard written == key.count, fsync(descriptor) == 0, link(draft, path) == 0 else {
            throw .unwritable(path, String(cString: strerror(errno)))
        }
        PrivateFile.syncDirectory(of: path)
        return KeySeal(key: key)
    }
}

public enum SealingKeyFileError: Error, Sendable, Equatable, CustomStringConvertible {
    case missing(String)
    case missingForSharedStore(String, store: String)
    case readableByOthers(String)
    case wrongLength(String, Int)
    case unreadable(String, String)
    case unwritable(String, String)

    public var description: String {
        switch self {
        case .missing(let path): return "\(path) is missing, but a store with sealed keys exists beside it"
        case .missingForSharedStore(let path, let store):
            return "\(path) is missing, but \(store) has keys that it sealed"
        case .readableByOthers(let path): return "\(path) can be read by others than its owner"
        case .wrongLength(let path, let size): return "\(path) has \(size) bytes, not \(KeySeal.keySize)"
        case .unreadable(let path, let reason): return "\(path) cannot be used: \(reason)"
        case .unwritable(let path, let reason): return "\(path) cannot be written: \(reason)"
        }
    }

    public var hint: String? {
        switch self {
        case .missing, .wrongLength:
            return
                "restore it from a backup; without it the authority's keys are lost, and an empty --data directory starts a new root "
                + "that every node has to join again"
        case .missingForSharedStore(let path, _):
            return
                "copy it from another replica's --data directory (to \(path), mode 0600), or restore it from a backup"
        case .readableByOthers(let path): return "chmod 600 \(path); if others may have read it, rotate the root"
        case .unreadable, .unwritable: return nil
        }
    }
}

/// `read(2)`, which the enum's own `read` hides.
private func readBytes(_ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int) -> Int {
    read(descriptor, buffer, count)
}
