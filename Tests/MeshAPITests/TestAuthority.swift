import Crypto
import FoundationEssentials
import SPIFFE
import SwiftASN1
import X509

/// A root that signs SVIDs which are valid now.
struct TestAuthority {
    let trustDomain: TrustDomain
    private let key: Certificate.PrivateKey
    private let certificate: Certificate

    init(_ trustDomain: TrustDomain) throws {
        self.trustDomain = trustDomain
        let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
        self.key = key
        let name = try DistinguishedName { CommonName("\(trustDomain) root") }
        certificate = try Certificate(
            version: .v3, serialNumber: .init(), publicKey: key.publicKey,
            notValidBefore: Date() - 3600, notValidAfter: Date() + 3600, issuer: name, subject: name,
            extensions: Certificate.Extensions {
                Critical(BasicConstraints.isCertificateAuthority(maxPathLength: nil))
                Critical(KeyUsage(keyCertSign: true, cRLSign: true))
                SubjectKeyIdentifier(hash: key.publicKey)
                SubjectAlternativeNames([.uniformResourceIdentifier("spiffe://\(trustDomain)")])
            },
            issuerPrivateKey: key)
    }

    var bundle: TrustBundle {
        get throws {
            try TrustBundle(trustDomain: trustDomain, authorities: [certificate], sequence: 7, refreshHint: 60)
        }
    }

    func svid(_ path: String) throws -> X509SVID {
        let leafKey = Certificate.PrivateKey(P256.Signing.PrivateKey())
        return try X509SVID(certificates: [leaf(path, leafKey.publicKey)], privateKey: leafKey)
    }

    func leaf(_ path: String, _ publicKey: Certificate.PublicKey) throws -> Certificate {
        try Certificate(
            version: .v3, serialNumber: .init(), publicKey: publicKey,
            notValidBefore: Date() - 60, notValidAfter: Date() + 600, issuer: certificate.subject,
            subject: DistinguishedName(),
            extensions: Certificate.Extensions {
                Critical(BasicConstraints.notCertificateAuthority)
                Critical(KeyUsage(digitalSignature: true))
                try ExtendedKeyUsage([.serverAuth, .clientAuth])
                AuthorityKeyIdentifier(keyIdentifier: SubjectKeyIdentifier(hash: key.publicKey).keyIdentifier)
                Critical(SubjectAlternativeNames([.uniformResourceIdentifier("spiffe://\(trustDomain)\(path)")]))
            },
            issuerPrivateKey: key)
    }

    /// Signs whatever asks, under the given path.
    func signed(_ csr: [UInt8], as path: String) throws -> [UInt8] {
        try leaf(path, CertificateSigningRequest(derEncoded: csr).publicKey).der()
    }
}

func signingRequest() throws -> CertificateSigningRequest {
    let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
    return try CertificateSigningRequest(
        version: .v1, subject: DistinguishedName(), privateKey: key, attributes: .init())
}
