internal import Crypto
internal import FoundationEssentials
internal import SPIFFE
internal import SwiftASN1
internal import X509

/// An authority whose key is at hand.
struct SigningAuthority: Sendable {
    let id: AuthorityID
    let certificate: Certificate
    let key: Certificate.PrivateKey
    /// What goes along with a leaf: this authority's certificate and those above it, the root left out.
    let presented: [Certificate]
    /// Beyond it nothing that is signed here is valid: the earliest end from here to the root.
    let notAfter: Date
    let keyIdentifier: SubjectKeyIdentifier
    let signatureAlgorithm: Certificate.SignatureAlgorithm
    /// `presented` in DER.
    let presentedDER: [[UInt8]]
    private let template: LeafTemplate
    private let inspection: LeafInspection
    /// The key, if it is of this kind.
    private let p256: P256.Signing.PrivateKey?

    init(
        certificate: Certificate, key: Certificate.PrivateKey, presented: [Certificate]? = nil, notAfter: Date? = nil
    ) throws(AuthorityError) {
        guard key.publicKey == certificate.publicKey else {
            throw .keyMismatch(AuthorityID(publicKey: certificate.publicKey))
        }
        id = AuthorityID(publicKey: certificate.publicKey)
        self.certificate = certificate
        self.key = key
        self.presented = presented ?? [certificate]
        self.notAfter = notAfter ?? certificate.notValidAfter
        let stated = try? certificate.extensions.subjectKeyIdentifier
        keyIdentifier = stated ?? SubjectKeyIdentifier(hash: certificate.publicKey)
        signatureAlgorithm =
            switch PublicKeyKind(certificate.publicKey) {
            case .p384: .ecdsaWithSHA384
            case .p521: .ecdsaWithSHA512
            case .ed25519: .ed25519
            case .rsa: .sha256WithRSAEncryption
            case .p256, .unknown: .ecdsaWithSHA256
            }
        presentedDER = self.presented.map { $0.der() }
        guard let inspection = LeafInspection(issuer: certificate, notAfter: self.notAfter) else {
            throw .unfitCertificate("it does not say what its leaves have to name")
        }
        self.inspection = inspection
        do {
            template = try LeafTemplate(
                issuer: certificate.subject, algorithm: signatureAlgorithm, authorityKey: keyIdentifier)
            p256 =
                PublicKeyKind(certificate.publicKey) == .p256
                ? try P256.Signing.PrivateKey(derRepresentation: key.serializeAsPEM().derBytes) : nil
        } catch {
            throw .signing("\(error)")
        }
    }

    /// The leaf that says `content`, in DER, signed and inspected.
    ///
    /// The signature itself is verified by whoever gets it, and here where `verified`: that costs three times what signing does, and a key
    /// that does not fit its certificate has been refused at the beginning.
    func leaf(_ content: LeafContent, verified: Bool) throws(AuthorityError) -> [UInt8] {
        let certificate = try uninspected(content)
        try inspect(certificate, for: content)
        if verified { try CertificateInspection.checkLeaf(certificate, content, issuer: self.certificate) }
        return certificate
    }

    func uninspected(_ content: LeafContent) throws(AuthorityError) -> [UInt8] {
        let unsigned = template.unsigned(content)
        do {
            return template.signed(unsigned, try signature(for: unsigned))
        } catch {
            throw .signing("\(error)")
        }
    }

    func inspect(_ certificate: [UInt8], for content: LeafContent) throws(AuthorityError) {
        if let flaw = inspection.flaw(of: certificate, for: content) { throw .unfitCertificate(flaw) }
    }

    private func signature(for bytes: [UInt8]) throws -> [UInt8] {
        guard let p256 else {
            return try key.sign(bytes: bytes, signatureAlgorithm: signatureAlgorithm).rawRepresentation
        }
        return Array(try p256.signature(for: bytes).derRepresentation)
    }

    init(_ record: AuthorityRecord, seal: KeySeal) throws(AuthorityError) {
        guard let sealed = record.sealedKey else { throw .noKey(record.id) }
        let der: [UInt8]
        do {
            der = try seal.open(sealed, context: Self.context(record.id))
        } catch {
            throw .seal(error)
        }
        guard let key = try? Certificate.PrivateKey(derBytes: der) else { throw .keyMismatch(record.id) }
        try self.init(certificate: record.certificate, key: key)
    }

    func record(
        _ kind: AuthorityRecord.Kind, _ state: AuthorityRecord.State, createdAt: Date, seal: KeySeal
    ) throws(AuthorityError) -> AuthorityRecord {
        let sealed: [UInt8]
        do {
            sealed = try seal.seal(try key.serializeAsPEM().derBytes, context: Self.context(id))
        } catch let error as KeySealError {
            throw .seal(error)
        } catch {
            throw .signing("\(error)")
        }
        return AuthorityRecord(
            id: id, kind: kind, state: state, certificate: certificate, sealedKey: sealed, createdAt: createdAt)
    }

    private static func context(_ id: AuthorityID) -> String { "culvert authority key \(id)" }
}
