import Crypto
import SwiftASN1
public import X509

/// What kind of public key a certificate or signing request holds.
public enum PublicKeyKind: Hashable, Sendable, CustomStringConvertible {
    case p256, p384, p521
    case ed25519
    /// The modulus' size.
    case rsa(bits: Int)
    case unknown

    public init(_ key: Certificate.PublicKey) {
        if P256.Signing.PublicKey(key) != nil {
            self = .p256
        } else if P384.Signing.PublicKey(key) != nil {
            self = .p384
        } else if P521.Signing.PublicKey(key) != nil {
            self = .p521
        } else if Curve25519.Signing.PublicKey(key) != nil {
            self = .ed25519
        } else if let numbers = RSAPublicNumbers(key) {
            self = .rsa(bits: numbers.bits)
        } else {
            self = .unknown
        }
    }

    public var description: String {
        switch self {
        case .p256: "ECDSA P-256"
        case .p384: "ECDSA P-384"
        case .p521: "ECDSA P-521"
        case .ed25519: "Ed25519"
        case .rsa(let bits): "RSA \(bits)"
        case .unknown: "unknown"
        }
    }

    /// RSA 2048 to 8192, and the curves. More costs a verifier too much (a peer picks the key), less is weak.
    public var isAcceptable: Bool {
        switch self {
        case .p256, .p384, .p521, .ed25519: true
        case .rsa(let bits): (2048...8192).contains(bits)
        case .unknown: false
        }
    }
}

/// Modulus and exponent, big-endian without leading zeros (RFC 8017 appendix A.1.1).
public struct RSAPublicNumbers: Hashable, Sendable {
    public let modulus: [UInt8]
    public let exponent: [UInt8]

    /// `nil` when the key is not an RSA key.
    public init?(_ key: Certificate.PublicKey) {
        let parsed = try? DER.sequence(DER.parse(key.subjectPublicKeyInfoBytes), identifier: .sequence) { nodes in
            (
                try ArraySlice<UInt8>(derEncoded: &nodes, withIdentifier: .integer),
                try ArraySlice<UInt8>(derEncoded: &nodes, withIdentifier: .integer)
            )
        }
        guard let (modulus, exponent) = parsed else { return nil }
        self.modulus = Array(modulus.drop { $0 == 0 })
        self.exponent = Array(exponent.drop { $0 == 0 })
    }

    public var bits: Int {
        guard let first = modulus.first else { return 0 }
        return modulus.count * 8 - first.leadingZeroBitCount
    }
}
