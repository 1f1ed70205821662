public import Crypto
public import X509

/// A new key and the request for its certificate. The key is made here, stays in memory, and is never written.
public struct IdentityRequest: Sendable {
    public let key: Certificate.PrivateKey
    public let csr: CertificateSigningRequest

    /// A request for `uri` (a SPIFFE ID) with an empty subject. The name is for authorities that compare it; ours decides by itself.
    public init(uri: String, key: P256.Signing.PrivateKey = P256.Signing.PrivateKey()) throws {
        self.key = Certificate.PrivateKey(key)
        let extensions = try Certificate.Extensions {
            Critical(SubjectAlternativeNames([.uniformResourceIdentifier(uri)]))
        }
        csr = try CertificateSigningRequest(
            version: .v1,
            subject: DistinguishedName(),
            privateKey: self.key,
            attributes: .init([.init(ExtensionRequest(extensions: extensions))]),
            signatureAlgorithm: .ecdsaWithSHA256
        )
    }
}
