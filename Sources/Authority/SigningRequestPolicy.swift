internal import SPIFFE
internal import SwiftASN1
internal import X509

/// What is taken from a signing request: its public key, and nothing else.
///
/// Whatever else the request asks for (names, CA:true, extensions) is never copied; the identity is the authority's decision alone.
public struct SigningRequestPolicy: Sendable {
    public static let sizeMax = 8 * 1024

    /// Keys that may never be certified as a leaf's: the authorities' own.
    let forbidden: Set<AuthorityID>

    public init(forbidden: Set<AuthorityID>) {
        self.forbidden = forbidden
    }

    /// The key to certify. The request's signature proves that its sender holds the private half.
    public func acceptedKey(of der: [UInt8]) throws(SigningRequestFlaw) -> CertifiableKey {
        guard der.count <= Self.sizeMax else { throw .tooLarge(der.count) }
        let key: CertifiableKey
        if let request = P256SigningRequest(der: der) {
            guard request.isGenuine else { throw .badSignature }
            key = request.key
        } else {
            key = try Self.key(of: der)
        }
        guard !forbidden.contains(AuthorityID(keyIdentifier: key.identifier)) else { throw .authorityKey }
        return key
    }

    private static func key(of der: [UInt8]) throws(SigningRequestFlaw) -> CertifiableKey {
        let request: CertificateSigningRequest
        do {
            request = try CertificateSigningRequest(derEncoded: der)
        } catch {
            throw .malformed("\(error)")
        }
        let key = request.publicKey
        try checkStrength(of: key)
        guard request.signatureAlgorithm != .sha1WithRSAEncryption else { throw .weakSignature }
        guard key.isValidSignature(request.signature, for: request) else { throw .badSignature }
        do {
            return try CertifiableKey(key)
        } catch {
            throw .malformed("\(error)")
        }
    }

    private static func checkStrength(of key: Certificate.PublicKey) throws(SigningRequestFlaw) {
        let kind = PublicKeyKind(key)
        switch kind {
        case .p256, .p384: return
        case .rsa where kind.isAcceptable: return
        default: throw .weakKey(kind.description)
        }
    }
}

/// Why a signing request is not signed.
public enum SigningRequestFlaw: Error, Sendable, Equatable, CustomStringConvertible {
    case tooLarge(Int)
    case malformed(String)
    case weakKey(String)
    case weakSignature
    case badSignature
    case authorityKey

    public var description: String {
        switch self {
        case .tooLarge(let size): return "it has \(size) bytes; at most \(SigningRequestPolicy.sizeMax) are read"
        case .malformed(let reason): return "not a PKCS#10 request in DER: \(reason.prefix(200))"
        case .weakKey(let key):
            return "\(key.prefix(80)) keys are not certified; use P-256, P-384 or RSA of 2048 to 8192 bits"
        case .weakSignature: return "it is signed with SHA-1"
        case .badSignature: return "its signature does not match its key"
        case .authorityKey: return "its key is one of this authority's own"
        }
    }
}
