public import FoundationEssentials
import SwiftASN1
public import X509

/// A workload's identity document: a leaf, its intermediates and its key, proven to fit each other.
///
/// Says nothing about who signed the last certificate: that is `PeerVerifier`'s question, asked by the other side.
public struct X509SVID: Sendable {
    public let id: SPIFFEID
    /// Leaf first, each one signed by the next.
    public let certificates: [Certificate]
    public let privateKey: Certificate.PrivateKey
    private let keyDER: [UInt8]

    /// Refuses a leaf that breaks the X509-SVID standard, certificates out of order, and a key that is not the leaf's.
    public init(certificates: [Certificate], privateKey: Certificate.PrivateKey) throws(SVIDError) {
        guard let leaf = certificates.first else { throw .noCertificates }
        do { id = try leaf.spiffeID() } catch { throw .identity(error) }
        let failures = SVIDLint.findings(for: leaf, kind: .leaf).filter { $0.severity == .fail }
        guard failures.isEmpty else { throw .profile(failures) }
        guard privateKey.publicKey == leaf.publicKey else { throw .keyMismatch }
        for (index, (certificate, issuer)) in zip(certificates, certificates.dropFirst()).enumerated() {
            guard certificate.issuer == issuer.subject,
                issuer.publicKey.isValidSignature(certificate.signature, for: certificate)
            else { throw .outOfOrder(position: index + 2) }
        }
        do { keyDER = try privateKey.serializeAsPEM().derBytes } catch { throw .unsupportedKey }
        self.certificates = certificates
        self.privateKey = privateKey
    }

    public var leaf: Certificate { certificates[0] }
    public var notBefore: Date { leaf.notValidBefore }
    /// The leaf's own end; our authority never lets a leaf outlive its issuer.
    public var notAfter: Date { leaf.notValidAfter }
    /// Lower-case hexadecimal, two digits per octet.
    public var serialNumber: String { leaf.serial }

    /// Leaf first.
    public func certificatesDER() throws -> [[UInt8]] { certificates.map { $0.der() } }

    /// PKCS #8.
    public func privateKeyDER() throws -> [UInt8] { keyDER }
}

/// Why certificates and a key do not make an SVID.
public enum SVIDError: Error, Hashable, Sendable, CustomStringConvertible {
    case noCertificates
    case identity(CertificateIdentityError)
    /// Only findings of severity `fail`.
    case profile([SVIDLint.Finding])
    case keyMismatch
    /// This certificate did not sign the one before it; position 1 is the leaf.
    case outOfOrder(position: Int)
    case unsupportedKey

    public var description: String {
        switch self {
        case .noCertificates: "no certificate"
        case .identity(let error): "the leaf has no usable SPIFFE ID: \(error)"
        case .profile(let findings):
            "the leaf is not an X509-SVID: " + findings.map(\.description).joined(separator: "; ")
        case .keyMismatch: "the private key is not the leaf's"
        case .outOfOrder(let position):
            "certificate \(position) did not sign the one before it; give the leaf first, then each issuer"
        case .unsupportedKey: "this kind of private key cannot be written as PKCS #8"
        }
    }
}
