internal import FoundationEssentials
internal import SwiftASN1
internal import X509

/// An authority whose key is at hand.
struct SigningAuthority: Sendable {
    let id: AuthorityID
    let certificate: Certificate
    let key: Certificate.PrivateKey

    var keyIdentifier: SubjectKeyIdentifier { SubjectKeyIdentifier(hash: certificate.publicKey) }
    var notAfter: Date { certificate.notValidAfter }

    init(certificate: Certificate, key: Certificate.PrivateKey) throws(AuthorityError) {
        guard key.publicKey == certificate.publicKey else {
            throw .keyMismatch(AuthorityID(publicKey: certificate.publicKey))
        }
        id = AuthorityID(publicKey: certificate.publicKey)
        self.certificate = certificate
        self.key = key
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
