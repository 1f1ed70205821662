internal import Crypto

/// Seals private keys at rest with AES-256-GCM. The context (what the key is for) is authenticated, so sealed keys cannot be swapped.
public struct KeySeal: Sendable {
    public static let keySize = 32
    private let key: SymmetricKey

    /// `key` has exactly 32 bytes.
    public init(key: [UInt8]) {
        precondition(key.count == Self.keySize, "a sealing key has 32 bytes")
        self.key = SymmetricKey(data: key)
    }

    func seal(_ plaintext: some Sequence<UInt8>, context: String) throws(KeySealError) -> [UInt8] {
        do {
            let box = try AES.GCM.seal(Array(plaintext), using: key, authenticating: Array(context.utf8))
            guard let combined = box.combined else { throw KeySealError.sealing }
            return Array(combined)
        } catch {
            throw .sealing
        }
    }

    func open(_ sealed: [UInt8], context: String) throws(KeySealError) -> [UInt8] {
        do {
            let box = try AES.GCM.SealedBox(combined: sealed)
            return Array(try AES.GCM.open(box, using: key, authenticating: Array(context.utf8)))
        } catch {
            throw .wrongKey
        }
    }
}

public enum KeySealError: Error, Sendable, Equatable, CustomStringConvertible {
    case sealing
    case wrongKey

    public var description: String {
        switch self {
        case .sealing: return "a private key could not be sealed"
        case .wrongKey: return "the stored private keys cannot be opened: the key file is not the one that sealed them"
        }
    }
}
