internal import Crypto
internal import FoundationEssentials
internal import _CryptoExtras

/// Bytes sealed with a passphrase: a header, then AES-256-GCM under a key that scrypt makes of the passphrase.
///
///     magic    16 bytes  "culvert backup", line feed, zero
///     version   1 byte   1: scrypt with N = 2^17, r = 8, p = 1 (128 MiB, a good part of a second)
///     salt     16 bytes
///     nonce    12 bytes
///     sealed   as long as the content
///     tag      16 bytes
///
/// The header is authenticated along with the content. Nothing in the file chooses what opening it costs.
public enum SealedBackup {
    public static let passphraseBytesMin = 12
    /// Of the content.
    public static let bytesMax = 1 << 30

    private static let magic = Array("culvert backup\n\0".utf8)
    private static let version: UInt8 = 1
    private static let rounds = 1 << 17
    private static let saltSize = 16
    private static let nonceSize = 12
    private static let tagSize = 16
    private static var headerSize: Int { magic.count + 1 + saltSize + nonceSize }

    public static func seal(
        _ content: [UInt8], passphrase: [UInt8], random: RandomBytes = systemRandomBytes
    ) throws(BackupError) -> [UInt8] {
        try seal(content, passphrase: passphrase, random: random, rounds: rounds)
    }

    public static func open(_ file: [UInt8], passphrase: [UInt8]) throws(BackupError) -> [UInt8] {
        try open(file, passphrase: passphrase, rounds: rounds)
    }

    /// `rounds`: for tests, which have many to open.
    static func seal(
        _ content: [UInt8], passphrase: [UInt8], random: RandomBytes = systemRandomBytes, rounds: Int
    ) throws(BackupError) -> [UInt8] {
        guard passphrase.count >= passphraseBytesMin else { throw .shortPassphrase }
        guard content.count <= bytesMax else { throw .tooLarge(content.count) }
        let salt = random(saltSize)
        let nonce = random(nonceSize)
        let header = magic + [version] + salt + nonce
        do {
            let box = try AES.GCM.seal(
                content, using: key(passphrase, salt: salt, rounds), nonce: AES.GCM.Nonce(data: nonce),
                authenticating: header)
            return header + box.ciphertext + box.tag
        } catch {
            throw .sealing
        }
    }

    static func open(_ file: [UInt8], passphrase: [UInt8], rounds: Int) throws(BackupError) -> [UInt8] {
        guard file.starts(with: magic.prefix(file.count)), !file.isEmpty else { throw .notABackup }
        guard file.count > magic.count else { throw .truncated }
        guard file[magic.count] == version else { throw .unknownVersion(Int(file[magic.count])) }
        guard file.count >= headerSize + tagSize else { throw .truncated }
        guard file.count <= bytesMax + headerSize + tagSize else { throw .tooLarge(file.count) }
        let header = file[..<headerSize]
        let salt = header.dropFirst(magic.count + 1).prefix(saltSize)
        do {
            let box = try AES.GCM.SealedBox(
                nonce: AES.GCM.Nonce(data: header.suffix(nonceSize)), ciphertext: file[headerSize...].dropLast(tagSize),
                tag: file.suffix(tagSize))
            return Array(try AES.GCM.open(box, using: key(passphrase, salt: salt, rounds), authenticating: header))
        } catch {
            throw .wrongPassphraseOrDamaged
        }
    }

    private static func key(_ passphrase: [UInt8], salt: some DataProtocol, _ rounds: Int) throws -> SymmetricKey {
        try KDF.Scrypt.deriveKey(
            from: passphrase, salt: salt, outputByteCount: 32, rounds: rounds, blockSize: 8, parallelism: 1)
    }
}

/// Why a backup was not made, or is not taken. Nothing has been changed then.
public enum BackupError: Error, Sendable, Equatable, CustomStringConvertible {
    case shortPassphrase
    case sealing
    case tooLarge(Int)
    case notABackup
    case truncated
    case unknownVersion(Int)
    case wrongPassphraseOrDamaged
    case malformedContent(String)
    case notEmpty(directory: String, file: String)
    case storeNotEmpty(String)
    case otherKey(String)
    /// Its root is a plug-in CA's, which a store of several authorities cannot have.
    case pluggedIn
    case noStore(String)
    case unreadable(String, String)
    case keyMismatch
    case store(StoreError)
    case sealingKey(SealingKeyFileError)
    case unwritable(String, String)

    public var description: String {
        switch self {
        case .shortPassphrase: return "the passphrase has fewer than \(SealedBackup.passphraseBytesMin) bytes"
        case .sealing: return "the backup could not be sealed"
        case .tooLarge(let bytes): return "\(bytes) bytes are too many for a backup"
        case .notABackup: return "this is not a backup of culvert"
        case .truncated: return "the backup is cut off"
        case .unknownVersion(let version):
            return "the backup is of version \(version), which this culvert does not know"
        case .wrongPassphraseOrDamaged:
            return "the backup does not open: the passphrase is wrong, or the file is damaged or cut off"
        case .malformedContent(let problem): return "the backup's content cannot be used: \(problem)"
        case .notEmpty(let directory, let file):
            return "\(directory) has content already (\(file)): nothing was changed"
        case .storeNotEmpty(let path): return "\(path) holds an authority already: nothing was changed"
        case .otherKey(let path): return "\(path) is not the key of the authority in the backup: nothing was changed"
        case .pluggedIn: return "the backup is of an authority with a plug-in CA, which does not go with --store"
        case .unreadable(let path, let reason): return "cannot read \(path): \(reason)"
        case .noStore(let path): return "\(path) holds no authority"
        case .keyMismatch: return "the sealing key does not open the keys in the store"
        case .store(let error): return "\(error)"
        case .sealingKey(let error): return "\(error)"
        case .unwritable(let path, let reason): return "cannot write \(path): \(reason)"
        }
    }

    public var hint: String? {
        switch self {
        case .notEmpty: return "give another --data directory, or move what is there away first"
        case .storeNotEmpty: return "give an empty database, or drop its schema culvert first"
        case .pluggedIn: return "import it into a --data directory of its own, without --store (docs/replicas.md)"
        case .unreadable: return "run as the user that runs the authority, or as root"
        case .otherKey: return "give another --data directory, or move the key away first"
        case .unknownVersion: return "use the culvert that made it, or a newer one"
        case .truncated, .wrongPassphraseOrDamaged:
            return "compare the file's size and checksum with those of the original"
        case .shortPassphrase: return "several random words are good ones"
        case .keyMismatch: return "authority.key and the store are not of one authority"
        case .store(let error): return error.hint
        case .sealingKey(let error): return error.hint
        default: return nil
        }
    }
}
