import Crypto
import FoundationEssentials
import RevocationFixtures
import SPIFFE
import SwiftASN1
import X509

/// A trust domain with a root, and leaves for whoever asks.
struct TestTrust {
    let trustDomain: TrustDomain
    private let key: Certificate.PrivateKey
    private let root: Certificate

    init(_ name: String = "td.test") throws {
        trustDomain = try TrustDomain(name)
        let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
        self.key = key
        let subject = try DistinguishedName { CommonName("\(name) root") }
        root = try Certificate(
            version: .v3, serialNumber: .init(), publicKey: key.publicKey,
            notValidBefore: Date().addingTimeInterval(-600), notValidAfter: Date().addingTimeInterval(86_400),
            issuer: subject, subject: subject,
            extensions: try Certificate.Extensions {
                Critical(BasicConstraints.isCertificateAuthority(maxPathLength: nil))
                Critical(KeyUsage(keyCertSign: true, cRLSign: true))
                SubjectKeyIdentifier(hash: key.publicKey)
                SubjectAlternativeNames([.uniformResourceIdentifier("spiffe://\(name)")])
            },
            issuerPrivateKey: key
        )
    }

    private init(_ trustDomain: TrustDomain, _ key: Certificate.PrivateKey, _ root: Certificate) {
        (self.trustDomain, self.key, self.root) = (trustDomain, key, root)
    }

    /// The same root, for another trust domain.
    func named(_ name: String) throws -> TestTrust { TestTrust(try TrustDomain(name), key, root) }

    var rootPEM: String { get throws { try root.serializeAsPEM().pemString } }

    var bundles: TrustBundleSet {
        get throws { TrustBundleSet([try TrustBundle(trustDomain: trustDomain, authorities: [root])]) }
    }

    /// The same root, and these leaves revoked.
    func bundles(revoking svids: X509SVID...) throws -> TrustBundleSet {
        var plan = RevocationPlan()
        plan.entries = svids.map { .init($0.leaf, reason: 1) }
        let list = try RevocationList(derEncoded: plan.der(issuer: root.subject, key: key))
        return TrustBundleSet([try TrustBundle(trustDomain: trustDomain, authorities: [root], revocations: [list])])
    }

    /// This root and another's.
    func bundles(with other: TestTrust) throws -> TrustBundleSet {
        TrustBundleSet([try TrustBundle(trustDomain: trustDomain, authorities: [root, other.root])])
    }

    func svid(namespace: String, serviceAccount: String) throws -> X509SVID {
        let id = try SPIFFEID(trustDomain: trustDomain, namespace: namespace, serviceAccount: serviceAccount)
        let leafKey = Certificate.PrivateKey(P256.Signing.PrivateKey())
        let leaf = try Certificate(
            version: .v3, serialNumber: .init(), publicKey: leafKey.publicKey,
            notValidBefore: Date().addingTimeInterval(-60), notValidAfter: Date().addingTimeInterval(3600),
            issuer: root.subject, subject: DistinguishedName(),
            extensions: try Certificate.Extensions {
                Critical(BasicConstraints.notCertificateAuthority)
                Critical(KeyUsage(digitalSignature: true))
                try ExtendedKeyUsage([.serverAuth, .clientAuth])
                Critical(SubjectAlternativeNames([.uniformResourceIdentifier(id.description)]))
                SubjectKeyIdentifier(hash: leafKey.publicKey)
                AuthorityKeyIdentifier(
                    keyIdentifier: SubjectKeyIdentifier(hash: key.publicKey).keyIdentifier
                )
            },
            issuerPrivateKey: key
        )
        return try X509SVID(certificates: [leaf], privateKey: leafKey)
    }
}
