internal import FoundationEssentials
internal import SPIFFE
internal import X509

/// The last look at a certificate before it leaves: it is what was decided, and nothing more.
enum CertificateInspection {
    /// A second opinion on a leaf that `LeafInspection` has passed: decoded by somebody else, its signature verified.
    static func checkLeaf(_ der: [UInt8], _ content: LeafContent, issuer: Certificate) throws(AuthorityError) {
        guard let certificate = try? Certificate(derEncoded: der),
            let key = try? CertifiableKey(certificate.publicKey)
        else { throw .unfitCertificate("it cannot be read") }
        guard key == content.key else { throw .unfitCertificate("it holds another key") }
        guard (try? certificate.spiffeID()) == content.id else {
            throw .unfitCertificate("it does not name \(content.id)")
        }
        guard certificate.notValidAfter == content.validity.notAfter else {
            throw .unfitCertificate("its end is not the intended one")
        }
        let violations = SVIDProfile.violations(
            leaf: certificate, issuer: issuer, expectedNotBefore: content.validity.notBefore)
        guard violations.isEmpty else {
            throw .unfitCertificate(violations.map(\.description).joined(separator: "; "))
        }
    }

    static func checkAuthority(
        _ certificate: Certificate, key: Certificate.PublicKey, issuer: Certificate
    ) throws(AuthorityError) {
        guard certificate.publicKey == key else { throw .unfitCertificate("it holds another key") }
        let failures = SVIDLint.findings(for: certificate, kind: .authority).filter { $0.severity == .fail }
        guard failures.isEmpty else {
            throw .unfitCertificate(failures.map(\.description).joined(separator: "; "))
        }
        guard certificate.notValidBefore < certificate.notValidAfter else {
            throw .unfitCertificate("it ends before it begins")
        }
        guard certificate.notValidAfter <= issuer.notValidAfter else {
            throw .unfitCertificate("it would outlive its issuer")
        }
        guard certificate.issuer == issuer.subject,
            issuer.publicKey.isValidSignature(certificate.signature, for: certificate)
        else { throw .unfitCertificate("its issuer did not sign it") }
    }
}
